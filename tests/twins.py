"""A buyer as two API processes and a worker meet them, and what can come between two statements of one process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from aval.http.app import build_app
from aval.http.redemptions import features
from aval.operations import request_purchase
from aval.storage.database import Connection, Database
from aval.storage.purchase_inserts import PurchaseRows, insert_purchases
from tests.buyers import Buyer
from tests.factories import Reply, make_parts
from tests.redemption_stage import RedemptionStage

WAIT_S = 10
OpenAs = Callable[[str], Awaitable[Database]]


@dataclass
class Twins:
    """A buyer as two API processes meet them, and the worker's database."""

    here: Buyer
    there: Buyer
    settle_db: Database

    @classmethod
    async def make(cls, stage: RedemptionStage, db_as: OpenAs, **change: Any) -> "Twins":
        buyer = await Buyer.make(stage, **change)
        return cls(buyer, elsewhere(buyer, await db_as("aval_app_api")), await db_as("aval_app_settle"))

    async def both(self, act: Callable[[Buyer], Awaitable[Reply]], times: int = 1) -> list[Reply]:
        """The same call in both processes at once, so many times each."""
        return list(await asyncio.gather(*(act(buyer) for _ in range(times) for buyer in (self.here, self.there))))


def elsewhere(buyer: Buyer, api_db: Database) -> Buyer:
    """The same buyer as another API process meets them, which gathers calls of its own."""
    parts = replace(make_parts(api_db), outbound=buyer.stage.parts.outbound)
    return replace(buyer, stage=replace(buyer.stage, parts=parts, app=build_app(parts, [features.routes(parts)])))


@asynccontextmanager
async def paused_before_its_write(
    monkeypatch: pytest.MonkeyPatch, call: Awaitable[Reply]
) -> AsyncIterator["asyncio.Task[Reply]"]:
    """A request for a purchase that has read and judged what it will; leaving lets it write."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def insert(connection: Connection, rows: PurchaseRows) -> frozenset[UUID]:
        monkeypatch.setattr(request_purchase, "insert_purchases", insert_purchases)
        reached.set()
        await released.wait()
        return await insert_purchases(connection, rows)

    monkeypatch.setattr(request_purchase, "insert_purchases", insert)
    task = asyncio.ensure_future(call)
    async with asyncio.timeout(WAIT_S):
        await reached.wait()
    try:
        yield task
    finally:
        released.set()
