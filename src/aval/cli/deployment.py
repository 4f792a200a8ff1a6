"""What commands may reach: the deployment as its settings describe it, made by bootstrap."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import typer

from aval.cli.refusal import SENTENCES, CommandRefused, because
from aval.domain.keyring import Keyring
from aval.domain.principal import AdminActor
from aval.storage.database import Connection, Database, DatabaseUnavailable
from aval.storage.embedded import EmbeddedServer
from aval.storage.embedded_binaries import EmbeddedServerFailed
from aval.storage.keys_file import KeysFile, KeysFileError


class Administer(Protocol):
    """Makes one call of the administration; its answer is a status and a body."""

    def __call__(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Mapping[str, str] = {}
    ) -> Awaitable[tuple[int, bytes]]:
        """Make the call; names of headers are in lower case."""
        ...


@dataclass(frozen=True, slots=True)
class Sockets:
    """What an API process listens on; `ops` is the listener of health, metrics and documentation, if it is its own."""

    api: socket.socket
    ops: socket.socket | None

    def close(self) -> None:
        """Stop listening; harmless when the server has done so."""
        self.api.close()
        if self.ops is not None:
            self.ops.close()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment. `database_url` is empty when the embedded PostgreSQL of `data_dir` is used."""

    is_production: bool
    data_dir: Path
    keys: KeysFile
    database_url: str = field(repr=False)
    migrate_url: str = field(repr=False)
    is_standby_required: bool
    host: str
    port: int
    ops_port: int
    api_processes: int
    shutdown_grace_s: float
    strangers: Sequence[str]  # AVAL_ variables nobody knows
    serve_api: Callable[[str, Sockets, asyncio.Event], Coroutine[Any, Any, None]]
    run_worker: Callable[[str, asyncio.Event], Coroutine[Any, Any, None]]
    child_environment: Callable[[str], dict[str, str]]  # of a child that uses this database
    administer: Callable[[str, AdminActor, str], AbstractAsyncContextManager[Administer]]  # dsn, who, correlation id
    admin_key: str = field(repr=False, default="")  # names the person in the audit

    @property
    def has_ops_port(self) -> bool:
        """Whether health, metrics and documentation have a listener of their own."""
        return self.ops_port != self.port

    def keyring(self) -> Keyring:
        """The keys; raises CommandRefused."""
        try:
            return self.keys.load()
        except KeysFileError as error:
            raise refused_keys(error) from None

    @asynccontextmanager
    async def dsn(self, notice: Callable[[str], None] = lambda _sentence: None) -> AsyncIterator[str]:
        """Lend the address of a database that runs; starts or joins the embedded one where none is named."""
        if self.database_url:
            yield self.database_url
            return
        async with embedded(self.data_dir, notice) as server:
            yield server.place.dsn

    @asynccontextmanager
    async def database(self, role: str | None = "aval_app_api") -> AsyncIterator[Database]:
        """Lend a small pool for a command that comes and goes; raises CommandRefused if PostgreSQL does not answer."""
        async with self.dsn() as dsn, opened(dsn, role) as db:
            yield db


class OpenDeployment(Protocol):
    """Reads the settings; `default_environment` is the command's own. Raises CommandRefused."""

    def __call__(self, default_environment: str | None = None) -> Deployment:
        """The deployment of this process."""
        ...


@dataclass(frozen=True, slots=True)
class CommandTree:
    """Where commands are added: `aval …`, `aval admin …`, `aval sandbox …`."""

    root: typer.Typer
    admin: typer.Typer
    sandbox: typer.Typer


@asynccontextmanager
async def embedded(data_dir: Path, notice: Callable[[str], None]) -> AsyncIterator[EmbeddedServer]:
    """Start or join the embedded server for as long as it is needed; raises CommandRefused."""
    server = EmbeddedServer(data_dir, notice=notice)
    try:
        _make_writable(data_dir)
        await server.start()
    except EmbeddedServerFailed as error:
        raise because("embedded_failed", reason=f"{error.what_to_do} {error.detail}".strip()) from None
    except OSError:
        raise because("data_dir_unwritable", path=data_dir) from None
    try:
        yield server
    finally:
        await server.stop()


def _make_writable(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(data_dir, os.W_OK):
        raise because("data_dir_unwritable", path=data_dir)


@asynccontextmanager
async def opened(dsn: str, role: str | None) -> AsyncIterator[Database]:
    """Lend a pool that is known to reach PostgreSQL; raises CommandRefused."""
    db = await Database.open(dsn, role=role, pool_size=2, application_name="aval command")
    try:
        await _reach(db)
        yield db
    finally:
        await db.close()


async def _reach(db: Database) -> None:
    try:
        async with db.connection() as connection:
            await _check_schema(connection)
    except (DatabaseUnavailable, ValueError) as error:
        if type(error.__cause__).__name__ == "InvalidParameterValueError":
            raise because("database_empty") from None
        raise because("database_unreachable", reason=cause_of(error)) from None


async def _check_schema(connection: Connection) -> None:
    if not await connection.fetchval("select to_regclass('aval.schema_migrations') is not null"):
        raise because("database_empty")


def cause_of(error: BaseException) -> str:
    """What the innermost cause is called; its text may hold a password, so only known words of it are told."""
    while error.__cause__ is not None:
        error = error.__cause__
    return WORDS.get(type(error).__name__, type(error).__name__)


WORDS = {
    "ConnectionRefusedError": "nothing listens there",
    "TimeoutError": "it did not answer in time",
    "gaierror": "its host name is unknown",
    "FileNotFoundError": "its socket does not exist",
    "InvalidPasswordError": "it refused the password",
    "InvalidAuthorizationSpecificationError": "it refused the user",
    "InvalidCatalogNameError": "it has no such database",
    "ClientConfigurationError": "the address is malformed",
    "InsufficientPrivilegeError": "the user may not take the role of the process; run `aval migrate`",
    "CannotConnectNowError": "it is still starting",
    "TooManyConnectionsError": "it has no connection left",
}


def refused_keys(error: KeysFileError) -> CommandRefused:
    """Every fault of the keys file, a sentence each."""
    return CommandRefused(
        *(
            SENTENCES[f"keys_{finding.fault}"].format(path=error.path, subject=finding.subject)
            for finding in error.findings
        )
    )
