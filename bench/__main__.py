"""`make bench`: service and pgbench in turn, then one JSON object on the last line."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench import pgbench, stages
from bench.calls import Calls
from bench.client import quantile
from bench.gateway import Gateway
from bench.world import World, make_world

SEED = 20261122
PENDING_FOR_PGBENCH = 120_000


def say(text: str) -> None:
    """Tell a person what happens; the figures themselves come last."""
    print(text, file=sys.stderr, flush=True)


async def baseline(world: World, script: str, seconds: int) -> dict[int, float]:
    """Transactions a second of a script at each number of clients."""
    return {n: await pgbench.tps(world, script, clients=n, seconds=seconds) for n in pgbench.CLIENTS}


async def measure(world: World, gateway: Gateway, rounds: int, seconds: float) -> dict[str, Any]:
    """All stages; service and pgbench interleaved, medians over the rounds."""
    calls = Calls(world, SEED)
    say("Storing operations for pgbench to approve …")
    await pgbench.prepare(world, PENDING_FOR_PGBENCH)
    world.start("serve")
    await world.wait_for_api()
    await stages.create(world, calls, seconds=1)  # warm: plans, caches
    await stages.validate(world, calls, seconds=1)
    figures: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        figures.setdefault(name, []).append(value)
        say(f"  {name}: {value:,.2f}")

    for number in range(1, rounds + 1):
        say(f"Round {number} of {rounds}")
        note("create_per_s", (await stages.create(world, calls, seconds=seconds)).per_second)
        note("pgbench_create_tps", max((await baseline(world, "create.sql", 2)).values()))
        note("validate_per_s", (await stages.validate(world, calls, seconds=seconds)).per_second)
        note("pgbench_validate_tps", max((await baseline(world, "validate.sql", 2)).values()))
        hot = await stages.validate_hot(world, calls, seconds=seconds, operations=12_000)
        note("hot_validate_per_s", hot.per_second)
        note("ratio_create", figures["create_per_s"][-1] / figures["pgbench_create_tps"][-1])
        note("ratio_validate", figures["validate_per_s"][-1] / figures["pgbench_validate_tps"][-1])
        note("hot_account_ratio", hot.per_second / figures["validate_per_s"][-1])
    say("Eight clients")
    note("create_8_per_s", (await stages.create(world, calls, seconds=2, clients=8)).per_second)
    note("validate_8_per_s", (await stages.validate(world, calls, seconds=2, clients=8)).per_second)
    note("pgbench_create_8_tps", await pgbench.tps(world, "create.sql", clients=8, seconds=2))
    note("pgbench_validate_8_tps", await pgbench.tps(world, "validate.sql", clients=8, seconds=2))
    say("Signed requests")
    note("signed_create_per_s", (await stages.create_signed(world, calls, seconds=3)).per_second)
    say("Half the saturation load")
    half = await stages.paced_validates(world, calls, per_second=median(figures["validate_per_s"]) / 2, seconds=4)
    note("p50_ms", quantile(half.latencies_s, 0.5) * 1000)
    note("p99_ms", quantile(half.latencies_s, 0.99) * 1000)
    note("api_rss_mb", world.resident_mb("serve"))
    say("Full cycles: request, message at the gateway, token, settled")
    await stages.drop_backlog(world)
    world.start("worker")
    await stages.cycles(world, calls, gateway, seconds=2)
    done = await stages.cycles(world, calls, gateway, seconds=8)
    note("cycle_per_s", done.per_second)
    note("worker_lag_p99_ms", done.worker_lag_p99_ms)
    note("worker_rss_mb", world.resident_mb("worker"))
    return {name: round(median(values), 3 if "ratio" in name else 1) for name, values in figures.items()}


async def run(rounds: int, seconds: float) -> dict[str, Any]:
    """Make a world, measure it, take it down."""
    gateway = Gateway()
    with tempfile.TemporaryDirectory(prefix="aval-bench-") as directory:
        say("Starting PostgreSQL and a deployment with 1,000 accounts …")
        world = await make_world(Path(directory), await gateway.start())
        try:
            return await measure(world, gateway, rounds, seconds)
        finally:
            await world.close()
            gateway.stop()


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one stretch of service load")
    options = parser.parse_args()
    print(json.dumps(uvloop.run(run(options.rounds, options.seconds))))


if __name__ == "__main__":
    main()
