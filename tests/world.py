"""One deployment in this process for whole tables of cases: parties, the application, and a judge of every answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

from aval.domain.challenge import TokenSource
from aval.domain.token import TokenSeed
from aval.http.app import App, build_app
from aval.http.edge import Route
from aval.http.parts import Parts
from aval.operations.request_transfer import Rules
from aval.operations.settle_transfer import RetryPolicy
from aval.rails.http import callback_of
from aval.storage.database import Database
from aval.storage.requests import read_operation
from tests.contract import Contract
from tests.factories import Client, Party, Reply, make_keyring, make_parts

FEATURES = "pix ted batches devices device_sessions approvals admin webhooks notifications sandbox rail".split()
CORRELATION_ID = "proof:1207"
RETRY = RetryPolicy(gaps=(timedelta(seconds=1),), tries_max=5, lease=timedelta(seconds=30))
UNSTEADY = {"schema_migrations", "schema_manifest"}


@dataclass
class World:
    """Calls go through the application as the API's role; `faults` gathers what no answer should have been."""

    db: Database = field(repr=False)
    parts: Parts = field(repr=False)
    routes: list[Route] = field(repr=False)
    app: App = field(repr=False)
    contract: Contract = field(repr=False)
    faults: list[str] = field(default_factory=list)
    has_server_errors: bool = False  # a test that takes the database away allows 503, and 500 within COMMIT

    async def call(
        self, method: str, target: str, body: Any = None, *, key: str | None, raw: bytes | None = None, **headers: str
    ) -> Reply:
        """Send one request and judge its answer; `faults` grows when it is not what was documented."""
        headers.setdefault("x_correlation_id", CORRELATION_ID)
        reply = await Client(self.app, key)(method, target, body, raw=raw, **headers)
        found = self.contract.faults(method, target, reply)
        if reply.status >= 500 and not (self.has_server_errors and reply.status in (500, 503)):
            found.append("server error")
        self.faults += [f"{method} {target} -> {reply.status} {reply.code}: {fault}" for fault in found]
        return reply

    async def request(self, party: Party, kind: str = "pix_transfer", **change: Any) -> UUID:
        """The key of a new operation that waits for its token."""
        body = body_of(party, kind, **change)
        reply = await self.call("POST", f"/account/{party.account.key}/{kind}", body, key=party.api_key)
        assert reply.status == 202, reply.body
        return UUID(reply.json[f"{kind}_key"])

    async def validate(self, party: Party, kind: str, operation_key: UUID, body: Any, **headers: str) -> Reply:
        """Submit a token (or any other body)."""
        path = f"/account/{party.account.key}/{kind}/{operation_key}/validate_token"
        body = {"token": body} if isinstance(body, str) else body
        return await self.call("PUT", path, body, key=party.api_key, **headers)

    async def token(self, party: Party, operation_key: UUID, generation: int | None = None) -> str:
        """The live token of an operation, or that of an earlier generation."""
        async with self.db.connection() as connection:
            found = await read_operation(connection, party.key, operation_key)
        assert found is not None
        transfer, challenge = found
        seed = TokenSeed(transfer.integrator_key, transfer.key, transfer.details_digest, transfer.nonce)
        source = TokenSource(make_keyring(), seed, party.integrator.settings.fixed_token)
        return source.token(challenge, generation or challenge.generation).text

    async def advance(self, operation_key: UUID, seconds: float) -> None:
        """Let time pass for one operation, whatever the mode of its integrator."""
        async with self.db.connection() as connection:
            await connection.execute(
                "update challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,"
                " can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval"
                " where operation_id = $1",
                operation_key,
                timedelta(seconds=seconds),
            )

    async def execute(self, statement: str, *arguments: object) -> str:
        """Prepare something as superuser."""
        async with self.db.connection() as connection:
            return await connection.execute(statement, *arguments)

    async def fetch(self, query: str, *arguments: object) -> Any:
        """Look at something as superuser."""
        async with self.db.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def snapshot(self) -> dict[str, str]:
        """A digest of every table, whatever it holds."""
        tables = [row["name"] for row in await self.fetch(_TABLES) if row["name"] not in UNSTEADY]
        union = " union all ".join(
            f"select '{table}' as name, md5(coalesce(string_agg(t::text, '\n' order by t::text), '')) as digest"
            f" from aval.{table} t"
            for table in tables
        )
        return {row["name"]: row["digest"] for row in await self.fetch(union)}


_TABLES = "select tablename as name from pg_tables where schemaname = 'aval' order by 1"


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


ITEMS = {"pix_transfer_batch": "pix_transfers", "ted_batch": "teds"}


def body_of(party: Party, kind: str, **change: Any) -> dict[str, Any]:
    """A request of any kind; a batch has two items."""
    if kind not in ITEMS:
        return party.pix(**change) if kind == "pix_transfer" else ted_body(party, **change)
    items = [item_body(party, kind) for _ in range(2)]
    made = {"request_control_key": str(uuid4()), ITEMS[kind]: items, "tfa_info": party.tfa_info}
    return made | change


def item_body(party: Party, kind: str, **change: Any) -> dict[str, Any]:
    """An item of a kind of batch; a change to None takes the member out."""
    made = body_of(party, kind.removesuffix("_batch"), **change)
    return {name: value for name, value in made.items() if name != "tfa_info" and value is not None}


def all_routes(parts: Parts) -> list[Route]:
    """Every route there is but health and documentation."""
    return [route for name in FEATURES for route in import_module(f"aval.http.{name}").routes(parts)]


@asynccontextmanager
async def make_world(db: Database, api_db: Database, *, rules: Rules | None = None) -> AsyncIterator[World]:
    """Build it over a migrated database (`api_db` has the role of the API); leaving judges what was answered."""
    parts = replace(make_parts(api_db, rules=rules), retry=RETRY, rail_callback_of=callback_of)
    routes = all_routes(parts)
    world = World(db, parts, routes, build_app(parts, [routes]), Contract(routes))
    yield world
    assert sorted(set(world.faults)) == []
