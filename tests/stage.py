"""API and worker over one database, each under its own role of promises.md D15, with what a test needs to play both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from aval.channels.inbox import SandboxInbox
from aval.channels.outbound import OutboundHttp
from aval.domain.challenge import Challenge
from aval.domain.token import Token
from aval.domain.transfer import Kind, Transfer
from aval.operations.confirm_transfer import ConfirmCall, confirm_transfers
from aval.operations.deliver_message import BreakerPolicy
from aval.operations.deliver_webhook import WebhookPolicy
from aval.operations.request_transfer import Rules
from aval.operations.settle_transfer import RetryPolicy
from aval.ports import Channel
from aval.storage.challenges import Question
from aval.storage.database import Database
from aval.storage.requests import read_operation
from aval.worker.loop import WorkerParts, run_worker
from aval.worker.pump import Pace
from tests.factories import KeyringHolder, Party, SandboxRails, make_keyring
from tests.world import World

OpenAs = Callable[[str], Awaitable[Database]]
SECOND = timedelta(seconds=1)
PACE = Pace(batch_size=64, jobs_max=128, poll=timedelta(milliseconds=10))
RETRY = RetryPolicy(gaps=(timedelta(milliseconds=100),), tries_max=5, lease=timedelta(seconds=30))
WEBHOOKS = WebhookPolicy(
    gaps=tuple(timedelta(seconds=s) for s in (60, 300, 900, 3_600, 10_800, 21_600, 43_200)), timeout=SECOND
)
BREAKER = BreakerPolicy(failures_max=3, pause=timedelta(seconds=60))
PATIENCE_S = 20
WRONG = {"crockford32": "000000", "digits": "000000"}


async def worker_parts(open_as: OpenAs, **change: Any) -> WorkerParts:
    """A worker under its three roles; sandbox rail and inbox, real HTTP to this machine for webhooks."""
    inbox: Channel = SandboxInbox()
    parts = WorkerParts(
        settle_db=await open_as("aval_app_settle"),
        notify_db=await open_as("aval_app_notify"),
        webhook_db=await open_as("aval_app_webhook"),
        keyring=KeyringHolder(),
        rails=SandboxRails(),
        outbound=OutboundHttp([], True),
        channel_of=lambda _name, _is_sandbox: inbox,
        pace=PACE,
        retry=RETRY,
        webhooks=WEBHOOKS,
        breaker=BREAKER,
        sweep_interval=timedelta(milliseconds=100),
    )
    return replace(parts, **change)


@asynccontextmanager
async def working(parts: WorkerParts) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that runs meanwhile; one that fell over fails the test."""
    stopping = asyncio.Event()
    worker = asyncio.create_task(run_worker(parts, stopping))
    try:
        yield worker
    finally:
        stopping.set()
        await worker
        await parts.outbound.close()


async def until(check: Callable[[], Awaitable[Any]], *, within_s: float = PATIENCE_S) -> Any:
    """Ask until the answer is truthy; fails when that takes too long."""
    async with asyncio.timeout(within_s):
        while not (found := await check()):  # noqa: ASYNC110 – PostgreSQL is asked
            await asyncio.sleep(0.02)
    return found


async def read(db: Database, party: Party, key: UUID) -> tuple[Transfer, Challenge]:
    """An operation as it is seen now."""
    async with db.connection() as connection:
        found = await read_operation(connection, party.key, key)
    assert found is not None
    return found


async def status_of(db: Database, key: UUID) -> tuple[str, str | None]:
    """Status and rejection reason as they are stored."""
    (row,) = await fetch(db, "select status, rejection_reason from challenges where operation_id = $1", key)
    return row["status"], row["rejection_reason"]


async def fetch(db: Database, query: str, *arguments: object) -> list[Any]:
    async with db.connection() as connection:
        return await connection.fetch(query, *arguments)


async def value(db: Database, query: str, *arguments: object) -> Any:
    async with db.connection() as connection:
        return await connection.fetchval(query, *arguments)


async def execute(db: Database, statement: str, *arguments: object) -> str:
    async with db.connection() as connection:
        return await connection.execute(statement, *arguments)


@asynccontextmanager
async def locked(db: Database, table: str, column: str, *keys: UUID) -> AsyncIterator[None]:
    """Hold the locks of rows, and do nothing else to them: one that updates would hide a clock read too early."""
    async with db.transaction() as connection:
        await connection.fetch(f"select 1 from {table} where {column} = any($1) for no key update", list(keys))
        yield


async def shift(db: Database, key: UUID, seconds: float) -> None:
    """Let time pass for one operation."""
    await execute(
        db,
        "update challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,"
        " can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval"
        " where operation_id = $1",
        key,
        timedelta(seconds=seconds),
    )


async def confirm_call(
    world: World, party: Party, key: UUID, token: str | None, *, kind: Kind = Kind.PIX_TRANSFER
) -> ConfirmCall:
    """A validate call as the edge hands it over."""
    return ConfirmCall(
        question=Question(await party.principal(world.db), party.account.key, key),
        kind=kind,
        token=None if token is None else Token(token),
        fingerprint=b"",
        correlation_id="tests",
        render=lambda _: None,
    )


async def confirm_together(db: Database, calls: Sequence[ConfirmCall], **options: Any) -> list[Any]:
    """Judge calls as one batch."""
    return await confirm_transfers(db, calls=calls, keyring=make_keyring(), rules=Rules(), **options)


async def ledger_is_sound(db: Database) -> None:
    """Every balance is what its entries add up to (promises.md ST5)."""
    wrong = await fetch(
        db,
        "select a.account_id, a.balance_centavos, coalesce(sum(case when e.direction = 'credit' then e.amount_centavos"
        " else -e.amount_centavos end), 0)::bigint as entries from accounts a left join ledger_entries e"
        " on e.integrator_id = a.integrator_id and e.account_id = a.account_id group by a.integrator_id, a.account_id"
        " having a.balance_centavos <> coalesce(sum(case when e.direction = 'credit' then e.amount_centavos"
        " else -e.amount_centavos end), 0)",
    )
    assert wrong == []


async def balance_of(db: Database, party: Party) -> int:
    """Centavos on the party's account."""
    found: int = await value(db, "select balance_centavos from accounts where account_id = $1", party.account.key)
    return found


async def events_of(db: Database, key: UUID) -> list[tuple[int, str]]:
    """Sequence and type of an operation's webhooks, in their order."""
    rows = await fetch(db, "select sequence, event_type from events where operation_id = $1 order by sequence", key)
    return [(row["sequence"], row["event_type"]) for row in rows]
