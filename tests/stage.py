"""API and worker over one database, each under its own role of promises.md D15, and what a test needs to play both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

from aval.channels.inbox import SandboxInbox
from aval.channels.outbound import OutboundHttp
from aval.domain.challenge import TokenSource
from aval.domain.token import Token, TokenSeed
from aval.domain.transfer import Kind
from aval.http.app import build_app
from aval.http.parts import Parts
from aval.operations.confirm_transfer import ConfirmCall, confirm_transfers
from aval.operations.deliver_message import BreakerPolicy
from aval.operations.deliver_webhook import WebhookPolicy
from aval.operations.request_transfer import Rules
from aval.operations.settle_transfer import RetryPolicy
from aval.operations.transfer_desk import TransferDesk
from aval.ports import Channel
from aval.rails.http import callback_of
from aval.storage.challenges import Question
from aval.storage.database import Database
from aval.storage.requests import read_operation
from aval.worker.loop import WorkerParts, run_worker
from aval.worker.pump import Pace
from tests.factories import Client, KeyringHolder, Party, Reply, SandboxRails, make_keyring, make_parts, make_party

OpenAs = Callable[[str], Awaitable[Database]]  # by role

FEATURES = "pix ted batches devices device_sessions admin webhooks notifications sandbox rail".split()
PACE = Pace(batch_size=64, jobs_max=128, poll=timedelta(milliseconds=10))
RETRY = RetryPolicy(gaps=(timedelta(milliseconds=100),), tries_max=5, lease=timedelta(seconds=30))
WEBHOOK_GAPS_S = (60, 300, 900, 3_600, 10_800, 21_600, 43_200)
WEBHOOKS = WebhookPolicy(gaps=tuple(timedelta(seconds=s) for s in WEBHOOK_GAPS_S), timeout=timedelta(seconds=1))
BREAKER = BreakerPolicy(failures_max=3, pause=timedelta(seconds=60))
PATIENCE_S = 20
PENDING = ("pending_2fa_approval", None)


@dataclass
class Stage:
    """A database and API processes over it; tests share one, each with a party of its own."""

    db: Database = field(repr=False)  # as superuser
    open_as: OpenAs = field(repr=False)
    parts: Parts = field(repr=False)
    apps: list[Any] = field(repr=False)

    @classmethod
    async def make(cls, db: Database, open_as: OpenAs, *, rules: Rules | None = None, processes: int = 1) -> "Stage":
        """API processes with pools and desks of their own."""
        made = [_parts_of(await open_as("aval_app_api"), rules) for _ in range(processes)]
        apps = [
            build_app(parts, [import_module(f"aval.http.{name}").routes(parts) for name in FEATURES]) for parts in made
        ]
        return cls(db, open_as, made[0], apps)

    @property
    def desk(self) -> TransferDesk:
        assert self.parts.desk is not None
        return self.parts.desk

    async def party(self, **settings: Any) -> Party:
        return await make_party(self.db, **settings)

    async def call(
        self, party: Party | None, method: str, path: str, body: Any = None, *, process: int = 0, **headers: str
    ) -> Reply:
        """One request; `path` is under the party's account unless it begins with a slash."""
        target = path if path.startswith("/") else f"/account/{party.account.key}/{path}" if party else path
        key = None if party is None else party.api_key
        return await Client(self.apps[process % len(self.apps)], key)(method, target, body, **headers)

    async def create(self, party: Party, kind: str = "pix_transfer", **change: Any) -> Reply:
        body = party.pix(**change) if kind == "pix_transfer" else ted_body(party, **change)
        return await self.call(party, "POST", kind, body)

    async def request(self, party: Party, kind: str = "pix_transfer", **change: Any) -> UUID:
        """The key of a new operation that waits for its token."""
        reply = await self.create(party, kind, **change)
        assert reply.status == 202, reply.body
        return UUID(reply.json[f"{kind}_key"])

    async def requests(self, party: Party, count: int, **change: Any) -> list[UUID]:
        return list(await asyncio.gather(*(self.request(party, **change) for _ in range(count))))

    async def validate(
        self, party: Party, key: UUID, token: Any, kind: str = "pix_transfer", *, process: int = 0, **headers: str
    ) -> Reply:
        """Submit a token, or any other body."""
        body = {"token": token} if isinstance(token, str) else token
        return await self.call(party, "PUT", f"{kind}/{key}/validate_token", body, process=process, **headers)

    async def approve(self, party: Party, key: UUID, kind: str = "pix_transfer", **headers: str) -> Reply:
        """Submit the right token."""
        return await self.validate(party, key, await self.token(party, key), kind, **headers)

    async def resend(
        self, party: Party, key: UUID, kind: str = "pix_transfer", body: Any = None, **headers: str
    ) -> Reply:
        return await self.call(party, "PATCH", f"{kind}/{key}/resend_token", body, **headers)

    async def cancel(self, party: Party, key: UUID, kind: str = "pix_transfer", **headers: str) -> Reply:
        return await self.call(party, "PATCH", f"{kind}/{key}/cancel", **headers)

    async def token(self, party: Party, key: UUID, generation: int | None = None) -> str:
        """The live token, or that of an earlier generation."""
        async with self.db.connection() as connection:
            found = await read_operation(connection, party.key, key)
        assert found is not None
        transfer, challenge = found
        seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
        return TokenSource(make_keyring(), seed).token(challenge, generation or challenge.generation).text

    async def confirm_call(self, party: Party, key: UUID, token: str | None) -> ConfirmCall:
        """A validate call of a Pix as the edge hands it over."""
        return ConfirmCall(
            question=Question(await party.principal(self.db), party.account.key, key),
            kind=Kind.PIX_TRANSFER,
            token=None if token is None else Token(token),
            fingerprint=b"",
            correlation_id="tests",
            render=lambda _: None,
        )

    async def confirm_together(self, calls: Sequence[ConfirmCall], *, may_wait: bool = True) -> list[Any]:
        """Judge calls as one batch."""
        return await confirm_transfers(
            self.parts.db, calls=calls, keyring=make_keyring(), rules=Rules(), may_wait=may_wait
        )

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        async with self.db.connection() as connection:
            return [tuple(row) for row in await connection.fetch(query, *arguments)]

    async def value(self, query: str, *arguments: object) -> Any:
        async with self.db.connection() as connection:
            return await connection.fetchval(query, *arguments)

    async def execute(self, statement: str, *arguments: object) -> str:
        async with self.db.connection() as connection:
            return await connection.execute(statement, *arguments)

    @asynccontextmanager
    async def locked(self, table: str, column: str, *keys: UUID) -> AsyncIterator[None]:
        """Hold the locks of rows and do nothing else: a holder that updates hides a clock that was read too early."""
        async with self.db.transaction() as connection:
            await connection.fetch(f"select 1 from {table} where {column} = any($1) for no key update", list(keys))
            yield

    async def shift(self, key: UUID, seconds: float) -> None:
        """Let time pass for one operation."""
        await self.execute(
            "update challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,"
            " can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval"
            " where operation_id = $1",
            key,
            timedelta(seconds=seconds),
        )

    async def status(self, key: UUID) -> tuple[str, str | None]:
        """Status and rejection reason as they are stored."""
        (row,) = await self.fetch("select status, rejection_reason from challenges where operation_id = $1", key)
        return row

    async def counts(self, key: UUID) -> tuple[int, int, int, int]:
        """Comparisons, debits, settlement jobs and webhooks of an operation."""
        (row,) = await self.fetch(
            "select (select count(*) from comparisons where operation_id = $1),"
            " (select count(*) from ledger_entries where source_id = $1 and entry_type = 'transfer'),"
            " (select count(*) from settlement_jobs where operation_id = $1),"
            " (select count(*) from events where operation_id = $1)",
            key,
        )
        return row

    async def events(self, key: UUID) -> list[tuple[int, str]]:
        """Sequence and type of an operation's webhooks, in their order."""
        return await self.fetch(
            "select sequence, event_type from events where operation_id = $1 order by sequence", key
        )

    async def balance(self, party: Party) -> int:
        """Centavos on the party's account, which must be what its entries add up to (promises.md ST5)."""
        (row,) = await self.fetch(
            "select balance_centavos, (select coalesce(sum(case direction when 'credit' then amount_centavos"
            " else -amount_centavos end), 0)::bigint from ledger_entries where integrator_id = $1 and account_id = $2)"
            " from accounts where integrator_id = $1 and account_id = $2",
            party.key,
            party.account.key,
        )
        balance, entries = row
        assert balance == entries
        return int(balance)

    async def worker(self, **change: Any) -> WorkerParts:
        """A worker under its four roles: sandbox rail and inbox, real HTTP to this machine for the rest."""
        inbox: Channel = SandboxInbox()
        parts = WorkerParts(
            settle_db=await self.open_as("aval_app_settle"),
            notify_db=await self.open_as("aval_app_notify"),
            webhook_db=await self.open_as("aval_app_webhook"),
            seal_db=await self.open_as("aval_sealer"),
            keyring=KeyringHolder(),
            rails=SandboxRails(),
            outbound=OutboundHttp([], True),
            channel_of=lambda _name, _is_sandbox: inbox,
            pace=PACE,
            items_percent=100,
            retry=RETRY,
            webhooks=WEBHOOKS,
            breaker=BREAKER,
            sweep_interval=timedelta(milliseconds=100),
        )
        return replace(parts, **change)


def _parts_of(db: Database, rules: Rules | None) -> Parts:
    return replace(make_parts(db, rules=rules), retry=RETRY, rail_callback_of=callback_of)


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
        while not (found := await check()):  # noqa: ASYNC110 – PostgreSQL is asked, it does not call back
            await asyncio.sleep(0.02)
    return found


def wrong(token: str) -> str:
    """A well-formed token that is not this one."""
    return ("1" if token[0] == "0" else "0") + token[1:]


def ted_body(party: Party, **change: Any) -> dict[str, Any]:
    """A TED request."""
    target = {
        "account_branch": "0001",
        "account_number": "7654321",
        "account_digit": "0",
        "owner_document_number": "11222333000181",
        "owner_name": "Padaria Boa Vista Ltda",
        "ispb": "87654321",
        "account_type": "checking_account",
    }
    body = {
        "request_control_key": str(uuid4()),
        "transaction_amount": 202.01,
        "target_account": target,
        "tfa_info": party.tfa_info,
    }
    return body | change
