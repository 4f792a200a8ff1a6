"""Gathers the calls that are waiting and runs them together: many calls share one transaction and one commit.

No timer: a lane takes what is there when it becomes free (docs/adr/0005).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from aval.storage.database import DatabaseUnavailable

TOLD_AT_ONCE = 12  # results, before the next batch may take its next step (docs/adr/0047)
PATIENCE_S = 0.5  # spec promises.md OP5: with one time-out of a statement it stays below 3 s

CallT = TypeVar("CallT")
ResultT = TypeVar("ResultT")


class Postponed(Enum):
    """The result of a row that has to run on its own: it is locked elsewhere, or met a neighbour of its batch."""

    ALONE = "alone"


ALONE = Postponed.ALONE


@dataclass(slots=True)
class _Entry(Generic[CallT, ResultT]):
    call: CallT
    key: Hashable
    future: "asyncio.Future[ResultT]"
    since: float


class Coalescer(Generic[CallT, ResultT]):
    """Runs calls in batches on a few lanes.

    `run(calls, may_wait)` answers one result, exception or ALONE for each call; with `may_wait` (one call only) it
    waits for a locked row and never answers ALONE. Two calls with the same key never share a batch and never run side
    by side: the second waits. A batch that fails as a whole is run again call by call, so that one bad row never
    fails its neighbours – but not when the database was lost: what it may have kept is not judged a second time, and
    who has waited a while behind a lost database is told so instead of waiting for it once more.

    With `is_gathering` a free lane starts one turn of the loop late: calls that come together run together.
    """

    def __init__(
        self,
        run: Callable[[Sequence[CallT], bool], Awaitable[Sequence[ResultT | Exception | Postponed]]],
        *,
        key_of: Callable[[CallT], Hashable],
        batch_max: int,
        lanes: int,
        spare_lanes: int = 4,
        is_gathering: bool = False,
    ) -> None:
        self._run = run
        self._key_of = key_of
        self._batch_max = batch_max
        self._lanes_free = lanes
        self._spare = asyncio.Semaphore(spare_lanes)
        self._waiting: deque[_Entry[CallT, ResultT]] = deque()
        self._keys_waiting: dict[Hashable, int] = {}
        self._keys_running: set[Hashable] = set()
        self._is_gathering = is_gathering
        self._is_wake_due = False
        self._is_lost = False  # the last run found no database
        self._tasks: set[asyncio.Task[None]] = set()

    def waiting_on(self, key: Hashable) -> int:
        """How many calls with this key wait or run now."""
        return self._keys_waiting.get(key, 0)

    async def submit(self, call: CallT) -> ResultT:
        """Run one call with its neighbours; raises what its row raised. Cancelling the caller does not stop the row."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        entry = _Entry(call, self._key_of(call), future, loop.time())
        self._waiting.append(entry)
        self._keys_waiting[entry.key] = self._keys_waiting.get(entry.key, 0) + 1
        if not self._is_gathering:
            self._wake()
        elif not self._is_wake_due:
            self._is_wake_due = True
            loop.call_soon(self._wake)
        return await future

    def _wake(self) -> None:
        self._is_wake_due = False
        while self._lanes_free and self._waiting:
            batch = self._next_batch()
            if not batch:
                return
            self._lanes_free -= 1
            self._start(self._lane(batch))

    def _next_batch(self) -> list[_Entry[CallT, ResultT]]:
        batch: list[_Entry[CallT, ResultT]] = []
        held_back = []
        while self._waiting and len(batch) < self._batch_max:
            entry = self._waiting.popleft()
            if self._is_turned_away(entry):
                continue
            if entry.key in self._keys_running:
                held_back.append(entry)
                continue
            self._keys_running.add(entry.key)
            batch.append(entry)
        self._waiting.extendleft(reversed(held_back))
        return batch

    async def _lane(self, batch: list[_Entry[CallT, ResultT]]) -> None:
        try:
            results = await self._run_together(batch)
        except BaseException:
            self._abandon(batch)
            self._free_lane()
            raise
        answered: list[tuple[_Entry[CallT, ResultT], ResultT | Exception]] = []
        for entry, result in zip(batch, results, strict=True):
            if isinstance(result, Postponed):
                self._start(self._run_alone(entry))
            else:
                self._forget(entry)
                answered.append((entry, result))
        self._free_lane()
        await self._tell(answered)

    def _free_lane(self) -> None:
        self._lanes_free += 1
        self._wake()

    async def _tell(self, answered: Sequence[tuple[_Entry[CallT, ResultT], ResultT | Exception]]) -> None:
        """Hand out results a few at a time, so that the next batch, which has begun, waits for few answers only."""
        try:
            for number, (entry, result) in enumerate(answered):
                if number % TOLD_AT_ONCE == 0:
                    await asyncio.sleep(0)
                _resolve(entry.future, result)
        except BaseException:
            for entry, _ in answered:
                entry.future.cancel()
            raise

    async def _run_together(self, batch: list[_Entry[CallT, ResultT]]) -> Sequence[ResultT | Exception | Postponed]:
        results: Sequence[ResultT | Exception | Postponed]
        try:
            results = await self._run([entry.call for entry in batch], False)
            self._is_lost = False
        except DatabaseUnavailable as failure:
            self._is_lost = True
            return [failure] * len(batch)
        except Exception:  # noqa: BLE001 – each call then meets its own failure alone
            return [ALONE] * len(batch)
        if len(results) != len(batch):  # a bug of ours: what was done already is not repeated
            return [AssertionError()] * len(batch)
        return results

    async def _run_alone(self, entry: _Entry[CallT, ResultT]) -> None:
        result: ResultT | Exception
        try:
            async with self._spare:
                result = await self._alone(entry)
        except Exception as failure:  # noqa: BLE001 – it is the answer of this call
            result = failure
        except BaseException:
            self._abandon([entry])
            self._wake()
            raise
        self._finish(entry, result)
        self._wake()

    async def _alone(self, entry: _Entry[CallT, ResultT]) -> ResultT | Exception:
        if self._is_late(entry):
            return DatabaseUnavailable()
        try:
            (answered,) = await self._run([entry.call], True)
            self._is_lost = False
        except DatabaseUnavailable:
            self._is_lost = True
            raise
        assert not isinstance(answered, Postponed)
        return answered

    def _is_turned_away(self, entry: _Entry[CallT, ResultT]) -> bool:
        """Answer a waiting call whose database was lost meanwhile; a row of the same key may still be running."""
        if not self._is_late(entry):
            return False
        self._count_down(entry)
        if not entry.future.done():
            entry.future.set_exception(DatabaseUnavailable())
        return True

    def _is_late(self, entry: _Entry[CallT, ResultT]) -> bool:
        return self._is_lost and asyncio.get_running_loop().time() - entry.since > PATIENCE_S

    def _abandon(self, batch: list[_Entry[CallT, ResultT]]) -> None:
        """Let nobody wait for rows whose run was cut off."""
        for entry in batch:
            self._forget(entry)
            entry.future.cancel()

    def _finish(self, entry: _Entry[CallT, ResultT], result: ResultT | Exception) -> None:
        self._forget(entry)
        _resolve(entry.future, result)

    def _forget(self, entry: _Entry[CallT, ResultT]) -> None:
        self._keys_running.discard(entry.key)
        self._count_down(entry)

    def _count_down(self, entry: _Entry[CallT, ResultT]) -> None:
        self._keys_waiting[entry.key] -= 1
        if not self._keys_waiting[entry.key]:
            del self._keys_waiting[entry.key]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _resolve(future: "asyncio.Future[ResultT]", result: ResultT | Exception) -> None:
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
