"""Proof of ST3: a worker that lost its lease can neither write nor send.

A worker is stopped at every place where it can be: between claim and send, before it asks, after it asked, with the
answer in its hands. Meanwhile its lease runs out and another worker takes over; then the first goes on. The truth is
the ledger of a core in its own process, and the rows, which a late worker must leave as they are. Then real worker
processes are stopped and resumed by signals, in the middle of whatever they do.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from aval.channels.outbound import OutboundHttp
from aval.operations.settle_transfer import Answered, RetryPolicy, ask_rail, record_answers
from aval.ports import Rail, RailAnswer, Rails, RailTarget, SettlementOrder
from aval.rails.http import RailRegistry
from aval.storage.database import Database
from aval.storage.settlements import SettlementJob, claim_settlements
from tests.chaos.parties import control, rail_secret_of, told
from tests.factories import Party, make_keyring
from tests.proof.deployment import figure, live_tokens, running_deployment
from tests.rails.core_process import running_core
from tests.stage import OpenAs, Stage, until

pytestmark = pytest.mark.proof

RESUMES = figure(100, 2_000)
FREEZES = figure(4, 40)
A_FREEZE = 24  # jobs a worker process is frozen with
LEASE = timedelta(milliseconds=300)
LIVE: dict[str, Any] = {"mode": "live", "budgets": False, "requests_per_second": None, "ted_hours": False}


@dataclass
class Scene:
    """Two workers, an integrator whose core tells the truth, and the rows."""

    stage: Stage
    party: Party
    core_url: str
    session: aiohttp.ClientSession
    outbound: OutboundHttp
    db: Database  # under the worker's role

    def worker(self, lease: timedelta, pause: asyncio.Event | None = None) -> "Worker":
        rails: Rails = RailRegistry(self.outbound)
        policy = RetryPolicy(gaps=(timedelta(milliseconds=50),), tries_max=20, lease=lease)
        return Worker(self.db, rails if pause is None else PausingRails(rails, pause), policy)

    async def approved(self, number: int) -> list[UUID]:
        keys = await self.stage.requests(self.party, number, transaction_amount=1)
        answers = await asyncio.gather(*(self.stage.approve(self.party, key) for key in keys))
        assert {answer.status for answer in answers} == {202}
        return keys

    async def rows(self, keys: Sequence[UUID]) -> list[Any]:
        """Everything a late worker could write, with the transaction that wrote it last."""
        return await self.stage.fetch(
            "select j.*, j.xmin, c.*, c.xmin, (select count(*) from events e where e.operation_id = c.operation_id),"
            " (select count(*) from ledger_entries l where l.source_id = c.operation_id) from settlement_jobs j"
            " join challenges c using (integrator_id, operation_id) where operation_id = any($1)"
            " order by c.operation_id",
            list(keys),
        )

    async def ledger(self) -> dict[UUID, Any]:
        entries = (await told(self.session, f"{self.core_url}/ledger"))["entries"]
        return {UUID(entry["rail_reference"]): entry for entry in entries}


@dataclass(frozen=True)
class Worker:
    """The three steps of a worker, so that it can be stopped between them."""

    db: Database
    rails: Rails
    policy: RetryPolicy

    async def claim(self, most: int) -> list[SettlementJob]:
        async with self.db.connection() as connection:
            return await claim_settlements(connection, most=most, lease=self.policy.lease)

    async def do(self, job: SettlementJob) -> Answered | None:
        return await ask_rail(self.db, job=job, rails=self.rails, keyring=make_keyring(), policy=self.policy)

    async def record(self, said: Sequence[Answered]) -> Sequence[Any]:
        return await record_answers(self.db, answers=said, policy=self.policy)


@dataclass(frozen=True)
class PausingRails:
    """Stops the worker between the rail's answer to a query and whatever it does next."""

    rails: Rails
    pause: asyncio.Event

    def rail_of(self, target: RailTarget) -> Rail:
        return PausingRail(self.rails.rail_of(target), self.pause)


@dataclass(frozen=True)
class PausingRail:
    rail: Rail
    pause: asyncio.Event

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        return await self.rail.settle(order)

    async def query(self, order: SettlementOrder) -> RailAnswer:
        answer = await self.rail.query(order)
        await self.pause.wait()
        return answer

    async def find_pix_key(self, pix_key: str) -> Any:
        return await self.rail.find_pix_key(pix_key)


@pytest.fixture
async def scene(db: Database, db_as: OpenAs) -> AsyncIterator[Scene]:
    with running_core() as url:
        async with aiohttp.ClientSession() as session:
            stage = await Stage.make(db, db_as)
            party = await stage.party(rail_url=url, **LIVE)
            await control(session, url, secret=rail_secret_of(party))
            outbound = OutboundHttp([], True)
            yield Scene(stage, party, url, session, outbound, await db_as("aval_app_settle"))
            await outbound.close()


async def finish(worker: Worker, number: int) -> None:
    """Claim, do and record until so many jobs are done."""
    async with asyncio.timeout(20):
        while number:
            jobs = await worker.claim(64)
            done = [said for said in await asyncio.gather(*map(worker.do, jobs)) if said is not None]
            number -= sum(map(bool, await worker.record(done))) if done else 0
            await asyncio.sleep(0.01)


async def go_on(worker: Worker, jobs: Sequence[Any]) -> None:
    """The other worker ends what it has in hand."""
    if jobs:
        said = await asyncio.gather(*map(worker.do, jobs))
        answers = [answer for answer in said if answer is not None]
        assert len(answers) == len(jobs) and all(await worker.record(answers))


async def resume(scene: Scene, worker: Worker, keys: Sequence[UUID], said: Sequence[Any]) -> None:
    """The stopped worker goes on: what it wants to record is refused, and no row is touched."""
    before = await scene.rows(keys)
    answers = [answer for answer in said if answer is not None]
    if answers:
        assert not any(await worker.record(answers)), "a stale answer was taken"
    assert await scene.rows(keys) == before, "a stale write"


async def stopped_after_claim(scene: Scene, number: int, *, is_finished: bool) -> list[UUID]:
    """It claimed, and was about to send."""
    keys = await scene.approved(number)
    late, other = scene.worker(LEASE), scene.worker(timedelta(seconds=30))
    jobs = await late.claim(number)
    await asyncio.sleep(LEASE.total_seconds())
    if is_finished:
        await finish(other, number)
    taken = await other.claim(number)
    await resume(scene, late, keys, await asyncio.gather(*map(late.do, jobs)))
    await go_on(other, taken)
    assert len(jobs) == number and len(taken) == (0 if is_finished else number)
    return keys


async def stopped_with_the_answer(scene: Scene, number: int, *, is_finished: bool) -> list[UUID]:
    """It sent and was answered, and was about to write that down."""
    keys = await scene.approved(number)
    late, other = scene.worker(LEASE), scene.worker(timedelta(seconds=30))
    said = await asyncio.gather(*map(late.do, await late.claim(number)))
    assert any(said)  # on a busy machine the lease ends some sends before they begin
    await asyncio.sleep(LEASE.total_seconds())
    if is_finished:
        await finish(other, number)
    taken = await other.claim(number)
    await resume(scene, late, keys, said)
    await go_on(other, taken)
    return keys


async def stopped_without_knowing(scene: Scene, number: int) -> list[UUID]:
    """It sent and got a 500 from a core that had accepted: it would ask again for what is long settled."""
    await control(scene.session, scene.core_url, accept_then_500=1.0)
    keys = await scene.approved(number)
    late, other = scene.worker(LEASE), scene.worker(timedelta(seconds=30))
    said = await asyncio.gather(*map(late.do, await late.claim(number)))
    await control(scene.session, scene.core_url, accept_then_500=0.0)
    await asyncio.sleep(LEASE.total_seconds())
    await finish(other, number)
    await resume(scene, late, keys, said)
    return keys


async def stopped_after_asking(scene: Scene, number: int) -> list[UUID]:
    """It asked for what an earlier worker had left, heard that the rail never saw it, and was about to send."""
    keys = await scene.approved(number)
    pause = asyncio.Event()
    gone, other = scene.worker(timedelta(0)), scene.worker(timedelta(seconds=30))
    late = scene.worker(LEASE, pause)
    assert len(await gone.claim(number)) == number
    jobs = await late.claim(number)
    doing = [asyncio.create_task(late.do(job)) for job in jobs]
    await asyncio.sleep(LEASE.total_seconds())
    await finish(other, number)
    pause.set()
    await resume(scene, late, keys, await asyncio.gather(*doing))
    assert len(jobs) == number
    return keys


Stop = Callable[[Scene, int], Awaitable[list[UUID]]]
STOPS: dict[str, Stop] = {
    "after the claim, the other done": lambda scene, number: stopped_after_claim(scene, number, is_finished=True),
    "after the claim, the other at work": lambda scene, number: stopped_after_claim(scene, number, is_finished=False),
    "with the answer, the other done": lambda scene, number: stopped_with_the_answer(scene, number, is_finished=True),
    "with the answer, the other at work": lambda scene, number: stopped_with_the_answer(
        scene, number, is_finished=False
    ),
    "without knowing": stopped_without_knowing,
    "after asking": stopped_after_asking,
}


@pytest.mark.parametrize("stop", STOPS)
async def test_a_late_worker_neither_writes_nor_sends(stop: str, scene: Scene) -> None:
    for number in batches(-(-RESUMES // len(STOPS))):
        keys = await STOPS[stop](scene, number)
        await check_sent_once(scene.stage.db, keys, await scene.ledger())


def batches(total: int) -> list[int]:
    """In portions one worker claims at once."""
    return [25] * (total // 25) + ([total % 25] if total % 25 else [])


async def check_sent_once(db: Database, keys: Sequence[UUID], ledger: dict[UUID, Any], *, stale_max: int = 0) -> None:
    """Sent once and told once; a late send, where one is allowed for, bears a fence the core has seen surpassed."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select c.operation_id, c.status, (select count(*) from aval.events e"
            " where e.operation_id = c.operation_id) as events from aval.challenges c where operation_id = any($1)",
            list(keys),
        )
    assert {(row["status"], row["events"]) for row in rows} == {("sent", 1)}, [dict(row) for row in rows]
    for key in keys:
        entry = ledger[key]
        assert entry["statuses"] == ["sent"] and entry["conflicting_posts"] == 0, entry
        assert entry["posts"] - entry["stale_posts"] == 1 and entry["stale_posts"] <= stale_max, entry


@asynccontextmanager
async def frozen(worker: Any) -> AsyncIterator[None]:
    worker.freeze()
    try:
        yield
    finally:
        worker.thaw()


async def test_a_frozen_worker_process_sends_nothing_when_it_wakes(chance: random.Random) -> None:
    gaps = {"AVAL_WORKER_LEASE": "1", "AVAL_WORKER_RETRY_SECONDS": "0.2", "AVAL_WORKER_POLL": "0.002"}
    with running_core() as url:
        async with running_deployment(apis=1, workers=2, **gaps) as aval, aiohttp.ClientSession() as session:
            stage = await Stage.make(aval.db, lambda _role: same(aval.db))
            party = await stage.party(rail_url=url, **LIVE)
            await control(session, url, secret=rail_secret_of(party))
            for _ in range(FREEZES):
                await freeze_once(aval, stage, party, chance.uniform(0, 0.01))
            entries = (await told(session, f"{url}/ledger"))["entries"]
            ledger = {UUID(entry["rail_reference"]): entry for entry in entries}
            assert len(ledger) == FREEZES * A_FREEZE
            # A process frozen between its last look at the clock and the kernel's send cannot know: the fence tells.
            await check_sent_once(aval.db, list(ledger), ledger, stale_max=1)
            assert sum(entry["stale_posts"] for entry in entries) <= len(entries) // 10


async def same(db: Database) -> Database:
    return db


async def freeze_once(aval: Any, stage: Stage, party: Party, moment: float) -> None:
    """One worker is frozen right after it claimed, the other finishes, the first wakes."""
    first, second = aval.workers
    keys = await stage.requests(party, A_FREEZE, transaction_amount=1)
    tokens = await live_tokens(aval.db, keys)
    claimed = "select count(*) from aval.settlement_jobs where operation_id = any($1) and fence > 0"
    done = "select count(*) from aval.settlement_jobs where operation_id = any($1) and state = 'done'"
    async with frozen(second):
        await asyncio.gather(*(stage.validate(party, key, tokens[key].text) for key in keys))
        await until(lambda: stage.value(claimed, keys))
        await asyncio.sleep(moment)
        first.freeze()
    async with frozen(first):
        with suppress(TimeoutError):  # frozen while it wrote, it keeps the rows until it wakes
            await until(lambda: is_equal(stage.value(done, keys), len(keys)), within_s=3)
    await until(lambda: is_equal(stage.value(done, keys), len(keys)))
    await asyncio.sleep(0.5)
    aval.workers.reverse()


async def is_equal(found: Awaitable[Any], wanted: Any) -> bool:
    return bool(await found == wanted)
