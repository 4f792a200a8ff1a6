"""Batches of 1,000 items: how long one takes, and what single calls notice of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from aval.client import ApiKey, AvalClient, Retry
from bench.calls import Calls
from bench.client import CALL_TIMEOUT_S, HOST, Load, closed_loop, open_loop, quantile
from bench.world import World, account_key

ITEMS = 1_000  # spec transfers.md §2.1
NEIGHBOURS_PER_S = 200.0
NEIGHBOURS_S = 4.0
BATCHES_BESIDE = 10
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
    """Request a batch, approve it, wait until every item has settled; as a caller of the Python client sees it."""
    async with _client(world) as aval:
        await aval.get_account(account_key(account))  # so that the connection is there
        items = calls.items(ITEMS)
        started = time.perf_counter()
        batch = await aval.create_ted_batch(account_key(account), items=items, approver=calls.approver(account))
        created = time.perf_counter()
        token = await calls.token_of(batch.key)
        asked = time.perf_counter()
        await aval.validate_ted_batch(account_key(account), batch.key, token)
        approved = time.perf_counter()
        await _until_settled(world, batch.key)
        settled = time.perf_counter()
    return BatchTimes(created - started, approved - asked, settled - approved)


def _client(world: World) -> AvalClient:
    """One that repeats nothing: a figure is of one try."""
    return AvalClient(f"http://{HOST}:{world.port}", ApiKey(world.api_key), retry=Retry(tries_max=1))


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


async def neighbours_p99_s(world: World, calls: Calls) -> tuple[float, float]:
    """p99 of single validates, in seconds: without batches, and while one batch after the other settles."""
    quiet = await _validates(world, await _single_calls(world, calls))
    batches = await _waiting_batches(world, calls)
    requests = await _single_calls(world, calls)
    settling = asyncio.create_task(_settle_in_turn(world, batches))
    busy = await _validates(world, requests)
    assert not settling.done(), "the batches were done before the neighbours were"
    await settling
    return quantile(quiet.latencies_s, 0.99), quantile(busy.latencies_s, 0.99)


async def _single_calls(world: World, calls: Calls) -> list[bytes]:
    """Right tokens for new operations, once the worker has nothing left to do for anybody."""
    count = int(NEIGHBOURS_PER_S * NEIGHBOURS_S)
    created = await closed_loop(world.port, iter(calls.creates(count)), clients=CLIENTS, seconds=60)
    assert set(created.statuses) == {202}, created.statuses
    requests = (await calls.validates())[:count]
    async with asyncio.timeout(CALL_TIMEOUT_S):
        while await _has_work(world):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return requests


async def _has_work(world: World) -> bool:
    async with world.db.connection() as connection:
        return bool(
            await connection.fetchval(
                "select exists (select from settlement_jobs where state = 'ready')"
                " or exists (select from outbox where state = 'ready')"
            )
        )


async def _validates(world: World, requests: Sequence[bytes]) -> Load:
    load = await open_loop(world.port, requests, per_second=NEIGHBOURS_PER_S, clients=CLIENTS)
    assert set(load.statuses) == {202}, load.statuses
    return load


async def _waiting_batches(world: World, calls: Calls) -> list[tuple[UUID, UUID, str]]:
    """Batches that wait for their token: account, key and token of each."""
    made = []
    async with _client(world) as aval:
        for account in range(1, BATCHES_BESIDE + 1):
            key, approver = account_key(account), calls.approver(account)
            batch = await aval.create_ted_batch(key, items=calls.items(ITEMS), approver=approver)
            made.append((key, batch.key, await calls.token_of(batch.key)))
    return made


async def _settle_in_turn(world: World, batches: Sequence[tuple[UUID, UUID, str]]) -> None:
    async with _client(world) as aval:
        for account, batch, token in batches:
            await aval.validate_ted_batch(account, batch, token)
            await _until_settled(world, batch)
