"""A pump: claims no more than it can carry, records together, and outlives whatever a job does."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from aval.storage.database import DatabaseUnavailable, LockNotWon
from aval.worker.pump import Pace, Pump, Work

LEASE = timedelta(seconds=30)
PACE = Pace(batch_size=4, jobs_max=8, poll=timedelta(milliseconds=5))


@dataclass
class Shop:
    """Jobs are numbers; what is done with one is told by number, and everything that happened is kept."""

    jobs: list[int] = field(default_factory=list)
    acts: dict[int, Any] = field(default_factory=dict)  # an exception to raise, an event to wait for, None
    claims: list[int] = field(default_factory=list)
    claim_failures: list[Exception] = field(default_factory=list)
    record_failures: list[Exception] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    recorded: list[Any] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    on_claim: Callable[[], None] = lambda: None

    async def claim(self, most: int) -> Sequence[int]:
        self.claims.append(most)
        if self.claim_failures:
            raise self.claim_failures.pop(0)
        taken, self.jobs = self.jobs[:most], self.jobs[most:]
        if taken:
            self.on_claim()
        return taken

    async def do(self, job: int) -> str | None:
        self.begun.append(job)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            act = self.acts.get(job)
            if isinstance(act, Exception):
                raise act
            if isinstance(act, asyncio.Event):
                await act.wait()
            await asyncio.sleep(0)
            return None if act == "nothing" else f"done {job}"
        finally:
            self.at_once -= 1

    async def record(self, done: Sequence[str], _may_wait: bool) -> list[Any]:
        if self.record_failures:
            raise self.record_failures.pop(0)
        self.recorded += done
        return [True] * len(done)

    async def run(self, until: Callable[[], bool], *, lease: timedelta = LEASE, pace: Pace = PACE) -> None:
        """Pump until this is so, then stop; returns when the pump has."""
        work = Work("numbers", lease, self.claim, self.do, lambda job, error: f"{error} {job}", self.record)
        stopping = asyncio.Event()
        pump = asyncio.create_task(Pump(work, pace).run(stopping))
        try:
            async with asyncio.timeout(10):
                while not until():  # noqa: ASYNC110 – the pump tells nobody
                    await asyncio.sleep(0.002)
        finally:
            stopping.set()
            await pump


async def test_every_job_is_done_and_recorded_once() -> None:
    shop = Shop(jobs=list(range(100)))
    await shop.run(lambda: len(shop.recorded) == 100)
    assert sorted(shop.recorded) == sorted(f"done {job}" for job in range(100))
    assert max(shop.claims) <= PACE.batch_size


async def test_no_more_is_in_progress_than_may_be() -> None:
    gate = asyncio.Event()
    shop = Shop(jobs=list(range(20)), acts=dict.fromkeys(range(20), gate))
    running = asyncio.create_task(shop.run(lambda: len(shop.recorded) == 20))
    await asyncio.sleep(0.1)
    assert len(shop.begun) == PACE.jobs_max and len(shop.jobs) == 12
    gate.set()
    await running
    assert shop.most_at_once == PACE.jobs_max


async def test_a_job_that_takes_long_keeps_no_other_waiting() -> None:
    gate = asyncio.Event()
    shop = Shop(jobs=list(range(30)), acts={0: gate})
    running = asyncio.create_task(shop.run(lambda: len(shop.recorded) == 30))
    await asyncio.sleep(0.2)
    assert len(shop.recorded) == 29
    gate.set()
    await running


async def test_a_job_that_raises_is_recorded_as_a_failed_try() -> None:
    shop = Shop(jobs=[1, 2, 3], acts={2: KeyError("secret")})
    await shop.run(lambda: len(shop.recorded) == 3)
    assert sorted(shop.recorded) == ["done 1", "done 3", "failed:KeyError 2"]


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), LockNotWon()])
async def test_a_job_that_lost_the_database_is_left_to_its_lease(failure: Exception) -> None:
    shop = Shop(jobs=[1, 2, 3], acts={2: failure})
    await shop.run(lambda: len(shop.recorded) == 2)
    assert sorted(shop.recorded) == ["done 1", "done 3"]


async def test_a_job_that_came_to_nothing_records_nothing() -> None:
    shop = Shop(jobs=[1, 2], acts={1: "nothing"})
    await shop.run(lambda: len(shop.recorded) == 1)
    assert shop.recorded == ["done 2"]


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), LockNotWon(), ValueError("secret")])
async def test_a_claim_that_fails_is_tried_again(failure: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(jobs=[1], claim_failures=[failure])
    await shop.run(lambda: bool(shop.recorded))
    assert shop.recorded == ["done 1"] and "secret" not in capsys.readouterr().out


async def test_a_batch_that_cannot_be_recorded_is_recorded_one_by_one() -> None:
    shop = Shop(jobs=[1, 2, 3, 4], record_failures=[ValueError()])
    await shop.run(lambda: len(shop.recorded) == 4)


async def test_what_cannot_be_recorded_at_all_stops_nobody() -> None:
    shop = Shop(jobs=[1, 2, 3, 4], record_failures=[ValueError() for _ in range(9)])
    await shop.run(lambda: not shop.record_failures or not shop.jobs)
    shop.record_failures = []
    shop.jobs = [5]
    await shop.run(lambda: "done 5" in shop.recorded)


async def test_a_job_claimed_longer_ago_than_its_lease_is_not_begun() -> None:
    """As in a process that was stopped between the claim and the work: by now somebody else has the job."""
    shop = Shop(jobs=[1, 2])
    shop.on_claim = lambda: time.sleep(0.06)
    await shop.run(lambda: not shop.jobs and len(shop.claims) > 1, lease=timedelta(milliseconds=50))
    assert shop.begun == [] and shop.recorded == []


async def test_stopping_finishes_what_is_in_progress_and_claims_no_more() -> None:
    gate = asyncio.Event()
    shop = Shop(jobs=[1, 2, 3], acts={1: gate, 2: gate, 3: gate})
    asyncio.get_running_loop().call_later(0.1, gate.set)
    await shop.run(lambda: len(shop.begun) == 3)
    assert sorted(shop.recorded) == ["done 1", "done 2", "done 3"]


async def test_equal_results_of_different_jobs_are_all_recorded() -> None:
    """Results are told apart by being other objects, which holds while they wait to be recorded."""
    shop = Shop()
    made: list[list[str]] = []

    async def do(job: int) -> Any:
        made.append(["same"])
        return made.pop()  # nobody but the recorder keeps it, so its place in memory is free again at once

    work: Work[int, Any] = Work("numbers", LEASE, shop.claim, do, lambda job, error: [error], shop.record)
    shop.jobs = list(range(500))
    stopping = asyncio.Event()
    pump = asyncio.create_task(Pump(work, PACE).run(stopping))
    async with asyncio.timeout(10):
        while len(shop.recorded) < 500:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    stopping.set()
    await pump
    assert shop.recorded == [["same"]] * 500
