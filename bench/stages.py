"""The measurements, each a stretch of load of its own."""

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import msgspec

from bench.calls import Calls
from bench.client import Connection, Load, closed_loop, open_loop, quantile
from bench.gateway import Gateway
from bench.world import HOT_ACCOUNT, World, account_key

CLIENTS = 64  # spec DESIGN.md §6
CYCLE_CLIENTS = 192
PREPARED_PER_SECOND = 12_000
TURNS = 4  # stretches of each of two loads
SIGNED_PREPARED = 6_000


async def create(world: World, calls: Calls, *, seconds: float, clients: int = CLIENTS) -> Load:
    """POST …/ted on a thousand accounts."""
    requests = calls.creates(int(PREPARED_PER_SECOND * seconds))
    return checked(await closed_loop(world.port, iter(requests), clients=clients, seconds=seconds), 202)


async def create_signed(world: World, calls: Calls, *, seconds: float) -> Load:
    """The same with ES512 signed requests, signed before the clock starts."""
    requests = calls.creates(SIGNED_PREPARED, is_signed=True)
    return checked(await closed_loop(world.port, iter(requests), clients=CLIENTS, seconds=seconds), 202)


async def validate(world: World, calls: Calls, *, seconds: float, clients: int = CLIENTS) -> Load:
    """PUT …/validate_token with right tokens, for what `create` left."""
    requests = await calls.validates()
    return checked(await closed_loop(world.port, iter(requests), clients=clients, seconds=seconds), 202)


async def validate_hot(world: World, calls: Calls, *, seconds: float, operations: int) -> Load:
    """The same with every operation on one account."""
    creates = calls.creates(operations, account=HOT_ACCOUNT)
    checked(await closed_loop(world.port, iter(creates), clients=CLIENTS, seconds=60), 202)
    requests = (await calls.validates(account=HOT_ACCOUNT))[:operations]
    return checked(await closed_loop(world.port, iter(requests), clients=CLIENTS, seconds=seconds), 202)


async def paced_validates(world: World, calls: Calls, *, per_second: float, seconds: float) -> Load:
    """Right tokens at a fixed rate; their latencies are the quiet ones."""
    creates = calls.creates(int(per_second * seconds))
    checked(await closed_loop(world.port, iter(creates), clients=CLIENTS, seconds=60), 202)
    requests = (await calls.validates())[: int(per_second * seconds)]
    return checked(await open_loop(world.port, requests, per_second=per_second, clients=CLIENTS), 202)


class Stretch(Protocol):
    """A load that lasts so many seconds."""

    async def __call__(self, *, seconds: float) -> Load:
        """Run it once."""


async def in_turn(one: Stretch, other: Stretch, *, seconds: float) -> tuple[float, float]:
    """Calls a second of two loads, in stretches by turns (1 2 2 1 …): what changes on the machine meets both alike."""
    loads: dict[Stretch, list[Load]] = {one: [], other: []}
    for number in range(TURNS):
        for load in (one, other) if number % 2 == 0 else (other, one):
            loads[load].append(await load(seconds=seconds))
    first, second = (sum(each.calls for each in done) / sum(each.seconds for each in done) for done in loads.values())
    return first, second


def checked(load: Load, status: int) -> Load:
    """A benchmark of refusals would be quick."""
    assert set(load.statuses) == {status}, load.statuses
    return load


@dataclass
class Cycles:
    """Full cycles: requested, message at the gateway, approved, settled."""

    per_second: float
    worker_lag_p99_ms: float
    latency_p50_ms: float


async def cycles(world: World, calls: Calls, gateway: Gateway, *, seconds: float) -> Cycles:
    """Clients that request, wait for their message and approve, with a worker running; counted once settled."""
    started_at = await _clock(world)
    started = time.perf_counter()
    until = started + seconds
    latencies: list[float] = []
    numbers = calls.fresh_numbers

    async def client() -> None:
        connection = await Connection.open(world.port)
        while time.perf_counter() < until:
            began, number = time.perf_counter(), next(numbers)
            waiting = gateway.token_of(number)
            account = number % 1000 + 1
            _, body = await connection.call(calls.create(account=account, number=number))
            token = await waiting
            operation = UUID(msgspec.json.decode(body)["ted_key"])
            status, _ = await connection.call(calls.validate(account_key(account), operation, token))
            assert status == 202
            latencies.append(time.perf_counter() - began)
        connection.close()

    await asyncio.gather(*(client() for _ in range(CYCLE_CLIENTS)))
    settled = await _wait_until_settled(world, started_at, len(latencies))
    took = time.perf_counter() - started
    return Cycles(settled / took, await _lag_p99_ms(world, started_at), quantile(latencies, 0.5) * 1000)


async def _clock(world: World) -> object:
    async with world.db.connection() as connection:
        return await connection.fetchval("select clock_timestamp()")


async def _wait_until_settled(world: World, since: object, wanted: int) -> int:
    settled = 0
    for _ in range(400):
        async with world.db.connection() as connection:
            settled = await connection.fetchval(
                "select count(*) from settlement_jobs where created_at >= $1 and state = 'done'", since
            )
        if settled >= wanted:
            break
        await asyncio.sleep(0.05)
    return settled


async def _lag_p99_ms(world: World, since: object) -> float:
    """From the moment work was promised to the moment it was done, messages and settlements alike."""
    async with world.db.connection() as connection:
        lag: float = await connection.fetchval(
            "select percentile_cont(0.99) within group (order by extract(epoch from lag) * 1000) from ("
            " select finished_at - created_at as lag from outbox where created_at >= $1 and state = 'delivered'"
            " union all select updated_at - created_at from settlement_jobs where created_at >= $1 and state = 'done'"
            ") l",
            since,
        )
    return lag


async def drop_backlog(world: World) -> None:
    """Forget what the stages without a worker promised, so that the worker meets only the cycles' work."""
    async with world.db.connection() as connection:
        await connection.execute("update outbox set state = 'void', finished_at = now() where state = 'ready'")
        await connection.execute("update settlement_jobs set state = 'parked' where state = 'ready'")
        await connection.execute("vacuum analyze")
