"""A synchronous call waits for the rail, and not for a database that is away."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from aval.operations.await_settlement import SettlementWatch
from aval.storage.database import Database, DatabaseUnavailable

AN_HOUR = timedelta(hours=1)


async def test_nobody_waits_for_an_answer_that_cannot_be_seen() -> None:
    away = await Database.open("postgresql://aval@/aval?host=/nonexistent")
    watch = SettlementWatch(away)
    async with asyncio.timeout(20):
        for _ in range(2):  # and the next ones are not forgotten
            waits = [watch.wait((uuid4(), uuid4()), at_most=AN_HOUR) for _ in range(3)]
            answers = await asyncio.gather(*waits, return_exceptions=True)
            assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
    await away.close()


async def test_an_answer_that_takes_longer_is_none(db: Database) -> None:
    assert await SettlementWatch(db).wait((uuid4(), uuid4()), at_most=timedelta(milliseconds=60)) is None


async def test_a_caller_who_leaves_leaves_nothing_behind(db: Database) -> None:
    watch = SettlementWatch(db)
    waiting = asyncio.create_task(watch.wait((uuid4(), uuid4()), at_most=AN_HOUR))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert watch._waiting == {}
