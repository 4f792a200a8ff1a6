"""Calls that wait run together; nothing that goes wrong in a batch loses a lane, a caller or a neighbour."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from aval.operations import coalesce
from aval.operations.coalesce import ALONE, Coalescer
from aval.storage.database import DatabaseUnavailable, LockNotWon, OutcomeUnknown


class Runs:
    """What a coalescer runs: keeps its batches, waits for the gate, and answers `call * 10` unless told otherwise."""

    def __init__(self, **options: Any) -> None:
        self.batches: list[tuple[list[Any], bool]] = []
        self.answers: dict[Any, Any] = {}
        self.failures: list[BaseException | None] = []
        self.gate = asyncio.Event()
        self.gate.set()
        given = {"key_of": lambda call: call, "batch_max": 64, "lanes": 1, "spare_lanes": 2} | options
        self.coalescer: Coalescer[Any, Any] = Coalescer(self.run, **given)

    async def run(self, calls: Sequence[Any], may_wait: bool) -> list[Any]:
        self.batches.append((list(calls), may_wait))
        await self.gate.wait()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        return [10 * call if may_wait else self.answers.get(call, 10 * call) for call in calls]

    async def submit(self, *calls: Any) -> list[Any]:
        async with asyncio.timeout(5):
            return await asyncio.gather(*map(self.coalescer.submit, calls), return_exceptions=True)

    @property
    def sizes(self) -> list[int]:
        return [len(calls) for calls, _ in self.batches]

    async def is_whole(self) -> bool:
        """Whether every lane still takes calls, and nothing is left behind."""
        self.failures, self.batches = [], []
        assert await self.submit(1001, 1002, 1003) == [10010, 10020, 10030]
        return not (self.coalescer._keys_running or self.coalescer._keys_waiting or self.coalescer._waiting)


async def test_what_waits_runs_together_up_to_the_maximum() -> None:
    runs = Runs(batch_max=3)
    assert await runs.submit(*range(8)) == [10 * call for call in range(8)]
    assert runs.sizes == [1, 3, 3, 1]  # the first went at once, the others gathered behind it
    assert await runs.is_whole()


async def test_calls_that_come_together_run_together_where_a_lane_gathers() -> None:
    runs = Runs(is_gathering=True, lanes=2)
    assert await runs.submit(*range(8)) == [10 * call for call in range(8)]
    assert runs.sizes == [8]
    assert await runs.is_whole()


async def test_two_calls_with_one_key_never_run_at_once() -> None:
    runs = Runs(lanes=3, key_of=lambda call: call % 2)
    running: dict[int, int] = {}

    async def run(calls: Sequence[int], _may_wait: bool) -> list[int]:
        for call in calls:
            running[call % 2] = running.get(call % 2, 0) + 1
            assert running[call % 2] == 1
        await asyncio.sleep(0)
        for call in calls:
            running[call % 2] -= 1
        return list(calls)

    runs.coalescer._run = run
    assert await runs.submit(*range(40)) == list(range(40))


async def test_a_postponed_call_runs_alone_and_its_neighbours_do_not_wait_for_it() -> None:
    runs = Runs()
    runs.answers[2] = ALONE
    blocked = asyncio.Event()

    async def run(calls: Sequence[int], may_wait: bool) -> list[Any]:
        if may_wait:
            await blocked.wait()
        return [ALONE if call == 2 and not may_wait else call for call in calls]

    runs.coalescer._run = run
    locked = asyncio.create_task(runs.coalescer.submit(2))
    assert await runs.submit(1, 3, 4) == [1, 3, 4]
    same = asyncio.create_task(runs.coalescer.submit(2))
    assert await runs.submit(5, 6) == [5, 6]
    assert runs.coalescer.waiting_on(2) == 2 and not locked.done()
    blocked.set()
    assert [await locked, await same] == [2, 2]


async def test_a_batch_that_fails_runs_again_call_by_call() -> None:
    runs = Runs()
    runs.gate.clear()
    calls = asyncio.create_task(runs.submit(1, 2, 3, 4))
    await asyncio.sleep(0)
    runs.failures = [None, ValueError(), None, KeyError()]  # first call; the batch; call 2; call 3
    runs.gate.set()
    first, second, third, fourth = await calls
    assert (first, second, fourth) == (10, 20, 40)
    assert isinstance(third, KeyError)
    assert runs.sizes == [1, 3, 1, 1, 1] and await runs.is_whole()


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), OutcomeUnknown()])
async def test_without_a_database_nothing_is_tried_again(failure: Exception) -> None:
    """Repeating after an unknown outcome would judge a token twice, and wait for a dead server once for each call."""
    runs = Runs()
    runs.gate.clear()
    calls = asyncio.create_task(runs.submit(1, 2, 3))
    await asyncio.sleep(0)
    runs.failures = [None, failure]
    runs.gate.set()
    assert await calls == [10, failure, failure]
    assert runs.sizes == [1, 2] and await runs.is_whole()


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), OutcomeUnknown()])
@pytest.mark.parametrize("is_alone", [False, True])
async def test_who_waited_behind_a_lost_database_does_not_wait_for_it_again(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, is_alone: bool
) -> None:
    """What was turned away was never run, so nothing of it is unknown."""
    monkeypatch.setattr(coalesce, "PATIENCE_S", 0.02)
    runs = Runs(batch_max=4, spare_lanes=1)
    runs.answers = dict.fromkeys((2, 3, 4), ALONE) if is_alone else {}
    runs.gate.clear()
    calls = [asyncio.create_task(runs.submit(call)) for call in (1, 2, 3, 4)]
    if not is_alone:
        runs.coalescer._batch_max = 1
    await asyncio.sleep(0.05)
    runs.failures = [None, None, failure] if is_alone else [failure]
    runs.gate.set()
    answers = [answer for call in calls for answer in await call]
    assert [answer for answer in answers if not isinstance(answer, Exception)] == ([10] if is_alone else [])
    told = [type(answer) for answer in answers if isinstance(answer, Exception)]
    assert told == [type(failure), *[DatabaseUnavailable] * (2 if is_alone else 3)]
    assert sum(runs.sizes) == (1 + 3 + 1 if is_alone else 1)
    assert await runs.is_whole()


async def test_who_left_a_lost_database_before_being_turned_away_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalesce, "PATIENCE_S", 0.02)
    runs = Runs(batch_max=1)
    runs.gate.clear()
    first, leaving, last = (asyncio.create_task(runs.submit(call)) for call in (1, 2, 3))
    await asyncio.sleep(0.05)
    leaving.cancel()
    runs.failures = [DatabaseUnavailable()]
    runs.gate.set()
    assert [type(answer) for answer in (*await first, *await last)] == [DatabaseUnavailable] * 2
    assert runs.sizes == [1] and leaving.cancelled() and await runs.is_whole()


async def test_a_lock_that_was_not_won_is_told_to_its_own_call_only() -> None:
    runs = Runs()
    runs.gate.clear()
    calls = asyncio.create_task(runs.submit(1, 2, 3))
    await asyncio.sleep(0)
    runs.failures = [None, LockNotWon(), LockNotWon()]
    runs.gate.set()
    first, second, third = await calls
    assert (first, third) == (10, 30) and isinstance(second, LockNotWon)


class Interrupted(BaseException):
    """No Exception, and none that an event loop treats specially."""


@pytest.mark.parametrize("failure", [asyncio.CancelledError, Interrupted])
@pytest.mark.parametrize("is_alone", [False, True])
async def test_no_failure_loses_a_lane_or_a_caller(failure: type[BaseException], is_alone: bool) -> None:
    runs = Runs()

    async def run(calls: Sequence[Any], may_wait: bool) -> list[Any]:
        if is_alone and not may_wait:
            return [ALONE for _ in calls]
        raise failure

    runs.coalescer._run = run
    for answer in await runs.submit(1, 2, 3):
        assert isinstance(answer, asyncio.CancelledError)
    runs.coalescer._run = runs.run
    assert await runs.is_whole()


async def test_the_next_batch_begins_before_anybody_of_the_one_before_is_told() -> None:
    """And what it waits for is seen between two dozens of answers."""
    runs, seen = Runs(is_gathering=True), []
    many = 3 * coalesce.TOLD_AT_ONCE

    async def call(number: int) -> None:
        await runs.coalescer.submit(number)
        seen.append((number, len(runs.batches)))

    runs.gate.clear()
    calls = [asyncio.create_task(call(number)) for number in range(many)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    late = asyncio.create_task(call(many))
    await asyncio.sleep(0)
    assert runs.sizes == [many]
    runs.gate.set()
    await asyncio.gather(*calls, late)
    assert [batches for _, batches in seen] == [2] * (many + 1)
    assert many in [number for number, _ in seen[: 2 * coalesce.TOLD_AT_ONCE]]
    assert await runs.is_whole()


async def test_a_lane_that_is_stopped_while_it_tells_leaves_nobody_waiting() -> None:
    runs = Runs(is_gathering=True, batch_max=200)
    calls = [asyncio.create_task(runs.coalescer.submit(number)) for number in range(9 * coalesce.TOLD_AT_ONCE)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    (lane,) = runs.coalescer._tasks
    lane.cancel()
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*calls, return_exceptions=True)
    told = [end for end in ends if isinstance(end, int)]
    assert coalesce.TOLD_AT_ONCE <= len(told) < len(ends)
    assert all(isinstance(end, int | asyncio.CancelledError) for end in ends)
    assert await runs.is_whole()


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_a_wrong_number_of_results_loses_no_lane_and_repeats_nothing(answers: list[int]) -> None:
    runs = Runs()
    sizes = []

    async def run(calls: Sequence[Any], may_wait: bool) -> list[Any]:
        sizes.append(len(calls))
        return answers if len(calls) == 2 else [10 * call for call in calls]

    runs.coalescer._run = run
    first, second, third = await runs.submit(1, 2, 3)
    assert first == 10 and isinstance(second, AssertionError) and isinstance(third, AssertionError)
    assert sizes == [1, 2]
    runs.coalescer._run = runs.run
    assert await runs.is_whole()


async def test_a_caller_who_leaves_stops_neither_its_row_nor_the_others() -> None:
    runs = Runs()
    runs.gate.clear()
    leaving = [asyncio.create_task(runs.coalescer.submit(call)) for call in (1, 2)]
    staying = asyncio.create_task(runs.coalescer.submit(3))
    await asyncio.sleep(0)
    for call in leaving:
        call.cancel()
    runs.gate.set()
    assert await staying == 30
    assert [calls for calls, _ in runs.batches] == [[1], [2, 3]]
    assert await runs.is_whole()


async def test_a_failure_that_is_an_answer_reaches_its_caller_only() -> None:
    runs = Runs()
    refusal = ValueError("refused")
    runs.answers[2] = refusal
    assert await runs.submit(1, 2, 3) == [10, refusal, 30]
    assert await runs.is_whole()


async def test_thousands_of_calls_leave_nothing_behind() -> None:
    runs = Runs(lanes=2)
    assert await runs.submit(*range(5000)) == [10 * call for call in range(5000)]
    assert await runs.is_whole()
