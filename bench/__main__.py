"""`make bench`: service and pgbench in turn, then one JSON object on the last line."""

import argparse
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import uvloop

from bench import pgbench, stages
from bench.batches import neighbours_p99_s, one_batch
from bench.calls import Calls
from bench.client import quantile
from bench.club import Club, make_club
from bench.gateway import Gateway
from bench.purchases import Purchases
from bench.uploads import upload_growth_mb
from bench.world import World, make_world

SEED = 20261122
PENDING_FOR_PGBENCH = 120_000
BATCH_ROUNDS = 5
NEIGHBOUR_ROUNDS = 3


def say(text: str) -> None:
    """Tell a person what happens; the figures themselves come last."""
    print(text, file=sys.stderr, flush=True)


async def baseline(world: World, script: str, seconds: int) -> dict[int, float]:
    """Transactions a second of a script at each number of clients."""
    return {n: await pgbench.tps(world, script, clients=n, seconds=seconds) for n in pgbench.CLIENTS}


class Figures:
    """What was measured, by name; a name noted several times is told as its median."""

    def __init__(self) -> None:
        self._noted: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """Keep a figure and show it."""
        self._noted.setdefault(name, []).append(value)
        say(f"  {name}: {value:,.2f}")

    def __getitem__(self, name: str) -> float:
        return median(self._noted[name])

    def told(self) -> dict[str, float]:
        """All figures, rounded."""
        return {name: round(self[name], 3 if "ratio" in name or "batch" in name else 1) for name in self._noted}


async def measure(world: World, gateway: Gateway, rounds: int, seconds: float) -> dict[str, float]:
    """All stages; service and pgbench interleaved, medians over the rounds. Without rounds: batches alone."""
    calls, figures = Calls(world, SEED), Figures()
    if rounds:
        club = await make_club(world)
        await alone(world, calls, Purchases(world, club, SEED), figures, rounds, seconds)
        await uploads(world, club, figures)
        await full_cycles(world, calls, gateway, figures)
    else:
        await world.serve()
        world.start("worker")
    await batches(world, calls, figures)
    return figures.told()


async def alone(
    world: World, calls: Calls, purchases: Purchases, figures: Figures, rounds: int, seconds: float
) -> None:
    """Calls without a worker beside them."""
    say("Storing operations for pgbench to approve …")
    await pgbench.prepare(world, PENDING_FOR_PGBENCH)
    await world.serve()
    await stages.create(world, calls, seconds=1)  # warm: plans, caches
    await stages.validate(world, calls, seconds=1)
    await purchases.create(seconds=1)
    await purchases.validate(seconds=1)
    for number in range(1, rounds + 1):
        say(f"Round {number} of {rounds}")
        await one_round(world, calls, purchases, figures, seconds)
    await with_few_clients(world, calls, figures)
    say("Signed requests")
    figures.note("signed_create_per_s", (await stages.create_signed(world, calls, seconds=3)).per_second)
    say("Half the saturation load")
    half = await stages.paced_validates(world, calls, per_second=figures["validate_per_s"] / 2, seconds=4)
    figures.note("p50_ms", quantile(half.latencies_s, 0.5) * 1000)
    figures.note("p99_ms", quantile(half.latencies_s, 0.99) * 1000)
    figures.note("api_rss_mb", world.resident_mb("serve"))


async def one_round(world: World, calls: Calls, purchases: Purchases, figures: Figures, seconds: float) -> None:
    """Transfers and purchases in turn, then pgbench; first to create, then to validate. Ratios are of this round."""
    create, purchase_create = await stages.in_turn(
        partial(stages.create, world, calls), purchases.create, seconds=seconds / 2
    )
    create_limit = max((await baseline(world, "create.sql", 2)).values())
    validate, purchase_validate = await stages.in_turn(  # shorter, for it uses up what was created
        partial(stages.validate, world, calls), purchases.validate, seconds=seconds / 3
    )
    validate_limit = max((await baseline(world, "validate.sql", 2)).values())
    hot = (await stages.validate_hot(world, calls, seconds=seconds, operations=12_000)).per_second
    figures.note("create_per_s", create)
    figures.note("pgbench_create_tps", create_limit)
    figures.note("ratio_create", create / create_limit)
    figures.note("validate_per_s", validate)
    figures.note("pgbench_validate_tps", validate_limit)
    figures.note("ratio_validate", validate / validate_limit)
    figures.note("hot_validate_per_s", hot)
    figures.note("hot_account_ratio", hot / validate)
    figures.note("purchase_create_per_s", purchase_create)
    figures.note("purchase_create_ratio", purchase_create / create)
    figures.note("purchase_validate_per_s", purchase_validate)
    figures.note("purchase_validate_ratio", purchase_validate / validate)


async def with_few_clients(world: World, calls: Calls, figures: Figures) -> None:
    """The same with eight clients, where fewer calls share a commit."""
    say("Eight clients")
    create = (await stages.create(world, calls, seconds=2, clients=8)).per_second
    create_limit = await pgbench.tps(world, "create.sql", clients=8, seconds=2)
    validate = (await stages.validate(world, calls, seconds=2, clients=8)).per_second
    validate_limit = await pgbench.tps(world, "validate.sql", clients=8, seconds=2)
    figures.note("ratio_create_8", create / create_limit)
    figures.note("ratio_validate_8", validate / validate_limit)


async def uploads(world: World, club: Club, figures: Figures) -> None:
    """Documents of 5 MB that arrive together."""
    say("Fifty uploads at once")
    figures.note("upload_rss_growth_mb", await upload_growth_mb(world, club))


async def full_cycles(world: World, calls: Calls, gateway: Gateway, figures: Figures) -> None:
    """Request, message at the gateway, token, settled – with a worker."""
    say("Full cycles")
    await stages.drop_backlog(world)
    world.start("worker")
    await stages.cycles(world, calls, gateway, seconds=2)
    done = await stages.cycles(world, calls, gateway, seconds=8)
    figures.note("cycle_per_s", done.per_second)
    figures.note("worker_lag_p99_ms", done.worker_lag_p99_ms)
    figures.note("worker_rss_mb", world.resident_mb("worker"))


async def batches(world: World, calls: Calls, figures: Figures) -> None:
    """Batches of 1,000 items one after the other, then beside single calls; a worker runs."""
    say("Batches of 1,000 items")
    await one_batch(world, calls, account=1)  # warm
    for account in range(2, BATCH_ROUNDS + 2):
        times = await one_batch(world, calls, account=account)
        figures.note("batch_1000_create_s", times.create_s)
        figures.note("batch_1000_approve_s", times.approve_s)
        figures.note("batch_1000_settle_s", times.settle_s)
        figures.note("batch_1000_s", times.total_s)
    say("Single calls beside batches")
    for _ in range(NEIGHBOUR_ROUNDS):
        quiet_s, busy_s = await neighbours_p99_s(world, calls)
        figures.note("neighbour_quiet_p99_ms", quiet_s * 1000)
        figures.note("neighbour_busy_p99_ms", busy_s * 1000)
        figures.note("neighbour_p99_ratio", busy_s / quiet_s)


async def run(rounds: int, seconds: float, processes: int) -> dict[str, float]:
    """Make a world, measure it, take it down."""
    gateway = Gateway()
    with tempfile.TemporaryDirectory(prefix="aval-bench-") as directory:
        os.chmod(directory, 0o711)  # so that PostgreSQL's own account, when root runs this, gets to its data
        say("Starting PostgreSQL and a deployment with 1,000 accounts …")
        world = await make_world(Path(directory), await gateway.start())
        world.api_processes = processes
        try:
            return {"api_processes": processes, **await measure(world, gateway, rounds, seconds)}
        finally:
            await world.close()
            gateway.stop()


def main() -> None:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="0 measures batches alone")
    parser.add_argument(
        "--seconds",
        type=float,
        default=3.0,
        help="length of a stretch of service load; two by turns take up to twice that each",
    )
    parser.add_argument("--processes", type=int, default=1, help="API processes")
    options = parser.parse_args()
    print(json.dumps(uvloop.run(run(options.rounds, options.seconds, options.processes))))


if __name__ == "__main__":
    main()
