"""Wait for the rail on behalf of synchronous calls: one look at the database serves all that wait."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.storage.database import Database, DatabaseUnavailable
from aval.storage.settlement_states import read_answered

POLL = timedelta(milliseconds=20)
BLIND_MAX_S = 0.5  # spec promises.md OP5: a wait that ends must not be followed by another for a dead database

Key = tuple[UUID, UUID]


class SettlementWatch:
    """Tells waiting calls when their operation's rail has answered."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: dict[Key, list[asyncio.Future[Challenge]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._looked_at = 0.0  # when somebody last saw anything, on the clock of the event loop

    async def wait(self, key: Key, *, at_most: timedelta) -> Challenge | None:
        """The challenge once the rail has answered, or None if that takes longer.

        Raises DatabaseUnavailable as soon as nobody can tell any more: the wait is not worth a slow answer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Challenge] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        if self._task is None or self._task.done():
            self._looked_at = loop.time()
            self._task = asyncio.create_task(self._look())
        try:
            return await asyncio.wait_for(future, at_most.total_seconds())
        except TimeoutError:
            if loop.time() - self._looked_at > BLIND_MAX_S:
                raise DatabaseUnavailable from None
            return None
        finally:
            self._forget(key, future)

    def _forget(self, key: Key, future: "asyncio.Future[Challenge]") -> None:
        self._waiting[key].remove(future)
        if not self._waiting[key]:
            del self._waiting[key]

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(POLL.total_seconds())
            try:
                async with self._db.reading() as connection:
                    # None is left if all gave up during the sleep or the wait for the connection.
                    answered = await read_answered(connection, list(self._waiting)) if self._waiting else {}
            except DatabaseUnavailable as failure:
                for future in self._open(self._waiting):
                    future.set_exception(failure)
                continue
            self._looked_at = asyncio.get_running_loop().time()
            for key, challenge in answered.items():
                for future in self._open([key]):
                    future.set_result(challenge)

    def _open(self, keys: Iterable[Key]) -> "list[asyncio.Future[Challenge]]":
        return [future for key in keys for future in self._waiting.get(key, []) if not future.done()]
