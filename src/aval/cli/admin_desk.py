"""One call of the administration for a command: who acts, how it is asked, and how a refusal is told."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec
import typer

from aval.cli.admin_rules import RULES
from aval.cli.deployment import Administer, Deployment, OpenDeployment, opened
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell
from aval.domain.caller import BACK_OFFICE_SCOPES
from aval.domain.errors import Refusal
from aval.domain.principal import AdminActor
from aval.operations.create_admin_key import SCOPES
from aval.operations.record_act import Author
from aval.storage.credentials import find_admin_by_hashes
from aval.storage.database import Database, DatabaseUnavailable, LockNotWon

Value = TypeVar("Value")
PATH = "/admin/integrators"
EXIT_FAILED = 1
NOT_FOUND = "Nothing was found under the given keys: look at the lists, and at --integrator, which must own the rest."
UNAVAILABLE = "The database did not answer in time, and nothing is known to be changed: run the command again."
BROKEN = "Something went wrong inside Aval; its log line on stderr names the place."


class _Trouble(msgspec.Struct):
    field: str
    reason: str


class _Extra(msgspec.Struct):
    errors: list[_Trouble] = []


class _Problem(msgspec.Struct):
    code: str
    extra_fields: _Extra


class _Pagination(msgspec.Struct):
    next_page: int | None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    pagination: _Pagination


@dataclass(frozen=True, slots=True)
class AdminSession:
    """An administrator at work: calls of the administration, and the database itself for what has no endpoint."""

    deployment: Deployment
    db: Database
    author: Author
    administer: Administer
    conflict: str

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: str) -> bytes:
        """The body of a good answer; every other one ends the command with its sentences."""
        sent = b"" if body is None else msgspec.json.encode(body)
        status, answer = await self.administer(method, PATH + path, query, sent)
        if status >= 400:
            self._end(status, answer)
        return answer

    async def every(self, path: str) -> list[msgspec.Raw]:
        """All rows of a list, page by page."""
        rows: list[msgspec.Raw] = []
        page: int | None = 1
        while page is not None:
            found = msgspec.json.decode(await self.call("GET", path, page=str(page)), type=_Page)
            rows += found.data
            page = found.pagination.next_page
        return rows

    def _end(self, status: int, answer: bytes) -> None:
        if status >= 500:
            tell(UNAVAILABLE if status == 503 else BROKEN)
            raise typer.Exit(EXIT_FAILED)
        if status == 404:
            raise CommandRefused(NOT_FOUND)
        if status == 409:
            raise CommandRefused(self.conflict)
        problem = msgspec.json.decode(answer, type=_Problem)
        raise CommandRefused(*map(_sentence, problem.extra_fields.errors or [_Trouble("", problem.code)]))


@dataclass(frozen=True, slots=True)
class AdminDesk:
    """Opens sessions for commands."""

    open_deployment: OpenDeployment

    def run(self, work: Callable[[AdminSession], Awaitable[Value]], *, conflict: str = "") -> Value:
        """Do the work in a session; raises CommandRefused, or ends the process with exit code 1."""
        return asyncio.run(self._run(work, conflict))

    async def _run(self, work: Callable[[AdminSession], Awaitable[Value]], conflict: str) -> Value:
        try:
            async with self._session(conflict) as session:
                return await work(session)
        except (DatabaseUnavailable, LockNotWon):
            tell(UNAVAILABLE)
            raise typer.Exit(EXIT_FAILED) from None
        except Refusal as refusal:
            raise CommandRefused(NOT_FOUND if refusal.http == 404 else conflict) from None

    @asynccontextmanager
    async def _session(self, conflict: str) -> AsyncIterator[AdminSession]:
        deployment = self.open_deployment()
        deployment.keyring()  # its faults have sentences of their own
        async with deployment.dsn(tell) as dsn, opened(dsn, "aval_app_api") as db:
            actor = await actor_of(deployment, db)
            author = author_named(actor)
            async with deployment.administer(dsn, actor, author.correlation_id) as administer:
                yield AdminSession(deployment, db, author, administer, conflict)


def author_named(actor: AdminActor) -> Author:
    """The same person as the audit names them, in a call of their own."""
    return Author(f"admin:{actor.name}", str(uuid4()))


async def actor_of(deployment: Deployment, db: Database) -> AdminActor:
    """Who runs the command: the holder of AVAL_ADMIN_KEY, or the command line itself; raises CommandRefused."""
    if not deployment.admin_key:
        return AdminActor(UUID(int=0), "command-line", frozenset((*SCOPES, *BACK_OFFICE_SCOPES)))
    async with db.reading() as connection:
        actor = await find_admin_by_hashes(connection, deployment.keyring().credential_hashes(deployment.admin_key))
    if actor is None:
        raise CommandRefused("AVAL_ADMIN_KEY must be an active admin key; unset it, or see `aval admin key list`.")
    return actor


def _sentence(trouble: _Trouble) -> str:
    field = trouble.field.partition("[")[0].rpartition(".")[2]
    if not field:
        return f"This was refused ({trouble.reason})."
    option = f"--{field.removesuffix('_key') if field != 'request_control_key' else field}".replace("_", "-")
    rule = RULES.get(field)
    if trouble.reason == "missing":
        return f"{option} is missing: it must be {rule}." if rule else f"{option} is missing."
    if rule:
        return f"{option} must be {rule}."
    return f"{option} cannot be taken: {trouble.reason.replace('_', ' ')}."


def body_of(context: typer.Context, *not_body: str) -> dict[str, Any]:
    """The options that were given, as members of a body; `none` is null, and `-` reads a line from stdin."""
    named = {name: value for name, value in context.params.items() if name not in {*not_body, "is_json"}}
    given = {name: value for name, value in named.items() if value not in (None, (), [])}
    return {name: _read(value) for name, value in given.items()}


def changes_of(context: typer.Context, *not_body: str) -> dict[str, Any]:
    """The same of a command that changes something: nothing given is a mistake."""
    body = body_of(context, *not_body)
    if not body:
        raise CommandRefused("Give at least one option with what is to change; see --help.")
    return body


def _read(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return list(value)
    if value == "-":
        return sys.stdin.readline().strip()
    return None if value == "none" else value
