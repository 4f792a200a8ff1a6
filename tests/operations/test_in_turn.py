"""Work in turn: one after another without a step of the loop between, and nobody meets the failure of somebody else."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aval.operations.in_turn import InTurn, at_once

Work = Callable[[], Awaitable[int]]
WAIT_S = 5


class Log:
    """Makes work that notes when it begins and ends."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.gates: dict[int, asyncio.Event] = {}

    def work(self, number: int, failure: BaseException | None = None) -> Work:
        """Work that begins at its turn, ends when its gate opens, and answers its number or raises."""
        gate = self.gates[number] = asyncio.Event()

        async def run() -> int:
            self.lines.append(f"begins {number}")
            await gate.wait()
            asyncio.get_running_loop().call_soon(self.lines.append, f"a step after {number}")
            if failure is not None:
                raise failure
            return number

        return run


async def asked(turns: InTurn, *works: Work) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(turns.run(work)) for work in works]
    await settled()
    return tasks


async def ends(*tasks: "asyncio.Task[int]") -> list[bool]:
    """Whether each was cancelled, once all have ended."""
    done, _ = await asyncio.wait(tasks, timeout=WAIT_S)
    assert done == set(tasks), "somebody waits for ever"
    return [task.cancelled() for task in tasks]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_next_is_begun_in_the_step_in_which_the_one_before_ends():
    log, turns = Log(), InTurn()
    tasks = await asked(turns, *(log.work(number) for number in (1, 2, 3)))
    assert log.lines == ["begins 1"]
    for gate in log.gates.values():
        gate.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3]
    await settled()
    assert [line for line in log.lines if "begins" in line] == ["begins 1", "begins 2", "begins 3"]
    assert log.lines.index("begins 2") < log.lines.index("a step after 1")


async def test_work_that_fails_fails_whoever_asked_for_it_and_nobody_else():
    log, turns = Log(), InTurn()
    tasks = await asked(turns, log.work(1, OSError("lost")), log.work(2))
    for gate in log.gates.values():
        gate.set()
    with pytest.raises(OSError, match="lost"):
        await tasks[0]
    assert await tasks[1] == 2


async def test_it_works_again_after_a_rest():
    log, turns = Log(), InTurn()
    for number in (1, 2):
        (task,) = await asked(turns, log.work(number))
        log.gates[number].set()
        assert await ends(task) == [False]
        await settled()


async def test_whoever_goes_away_before_their_turn_leaves_nothing_to_do():
    log, turns = Log(), InTurn()
    tasks = await asked(turns, *(log.work(number) for number in (1, 2, 3)))
    tasks[1].cancel()
    for gate in log.gates.values():
        gate.set()
    assert await tasks[0] == 1
    assert await tasks[2] == 3
    assert "begins 2" not in log.lines


@pytest.mark.parametrize("failure", [None, OSError("lost")])
async def test_whoever_goes_away_in_their_turn_stops_neither_their_work_nor_the_next(failure: OSError | None):
    log, turns = Log(), InTurn()
    tasks = await asked(turns, log.work(1, failure), log.work(2))
    tasks[0].cancel()
    await settled()
    assert "begins 2" not in log.lines
    for gate in log.gates.values():
        gate.set()
    assert await tasks[1] == 2
    assert "a step after 1" in log.lines
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_if_the_queue_itself_is_cut_off_nobody_waits_for_ever_and_the_next_are_served():
    log, turns = Log(), InTurn()
    tasks = await asked(turns, log.work(1), log.work(2))
    assert turns._task is not None
    turns._task.cancel()
    assert await ends(*tasks) == [True, True]
    (task,) = await asked(turns, log.work(3))
    log.gates[3].set()
    assert await ends(task) == [False]


async def test_nor_if_it_is_cut_off_before_its_first_step():
    log, turns = Log(), InTurn()
    task = asyncio.create_task(turns.run(log.work(1)))
    asyncio.get_running_loop().call_soon(lambda: turns._task and turns._task.cancel())
    assert await ends(task) == [True]
    assert log.lines == []


async def test_work_that_is_cancelled_by_itself_cuts_off_nobody_else():
    log, turns = Log(), InTurn()
    tasks = await asked(turns, log.work(1, asyncio.CancelledError()), log.work(2))
    for gate in log.gates.values():
        gate.set()
    assert await ends(*tasks) == [True, False]


async def test_at_once_is_beside_whatever_runs():
    log = Log()
    first = asyncio.create_task(at_once(log.work(1)))
    second = asyncio.create_task(at_once(log.work(2)))
    await settled()
    assert log.lines == ["begins 1", "begins 2"]
    for gate in log.gates.values():
        gate.set()
    assert (await first, await second) == (1, 2)
