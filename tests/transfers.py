"""Transfers tests start from, made through the API itself."""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aval.domain.calendar import wire_datetime
from aval.http import pix
from aval.http.app import build_app
from aval.operations.settle_transfer import ask_rail, record_answers
from aval.storage.database import Database
from aval.storage.settlements import claim_settlements
from tests.factories import Client, Party, Reply, SandboxRails, make_keyring, make_parts
from tests.world import ITEMS, RETRY, World, body_of


async def make_pix(db: Database, party: Party, **change: Any) -> UUID:
    """The key of a Pix that waits for approval."""
    parts = make_parts(db)
    call = Client(build_app(parts, [pix.routes(parts)]), party.api_key)
    answer = await call("POST", f"/account/{party.account.key}/pix_transfer", party.pix(**change))
    assert answer.status == 202, answer.body
    return UUID(answer.json["pix_transfer_key"])


@dataclass(frozen=True)
class Wire:
    """The calls of one kind of transfer, as one party makes them."""

    world: World
    party: Party
    kind: str  # pix_transfer, pix_transfer_batch, ted, ted_batch

    @property
    def base(self) -> str:
        """The path of the kind on the party's account."""
        return f"/account/{self.party.account.key}/{self.kind}"

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Call with the party's API key."""
        return await self.world.call(method, path, body, key=self.party.api_key, **more)

    def body(self, **change: Any) -> dict[str, Any]:
        """A request of the kind; a change to None takes the member out."""
        made = body_of(self.party, self.kind, **change)
        return {name: value for name, value in made.items() if value is not None}

    async def create(self, **change: Any) -> Reply:
        """POST."""
        return await self.call("POST", self.base, self.body(**change))

    async def new(self, **change: Any) -> UUID:
        """The key of a new operation."""
        return await self.world.request(self.party, self.kind, **change)

    async def validate(self, key: UUID, token: Any, **headers: str) -> Reply:
        """PUT …/validate_token with a token, or with another body."""
        return await self.world.validate(self.party, self.kind, key, token, **headers)

    async def approve(self, key: UUID, **headers: str) -> Reply:
        """PUT …/validate_token with the live token."""
        return await self.validate(key, await self.world.token(self.party, key), **headers)

    async def resend(self, key: UUID, body: Any = None, **headers: str) -> Reply:
        """PATCH …/resend_token."""
        return await self.call("PATCH", f"{self.base}/{key}/resend_token", body, **headers)

    async def cancel(self, key: UUID, body: Any = None, **headers: str) -> Reply:
        """PATCH …/cancel."""
        return await self.call("PATCH", f"{self.base}/{key}/cancel", body, **headers)

    @property
    def is_batch(self) -> bool:
        """Whether one operation is many transfers."""
        return self.kind in ITEMS

    @property
    def single(self) -> "Wire":
        """The calls of the kind its items are of."""
        return Wire(self.world, self.party, self.kind.removesuffix("_batch"))

    async def read(self, key: UUID, direction: str = "outgoing") -> Reply:
        """GET one; a batch has no direction."""
        return await self.call("GET", f"{self.base}/{key}" + ("" if self.is_batch else f"/{direction}"))

    async def listed(self, query: str = "") -> Reply:
        """GET the list."""
        return await self.call("GET", f"{self.base}{'es' if self.is_batch else 's'}{query}")

    async def items(self, key: UUID, query: str = "") -> Reply:
        """GET the items of a batch."""
        return await self.call("GET", f"{self.base}/{key}/{ITEMS[self.kind]}{query}")

    async def exhaust(self, key: UUID) -> list[Reply]:
        """Five wrong tokens."""
        wrong = "000000" if await self.world.token(self.party, key) != "000000" else "000001"
        return [await self.validate(key, wrong) for _ in range(5)]


async def settle(world: World) -> None:
    """Do what a worker does with every settlement that is due."""
    async with world.db.connection() as connection:
        jobs = await claim_settlements(connection, most=100, lease=RETRY.lease)
    for job in jobs:
        said = await ask_rail(world.db, job=job, rails=SandboxRails(), keyring=make_keyring(), policy=RETRY)
        assert said is not None
        await record_answers(world.db, answers=[said], policy=RETRY)


async def settled(world: World, call: Awaitable[Reply]) -> Reply:
    """A synchronous call's answer, while a worker settles."""
    waiting = asyncio.ensure_future(call)
    while not waiting.done():
        await settle(world)
        await asyncio.sleep(0.01)
    return await waiting


def approval_of(party: Party, created_at: str, method: str = "sms", **change: Any) -> dict[str, Any]:
    """The `approval` of what was requested then, with the default settings."""
    phone = f"+55 {party.phone[3:5]} *****-{party.phone[-4:]}"
    made = {
        "method": method,
        "masked_destination": phone if method == "sms" else "a***@example.com",
        "generation": 1,
        "attempts_remaining": 5,
        "expires_at": later(created_at, seconds=300),
        "can_resend_at": later(created_at, seconds=30),
        "approval_deadline": later(created_at, minutes=60),
    }
    return made | change


def compact(value: Any) -> bytes:
    """The one way Aval writes JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def later(at: str, **duration: int) -> str:
    """A time on the wire that much later."""
    return wire_datetime(datetime.fromisoformat(at) + timedelta(**duration))
