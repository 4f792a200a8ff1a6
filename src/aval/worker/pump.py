"""One kind of work: claim what is due, do it piece by piece, record what came of it together."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import structlog

from aval.operations.coalesce import Coalescer, Postponed
from aval.storage.database import DatabaseUnavailable, LockNotWon

JobT = TypeVar("JobT")
DoneT = TypeVar("DoneT")

RECORD_LANES = 2
UNAVAILABLE_PAUSE = timedelta(milliseconds=500)

_log = structlog.get_logger("aval.worker")


@dataclass(frozen=True, slots=True)
class Pace:
    """How much a pump takes on: jobs claimed at once, jobs in progress, the pause when nothing is due."""

    batch_size: int
    jobs_max: int
    poll: timedelta


@dataclass(frozen=True, slots=True)
class Work(Generic[JobT, DoneT]):
    """What a pump does: claim up to a number of jobs, do one, record many.

    `failed` makes a try of one that raised, so that it is repeated as often as any other and then parked. A job that
    was claimed longer than `lease` ago is not begun: somebody else may have it.
    """

    name: str
    lease: timedelta
    claim: Callable[[int], Awaitable[Sequence[JobT]]]
    do: Callable[[JobT], Awaitable[DoneT | None]]
    failed: Callable[[JobT, str], DoneT]
    record: Callable[[Sequence[DoneT], bool], Awaitable[Sequence[bool | Exception | Postponed]]]


class Pump(Generic[JobT, DoneT]):
    """Runs one kind of work until it is stopped; what cannot be recorded is left to its lease."""

    def __init__(self, work: Work[JobT, DoneT], pace: Pace) -> None:
        self._work = work
        self._pace = pace
        self._tasks: set[asyncio.Task[None]] = set()
        self._recorder: Coalescer[DoneT, bool] = Coalescer(
            work.record, key_of=id, batch_max=pace.batch_size, lanes=RECORD_LANES, is_gathering=True
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Claim and work until `stopping` is set, then finish what is in progress."""
        while not stopping.is_set():
            await self._pause(stopping, await self._turn())
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _turn(self) -> timedelta:
        """Claim once; how long to pause afterwards."""
        free = self._pace.jobs_max - len(self._tasks)
        if free <= 0:
            return self._pace.poll
        wanted = min(free, self._pace.batch_size)
        leased_until = time.monotonic() + self._work.lease.total_seconds()
        try:
            jobs = await self._work.claim(wanted)
        except (DatabaseUnavailable, LockNotWon):
            _log.warning("database_unavailable", work=self._work.name)
            return UNAVAILABLE_PAUSE
        except Exception as failure:  # noqa: BLE001 – the other kinds of work go on
            _log.error("claim_failed", work=self._work.name, failure=type(failure).__name__)
            return UNAVAILABLE_PAUSE
        for job in jobs:
            task = asyncio.create_task(self._do(job, leased_until))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return timedelta(0) if len(jobs) == wanted else self._pace.poll

    async def _do(self, job: JobT, leased_until: float) -> None:
        if time.monotonic() >= leased_until:  # the loop's own clock may stand still for a turn
            _log.warning("lease_lost", work=self._work.name)
            return
        try:
            done = await self._tried(job)
            if done is not None:
                await self._recorder.submit(done)
        except (DatabaseUnavailable, LockNotWon):
            _log.warning("result_not_recorded", work=self._work.name)
        except Exception as failure:  # noqa: BLE001 – the job stays leased and comes back
            _log.error("result_not_recorded", work=self._work.name, failure=type(failure).__name__)

    async def _tried(self, job: JobT) -> DoneT | None:
        try:
            return await self._work.do(job)
        except (DatabaseUnavailable, LockNotWon):
            raise
        except Exception as failure:  # noqa: BLE001 – its values could be secret, so only its kind is told
            _log.error("job_failed", work=self._work.name, failure=type(failure).__name__)
            return self._work.failed(job, f"failed:{type(failure).__name__}")

    @staticmethod
    async def _pause(stopping: asyncio.Event, pause: timedelta) -> None:
        if not pause:
            await asyncio.sleep(0)
            return
        try:
            await asyncio.wait_for(stopping.wait(), pause.total_seconds())
        except TimeoutError:
            return
