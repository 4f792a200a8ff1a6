"""`aval admin webhooks`: how webhooks were delivered, and sending those of a stretch of time again."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

import typer

from aval.cli.admin_desk import NOT_FOUND, AdminDesk, AdminSession
from aval.cli.admin_options import IsJson, read_key, read_time
from aval.cli.admin_show import progress_bar, show_counts, show_records
from aval.cli.deployment import CommandTree, OpenDeployment
from aval.cli.refusal import CommandRefused
from aval.cli.report import tell
from aval.operations.replay_webhooks import replay_webhooks
from aval.storage.campaigns import find_campaign
from aval.storage.clock import read_clock
from aval.storage.integrators import find_integrator
from aval.storage.replays import COUNTED_MAX, Place, ReplayFilter, count_replayable, list_callback_log

SPAN_MAX = timedelta(days=31)
LOG_SPAN = timedelta(days=1)
COLUMNS = (
    *("event_at", "event_type", "operation_key", "callback_status", "tries", "last_status", "last_error"),
    *("last_try_at", "next_try_at", "url", "callback_key"),
)

Tenant = Annotated[
    str | None, typer.Option("--integrator", parser=read_key, metavar="KEY", help="Key of the integrator.")
]
Campaign = Annotated[str | None, typer.Option(metavar="ID", help="Or the campaign whose applications are told.")]
Endpoint = Annotated[
    str | None,
    typer.Option(parser=read_key, metavar="KEY", help="One endpoint, or application of the campaign, instead of all."),
]
Start = Annotated[
    datetime, typer.Option("--from", parser=read_time, metavar="TIME", help="First moment of the events.")
]
End = Annotated[datetime, typer.Option("--to", parser=read_time, metavar="TIME", help="Moment after the last event.")]
LogStart = Annotated[
    datetime | None, typer.Option("--from", parser=read_time, metavar="TIME", help="By default a day before the end.")
]
LogEnd = Annotated[datetime | None, typer.Option("--to", parser=read_time, metavar="TIME", help="By default now.")]
Status = Literal["pending", "sent", "failed"]


def register(commands: CommandTree, open_deployment: OpenDeployment) -> None:
    """Add the commands."""
    desk = AdminDesk(open_deployment)
    group = typer.Typer(no_args_is_help=True)
    commands.admin.add_typer(group, name="webhooks", help="How webhooks were delivered, and sending them again.")

    @group.command("log")
    def log(
        integrator: Tenant = None,
        campaign: Campaign = None,
        endpoint: Endpoint = None,
        status: Annotated[Status | None, typer.Option(help="What the delivery came to.")] = None,
        start: LogStart = None,
        end: LogEnd = None,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the latest event first.")] = 50,
        is_json: IsJson = False,
    ) -> None:
        """Show tries, last answer and next try of webhooks, the latest event first."""

        async def look(session: AdminSession) -> list[dict[str, object]]:
            """Read the log."""
            until = end or await _now(session)
            tenant = await _tenant_of(session, integrator, campaign)
            wanted = _filter_of(tenant, endpoint, status, start or until - LOG_SPAN, until)
            async with session.db.reading() as connection:
                return [asdict(row) for row in await list_callback_log(connection, wanted, limit=limit)]

        show_records(desk.run(look), COLUMNS, is_json, nothing="No webhook of these was sent or promised.")

    @group.command("replay")
    def replay(
        start: Start,
        end: End,
        integrator: Tenant = None,
        campaign: Campaign = None,
        endpoint: Endpoint = None,
        status: Annotated[Status, typer.Option(help="Which of them.")] = "failed",
        is_dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many.")] = False,
        is_json: IsJson = False,
    ) -> None:
        """Send webhooks of a stretch of time again, each under its own event_id, with all its tries."""

        async def work(session: AdminSession) -> dict[str, int | bool]:
            """Count, then replay."""
            wanted = _filter_of(await _tenant_of(session, integrator, campaign), endpoint, status, start, end)
            async with session.db.reading() as connection:
                live, dead = await count_replayable(connection, wanted)
            if live + dead >= COUNTED_MAX:
                tell(f"Only the first {COUNTED_MAX} were counted; there are more.")
            replayed = 0 if is_dry_run else await _replay(session, wanted, live)
            return {"found": live, "endpoint_off": dead, "replayed": replayed, "dry_run": is_dry_run}

        show_counts(desk.run(work), is_json)


async def _replay(session: AdminSession, wanted: ReplayFilter, expected: int) -> int:
    replayed = 0
    place: Place | None = None
    with progress_bar() as progress:
        task = progress.add_task("Replaying", total=expected)
        while True:
            count, place = await replay_webhooks(session.db, wanted=wanted, after=place, author=session.author)
            replayed += count
            progress.update(task, completed=replayed)
            if place is None:
                return replayed


def _filter_of(tenant: UUID, endpoint: str | None, status: str | None, start: datetime, end: datetime) -> ReplayFilter:
    if not timedelta(0) < end - start <= SPAN_MAX:
        raise CommandRefused(f"--to must lie after --from, by at most {SPAN_MAX.days} days.")
    return ReplayFilter(tenant, start, end, None if endpoint is None else UUID(endpoint), status)


async def _tenant_of(session: AdminSession, integrator: str | None, campaign: str | None) -> UUID:
    """Whose webhooks are meant: an integrator's, or those of a campaign's applications."""
    if (integrator is None) == (campaign is None):
        raise CommandRefused("Give either --integrator or --campaign.")
    async with session.db.reading() as connection:
        if campaign is not None:
            stored = await find_campaign(connection, campaign)
            tenant = None if stored is None else stored.campaign.key
        else:
            found = await find_integrator(connection, UUID(integrator))
            tenant = None if found is None else found.key
    if tenant is None:
        raise CommandRefused(NOT_FOUND)
    return tenant


async def _now(session: AdminSession) -> datetime:
    async with session.db.reading() as connection:
        return await read_clock(connection)
