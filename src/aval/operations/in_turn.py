"""Run pieces of work one after another, each begun in the very step of the loop in which the one before it ended.

A lock would hand over through the loop: whatever is ready by then runs first, while PostgreSQL has nothing to do.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

ResultT = TypeVar("ResultT")
Work = Callable[[], Awaitable[ResultT]]


class Runner(Protocol):
    """Decides when work is begun; answers or raises what the work does."""

    def __call__(self, work: Work[ResultT]) -> Awaitable[ResultT]:
        """Run it."""


class InTurn:
    """A queue of work that one task of the loop works off."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Work[Any], asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Work[ResultT]) -> ResultT:
        """What the work answers or raises, once all that was asked for before is done.

        Work that was begun is ended, even if whoever asked for it goes away.
        """
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work_off())
            self._task.add_done_callback(self._let_go)
        return await future

    async def _work_off(self) -> None:
        while self._waiting:
            await _end(*self._waiting.popleft())

    def _let_go(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for a queue that was cut off, be it before its first step."""
        while task.cancelled() and self._waiting:
            self._waiting.popleft()[1].cancel()


async def _end(work: Work[ResultT], future: asyncio.Future[ResultT]) -> None:
    if future.done():
        return  # who asked has gone before it was begun
    try:
        result = await work()
    except Exception as failure:  # noqa: BLE001 – it is the answer of this piece
        if not future.done():
            future.set_exception(failure)
    except asyncio.CancelledError:
        future.cancel()
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise  # the queue is cut off, not this piece alone
    else:
        if not future.done():
            future.set_result(result)


async def at_once(work: Work[ResultT]) -> ResultT:
    """Run work beside whatever else runs."""
    return await work()
