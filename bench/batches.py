"""Batches of 1,000 items: how long one takes, and what single calls notice of it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import msgspec

from bench.calls import Calls
from bench.client import CALL_TIMEOUT_S, Connection, Load, closed_loop, open_loop, quantile
from bench.world import World, account_key

ITEMS = 1_000  # spec transfers.md §2.1
NEIGHBOURS_PER_S = 200.0
NEIGHBOURS_S = 4.0
BATCHES_BESIDE = 12
CLIENTS = 64


@dataclass
class BatchTimes:
    """Seconds from a request to its answer, and from the approval's answer to the last item's end."""

    create_s: float
    approve_s: float
    settle_s: float

    @property
    def total_s(self) -> float:
        """What a caller waits for in all."""
        return self.create_s + self.approve_s + self.settle_s


async def one_batch(world: World, calls: Calls, *, account: int) -> BatchTimes:
    """Request a batch, approve it, wait until every item has settled."""
    connection = await Connection.open(world.port)
    request = calls.batch(account=account, items=ITEMS)
    started = time.perf_counter()
    key = _key_of(await connection.call(request))
    created = time.perf_counter()
    approval = await calls.validate_batch(account_key(account), key)
    asked = time.perf_counter()
    status, body = await connection.call(approval)
    assert status == 201, body
    approved = time.perf_counter()
    await _until_settled(world, key)
    settled = time.perf_counter()
    connection.close()
    return BatchTimes(created - started, approved - asked, settled - approved)


def _key_of(answer: tuple[int, bytes]) -> UUID:
    status, body = answer
    assert status == 202, body
    return UUID(msgspec.json.decode(body)["ted_batch_key"])


async def _until_settled(world: World, key: UUID) -> None:
    async with asyncio.timeout(CALL_TIMEOUT_S):
        while not await _is_settled(world, key):  # noqa: ASYNC110 – PostgreSQL is asked, it does not call back
            await asyncio.sleep(0.005)


async def _is_settled(world: World, key: UUID) -> bool:
    """Whether the webhook of its end is written, which the last item's transaction does."""
    async with world.db.connection() as connection:
        return bool(
            await connection.fetchval(
                "select exists (select from events where operation_id = $1 and event_type = 'aval.ted_batch.finished')",
                key,
            )
        )


async def neighbour_ratio(world: World, calls: Calls) -> float:
    """p99 of single validates while one batch after the other settles ÷ the same without batches."""
    quiet = await _validates(world, calls)
    batches = await _waiting_batches(world, calls)
    settling = asyncio.create_task(_settle_in_turn(world, batches))
    busy = await _validates(world, calls)
    assert not settling.done(), "the batches were done before the neighbours were"
    settling.cancel()
    with suppress(asyncio.CancelledError):
        await settling
    return quantile(busy.latencies_s, 0.99) / quantile(quiet.latencies_s, 0.99)


async def _validates(world: World, calls: Calls) -> Load:
    count = int(NEIGHBOURS_PER_S * NEIGHBOURS_S)
    created = await closed_loop(world.port, iter(calls.creates(count)), clients=CLIENTS, seconds=60)
    assert set(created.statuses) == {202}, created.statuses
    requests = (await calls.validates())[:count]
    load = await open_loop(world.port, requests, per_second=NEIGHBOURS_PER_S, clients=CLIENTS)
    assert set(load.statuses) == {202}, load.statuses
    return load


async def _waiting_batches(world: World, calls: Calls) -> list[tuple[UUID, bytes]]:
    """Batches that wait for their token, each with the request that approves it."""
    connection = await Connection.open(world.port)
    made = []
    for account in range(1, BATCHES_BESIDE + 1):
        key = _key_of(await connection.call(calls.batch(account=account, items=ITEMS)))
        made.append((key, await calls.validate_batch(account_key(account), key)))
    connection.close()
    return made


async def _settle_in_turn(world: World, batches: Sequence[tuple[UUID, bytes]]) -> None:
    connection = await Connection.open(world.port)
    for key, approval in batches:
        status, body = await connection.call(approval)
        assert status == 201, body
        await _until_settled(world, key)
