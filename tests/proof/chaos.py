"""Proof of TK3, ST1, ST4 and OP5 (T2, T16, T17), of no deadlock (D2), and of AU1 and WH2 under kills.

Two API processes, two workers, PostgreSQL, a core for each integrator and a webhook receiver are processes of
their own. Callers race right and wrong tokens through both APIs while `kill -9` and stops of 10 s hit API,
worker and PostgreSQL, and while the cores answer late, twice, out of order or not at all. All the while one snapshot of
PostgreSQL after another has to show whole decisions only, and what was answered has to be there at once. In the end
the ledgers of the rails, the webhooks that came, what callers were told and all rows have to tell one story.

Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
AVAL_PROOF_CHAOS_SECONDS=15 makes a short run with proportionally fewer kills and calls, for planted bugs: it ends at
the first broken promise. The bugs it has to find are 5 (answer before commit), 16 (settlement job outside the approving
transaction), 17 (no unique settlement job: the second test alone finds it, in seconds) and 19 (no query after a
time-out).
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from aval.storage.database import Database, PostgresError
from tests.chaos.batches import Killing, approved_batches, judge_batches, until_final, until_heard
from tests.chaos.faults import Faults
from tests.chaos.judgement import (
    BACK_MAX_S,
    judge_end,
    longest_call,
    outage_faults,
    slowest_return,
    until_quiet,
    until_told,
)
from tests.chaos.load import Load
from tests.chaos.parties import NO_FAULTS, Integrator, control, running_integrators
from tests.chaos.receiver import running_receiver
from tests.chaos.watch import Watch
from tests.factories import make_party
from tests.proof.deployment import IS_NIGHTLY, RunningAval, figure, running_deployment

pytestmark = pytest.mark.proof

SHORT_S = float(os.environ.get("AVAL_PROOF_CHAOS_SECONDS") or 0)
STORM_S = SHORT_S or figure(60, 600)
SCALE = SHORT_S / 60 if SHORT_S else 1.0
KILLS_MIN = round(figure(15, 150) * SCALE)
VALIDATES_MIN = round(figure(2_000, 100_000) * SCALE)
# One round of faults, repeated as long as the storm blows. The stop of PostgreSQL takes 10 s by itself.
KILLS = ["kill api"] * 5 + ["kill worker"] * 6 + ["kill postgres"] * 4
ROUND = KILLS if SHORT_S else [*KILLS, "stop api", "stop worker", "stop postgres"]
PAUSE_S = (2.0, 5.0) if IS_NIGHTLY else (0.4, 2.2)
CALLERS = 16
# Ten batches of a thousand items whose worker is killed every 2 s; on a pull request fewer items, and kills as often
# as the worker has begun to work.
BATCHES, ITEMS = figure(3, 10), figure(200, 1_000)
LIFE_S = (2.0, 2.0) if IS_NIGHTLY else (0.0, 0.5)
WORKER_KILLS = figure(2, 5), figure(8, 1_000)  # at least, at most
BATCHES_MAX_S = figure(300, 1_200)
BATCH_HOLD_S = 1.0  # a time-out of the core, which then hangs up
ANSWER_S = 30.0  # from the last fault to the last answer; a synchronous call may wait for its rail
LEASE_S = 5
SYNC_MAX_S, ASYNC_MAX_S = 60.0, LEASE_S + 30.0
POOL_SIZE = 10
FAILING_RECEIVER = 0.05
SETTINGS = {
    "AVAL_WORKER_LEASE": str(LEASE_S),
    "AVAL_POOL_SIZE": str(POOL_SIZE),
    "AVAL_WEBHOOK_RETRY_SECONDS": "1,1,2,2,5,5,5",
}
# So that a few hundred items are no affair of one moment.
FEW_AT_ONCE = {"AVAL_WORKER_BATCH_SIZE": "32", "AVAL_WORKER_JOBS_MAX": "64"}
BATCH_SETTINGS = SETTINGS if IS_NIGHTLY else SETTINGS | FEW_AT_ONCE


@dataclass
class Storm:
    """Everything that takes part; `violations` is what must stay empty."""

    aval: RunningAval
    session: aiohttp.ClientSession
    integrators: Sequence[Integrator]
    receiver_url: str
    load: Load
    faults: Faults
    watch: Watch
    violations: list[str]
    end: str = "ended early"


async def test_no_attempt_comes_back_and_every_approval_settles_once(
    chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    async with gathering_storm(chance) as storm:
        await blow(storm, chance)
        if not storm.violations:
            storm.violations += await calm(storm)
        with capsys.disabled():
            print(figures_of(storm), *storm.violations[:20], sep="\n  ")
        assert storm.violations == []


async def test_every_item_settles_once_though_its_worker_is_killed_every_two_seconds(
    chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_receiver(chance.getrandbits(32)) as receiver_url:
        async with (
            aiohttp.ClientSession() as session,
            running_deployment(apis=1, workers=1, **BATCH_SETTINGS) as aval,
            running_integrators(aval, session, receiver_url, chance) as integrators,
        ):
            integrator = integrators[1]  # settles later, without budgets
            await control(session, integrator.core_url, hold_s=BATCH_HOLD_S)
            await control(session, receiver_url, failing=FAILING_RECEIVER)
            killing = Killing(aval, aval.workers[0], chance, LIFE_S, most=WORKER_KILLS[1])
            killer = asyncio.create_task(killing.run())
            started_at = time.monotonic()
            try:
                keys = await approved_batches(aval, integrator, chance, batches=BATCHES, items=ITEMS)
                await until_final(aval.db, killer, within_s=BATCHES_MAX_S)
            finally:
                await killing.end(killer)
            settled_s = time.monotonic() - started_at
            await control(session, receiver_url, failing=0.0)
            await control(session, integrator.core_url, **NO_FAULTS)
            await until_told(session, integrators)
            await until_heard(aval.db, within_s=BATCHES_MAX_S)
            violations = await judge_batches(aval, session, integrator, receiver_url, keys)
            with capsys.disabled():
                print(f"  {BATCHES} batches of {ITEMS}, {killing.kills} kills, final after {settled_s:.1f} s")
                print(*violations[:20], sep="\n  ")
            assert violations == [] and killing.kills >= WORKER_KILLS[0]


async def test_the_schema_refuses_a_second_settlement_job(db: Database) -> None:
    party = await make_party(db)
    job = (
        "insert into settlement_jobs (integrator_id, operation_id, rail_reference, due_at, created_at, updated_at)"
        " select integrator_id, operation_id, operation_id, now(), now(), now()"
        "   from operations where integrator_id = $1"
    )
    async with db.connection() as connection:
        await connection.execute(OPERATION, party.key, party.account.key, party.approver.key)
        assert await connection.execute(job, party.key) == "INSERT 0 1"
        with pytest.raises(PostgresError):
            await connection.execute(job, party.key)


OPERATION = """
insert into operations (integrator_id, operation_id, kind, account_id, approver_id, credential_id, request_control_key,
                        request_fingerprint, amount_centavos, fee_centavos, facts, details_digest, nonce,
                        correlation_id, created_at)
select $1, gen_random_uuid(), 'ted', $2, $3, gen_random_uuid(), gen_random_uuid(), sha256(''), 1, 0, '{}', sha256(''),
       substr(sha256(''), 1, 16), 'proof', now()
"""


@asynccontextmanager
async def gathering_storm(chance: random.Random) -> AsyncIterator[Storm]:
    """Start every process; at the end those of Aval have to stop well."""
    violations: list[str] = []
    with running_receiver(chance.getrandbits(32)) as receiver_url:
        async with (
            aiohttp.ClientSession() as session,
            running_deployment(apis=2, workers=2, **SETTINGS) as aval,
            running_integrators(aval, session, receiver_url, chance) as integrators,
        ):
            await _tell_of_deadlocks(aval)
            faults = Faults(aval, chance, violations)
            load = Load(aval, integrators, violations, faults.is_down)
            watch = Watch(aval.db, session, integrators, violations)
            yield Storm(aval, session, integrators, receiver_url, load, faults, watch, violations)


async def blow(storm: Storm, chance: random.Random) -> None:
    """Callers and faults side by side, until the figures are reached or a promise is broken."""
    await control(storm.session, storm.receiver_url, failing=FAILING_RECEIVER)
    stopping = asyncio.Event()
    chances = [random.Random(chance.getrandbits(32)) for _ in range(CALLERS)]
    callers = [asyncio.create_task(storm.load.run(own, stopping)) for own in chances]
    breaking = asyncio.create_task(storm.faults.run(faults_of(chance), pause_s=PAUSE_S, stopping=stopping))
    others = [asyncio.create_task(storm.watch.run()), asyncio.create_task(storm.faults.keep())]
    started_at = time.monotonic()
    try:
        while not storm.violations and not _is_enough(storm, time.monotonic() - started_at):
            await asyncio.sleep(0.2)
            for task in (*others, breaking, *callers):
                if task.done():
                    task.result()
        stopping.set()
        await breaking
        await storm.faults.mend()
        _, unanswered = await asyncio.wait(callers, timeout=ANSWER_S)
        if unanswered:
            storm.violations.append(f"{len(unanswered)} callers had no answer {ANSWER_S} s after the last fault")
        storm.load.has_ended = True
        await asyncio.gather(*callers)
    finally:
        storm.load.has_ended = True
        for task in (*others, breaking, *callers):
            task.cancel()


def faults_of(chance: random.Random) -> Iterator[str]:
    """Rounds of faults in a random order, without end."""
    while True:
        yield from chance.sample(ROUND, k=len(ROUND))


def _is_enough(storm: Storm, passed_s: float) -> bool:
    kills = sum(storm.faults.kills.values())
    return passed_s >= STORM_S and kills >= KILLS_MIN and storm.load.validates >= VALIDATES_MIN


async def calm(storm: Storm) -> list[str]:
    """End the faults, wait for quiet, and judge."""
    await control(storm.session, storm.receiver_url, failing=0.0)
    for integrator in storm.integrators:
        await control(storm.session, integrator.core_url, **NO_FAULTS)
    found: list[str] = []
    load, outages, disturbances = storm.load, storm.faults.outages, storm.faults.disturbances
    quiet = await until_quiet(storm.aval.db, sync_max_s=SYNC_MAX_S, async_max_s=ASYNC_MAX_S, violations=found)
    await until_told(storm.session, storm.integrators)
    found += await judge_end(storm.aval.db, storm.session, load, storm.integrators, storm.receiver_url)
    found += outage_faults(load.answers, outages, disturbances)
    back_s = slowest_return(load.answers, outages, disturbances, storm.aval.apis)
    if back_s > BACK_MAX_S:
        found.append(f"OP5: an API process needed {back_s:.1f} s after PostgreSQL was back")
    storm.end = (
        f"final after {max(quiet.sync_s, quiet.async_s):.1f} s, {quiet.parked} parked, everything told after"
        f" {quiet.sent_s:.1f} s; longest call in an outage {longest_call(load.answers, outages, disturbances):.2f} s,"
        f" slowest return {back_s:.2f} s"
    )
    return found + _server_faults(storm)


def _server_faults(storm: Storm) -> list[str]:
    """D2 and OP5: no deadlock, and never more than twice the pool of connections."""
    deadlocks = storm.watch.deadlocks + postgres_log(storm.aval).count("deadlock detected")
    found = [f"D2: {deadlocks} deadlocks", *_told_of_deadlocks(storm.aval)] if deadlocks else []
    most = {"aval api": 2 * POOL_SIZE * len(storm.aval.apis)}
    worker_pool = max(2, POOL_SIZE // 3)
    for name, seen in storm.watch.connections.items():
        if seen > most.get(name, 2 * worker_pool * len(storm.aval.workers)):
            found.append(f"OP5: {seen} connections of {name}")
    return found


def figures_of(storm: Storm) -> str:
    """What the run came to, for the reader of its log."""
    load, faults = storm.load, storm.faults
    return (
        f"  {len(load.operations)} operations, {load.validates} validates; kills {dict(faults.kills)}, stops"
        f" {dict(faults.stops)}; {storm.watch.looks} snapshots, deadlocks {storm.watch.deadlocks}, connections"
        f" {storm.watch.connections}\n  answers {dict(load.statuses)}\n  {storm.end}"
    )


async def _tell_of_deadlocks(aval: RunningAval) -> None:
    """Let PostgreSQL say who waited for whom, which its log otherwise leaves out with all that may hold a statement."""
    async with aval.db.connection() as connection:
        await connection.execute("alter system set log_error_verbosity = 'default'")
        await connection.execute("select pg_reload_conf()")


def _told_of_deadlocks(aval: RunningAval) -> list[str]:
    """What PostgreSQL says of each: who waited for whom, with which statements."""
    return [f"deadlock detected{told[:2_000]}" for told in postgres_log(aval).split("deadlock detected")[1:]]


def postgres_log(aval: RunningAval) -> str:
    """Everything PostgreSQL has logged."""
    return "".join(log.read_text(errors="replace") for log in (aval._server.place.cluster / "log").glob("*.log"))
