"""`aval admin settlements` and `aval admin messages`: work that was parked, seen and tried again by a person."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any, Protocol
from uuid import UUID

import msgspec
import typer

from aval.cli.admin_desk import AdminDesk, AdminSession
from aval.cli.admin_options import IsJson, OptionalIntegrator, read_key
from aval.cli.admin_show import progress_bar, show_counts, show_records
from aval.cli.deployment import CommandTree, OpenDeployment
from aval.cli.refusal import CommandRefused
from aval.operations.record_act import Author
from aval.operations.revive_message import revive_message
from aval.operations.revive_settlement import revive_settlement
from aval.storage.database import Database
from aval.storage.parked import list_parked_messages, list_parked_settlements

BATCH_MAX = 100  # revived in one transaction
PARKED_MAX = 10_000  # shown or revived by one command
SETTLEMENT_COLUMNS = (
    *("operation_key", "operation", "integrator_name", "amount", "rail_status", "sends", "tries", "last_error"),
    *("approved_at", "parked_at"),
)
MESSAGE_COLUMNS = (
    *("message_key", "topic", "channel", "masked_destination", "integrator_name", "tries", "last_error", "parked_at"),
)

Keys = Annotated[list[str] | None, typer.Argument(parser=read_key, metavar="[KEY]...", help="What to try again.")]
IsAll = Annotated[bool, typer.Option("--all", help="Everything that is parked.")]
Limit = Annotated[int, typer.Option(min=1, max=PARKED_MAX, help="At most so many, the longest parked first.")]


class Revive(Protocol):
    """Makes parked things due now; tells how many."""

    def __call__(self, db: Database, *, keys: Sequence[UUID], author: Author) -> Awaitable[int]:
        """One transaction."""
        ...


Look = Callable[[AdminSession, str | None, int], Awaitable[list[dict[str, Any]]]]


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add both groups."""
    desk = AdminDesk(open_deployment)
    settlements, messages = typer.Typer(no_args_is_help=True), typer.Typer(no_args_is_help=True)
    commands.admin.add_typer(settlements, name="settlements", help="Settlements given up after too many tries.")
    commands.admin.add_typer(messages, name="messages", help="Messages given up after too many tries.")

    @settlements.command("parked")
    def parked_settlements(
        integrator: OptionalIntegrator = None, limit: Limit = BATCH_MAX, is_json: IsJson = False
    ) -> None:
        """List approved and debited transfers whose fate the rail would not tell."""
        rows = desk.run(lambda session: _settlements(session, integrator, limit))
        show_records(rows, SETTLEMENT_COLUMNS, is_json, nothing="No settlement is parked.")

    @settlements.command("revive")
    def revive_settlements(
        keys: Keys = None, is_all: IsAll = False, integrator: OptionalIntegrator = None, is_json: IsJson = False
    ) -> None:
        """Try parked settlements again, by the key of operation, item or batch: the rail is asked before any send."""
        _revive(desk, keys, integrator, revive_settlement, _settlements, is_all=is_all, is_json=is_json)

    @messages.command("parked")
    def parked_messages(
        integrator: OptionalIntegrator = None, limit: Limit = BATCH_MAX, is_json: IsJson = False
    ) -> None:
        """List messages no provider took."""
        rows = desk.run(lambda session: _messages(session, integrator, limit))
        show_records(rows, MESSAGE_COLUMNS, is_json, nothing="No message is parked.")

    @messages.command("revive")
    def revive_messages(
        keys: Keys = None, is_all: IsAll = False, integrator: OptionalIntegrator = None, is_json: IsJson = False
    ) -> None:
        """Try parked messages again; a token that is dead by then is not sent."""
        _revive(desk, keys, integrator, revive_message, _messages, is_all=is_all, is_json=is_json)


def _revive(
    desk: AdminDesk,
    keys: Sequence[str] | None,
    integrator: str | None,
    revive: Revive,
    look: Look,
    *,
    is_all: bool,
    is_json: bool,
) -> None:
    if bool(keys) == is_all:
        raise CommandRefused("Give either the KEY of what to try again, more than one if you like, or --all.")
    if integrator and not is_all:
        raise CommandRefused("--integrator narrows --all and goes with nothing else.")

    async def work(session: AdminSession) -> int:
        wanted = keys or [next(iter(row.values())) for row in await look(session, integrator, PARKED_MAX)]
        return await _in_batches(session, [UUID(str(key)) for key in wanted], revive)

    revived = desk.run(work)
    if not revived and not is_all:
        raise CommandRefused("KEY must name something that is parked; see `parked`.")
    show_counts({"revived": revived}, is_json)


async def _in_batches(session: AdminSession, keys: Sequence[UUID], revive: Revive) -> int:
    revived, left = 0, iter(keys)
    with progress_bar() as progress:
        task = progress.add_task("Reviving", total=len(keys))
        while batch := list(islice(left, BATCH_MAX)):
            revived += await revive(session.db, keys=batch, author=session.author)
            progress.advance(task, len(batch))
    return revived


async def _settlements(session: AdminSession, integrator: str | None, limit: int) -> list[dict[str, Any]]:
    async with session.db.reading() as connection:
        rows = await list_parked_settlements(connection, integrator_key=_uuid(integrator), limit=limit)
    return [{**asdict(row), "amount": msgspec.Raw(row.amount.wire().encode())} for row in rows]


async def _messages(session: AdminSession, integrator: str | None, limit: int) -> list[dict[str, Any]]:
    async with session.db.reading() as connection:
        rows = await list_parked_messages(connection, integrator_key=_uuid(integrator), limit=limit)
    return [asdict(row) for row in rows]


def _uuid(key: str | None) -> UUID | None:
    return None if key is None else UUID(key)
