"""Waiting for the rail: told soon, let go in time, one look for all, and nothing left behind."""

import asyncio
import gc
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from aval.operations import await_settlement
from aval.operations.await_settlement import SettlementWatch
from aval.storage.database import Database, DatabaseUnavailable
from tests.conftest import with_database
from tests.factories import Party
from tests.stage import Stage

LONG = timedelta(seconds=5)


async def approved(stage: Stage, party: Party, count: int) -> list[tuple[UUID, UUID]]:
    keys = await stage.requests(party, count)
    await asyncio.gather(*(stage.approve(party, key) for key in keys))
    return [(party.key, key) for key in keys]


async def answer(stage: Stage, keys: list[tuple[UUID, UUID]], change: str) -> None:
    await stage.execute(change + " where operation_id = any($1)", [key for _, key in keys])


SENT = "update challenges set status = 'sent'"
ACCEPTED = "update settlement_jobs set rail_status = 'pending'"


async def test_each_is_told_what_became_of_its_own(stage: Stage, party: Party):
    watch = SettlementWatch(stage.parts.db)
    sent, accepted, silent = keys = await approved(stage, party, 3)
    waiting = [asyncio.create_task(watch.wait(key, at_most=LONG)) for key in (sent, sent, accepted)]
    last = asyncio.create_task(watch.wait(silent, at_most=timedelta(milliseconds=300)))
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    await answer(stage, [sent], SENT)
    await answer(stage, [accepted], ACCEPTED)
    assert [seen and seen.status.value for seen in await asyncio.gather(*waiting)] == ["sent", "sent", "pending"]
    assert await last is None
    assert not watch._waiting and keys


async def test_one_that_was_answered_before_is_told_at_once(stage: Stage, party: Party):
    (key,) = await approved(stage, party, 1)
    await answer(stage, [key], SENT)
    seen = await SettlementWatch(stage.parts.db).wait(key, at_most=LONG)
    assert seen is not None and seen.status.value == "sent"


async def test_waits_that_end_while_nobody_looks_leave_no_failure_behind(stage: Stage, caplog):
    """A wait ends between two looks; the next look then has nobody to ask for."""
    watch = SettlementWatch(stage.parts.db)
    for _ in range(3):
        assert await watch.wait((uuid4(), uuid4()), at_most=timedelta(milliseconds=5)) is None
        await asyncio.sleep(0.05)
    assert watch._task is not None and watch._task.done() and watch._task.exception() is None
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_waits_that_end_while_their_look_waits_for_a_connection_leave_no_failure_behind(dsn: str):
    """Found by CI on a busy machine: whoever waited had given up when the connection came."""
    db = await Database.open(dsn, pool_size=1)
    watch = SettlementWatch(db)
    async with db.transaction():
        assert await watch.wait((uuid4(), uuid4()), at_most=timedelta(milliseconds=100)) is None
        assert watch._task is not None and not watch._task.done()  # it still waits for the one connection
    await watch._task
    await db.close()


async def test_a_caller_who_goes_away_leaves_nothing_behind(stage: Stage, party: Party):
    watch = SettlementWatch(stage.parts.db)
    (key,) = await approved(stage, party, 1)
    leaving, staying = (asyncio.create_task(watch.wait(key, at_most=LONG)) for _ in range(2))
    await asyncio.sleep(0.03)
    leaving.cancel()
    await answer(stage, [key], SENT)
    seen = await staying
    assert seen is not None and not watch._waiting


async def test_a_wait_that_ends_while_nobody_could_look_is_no_answer(db: Database, monkeypatch: pytest.MonkeyPatch):
    """The server is there and says nothing: whoever asked it next would wait for it once more."""
    monkeypatch.setattr(await_settlement, "BLIND_MAX_S", 0.1)
    watch = SettlementWatch(db)
    async with db.transaction() as holder:
        await holder.execute("lock table settlement_jobs in access exclusive mode")
        with pytest.raises(DatabaseUnavailable):
            await watch.wait((uuid4(), uuid4()), at_most=timedelta(milliseconds=300))
    assert watch._task is not None
    await watch._task
    assert await watch.wait((uuid4(), uuid4()), at_most=timedelta(milliseconds=5)) is None


async def test_a_database_that_is_away_is_told_and_the_next_wait_asks_again(stage: Stage, party: Party, dsn: str):
    (key,) = await approved(stage, party, 1)
    watch = SettlementWatch(stage.parts.db)
    watch._db = await Database.open(with_database(dsn, "missing"))
    with pytest.raises(DatabaseUnavailable):
        await watch.wait(key, at_most=LONG)
    await watch._db.close()
    watch._db = stage.parts.db
    await answer(stage, [key], SENT)
    assert await watch.wait(key, at_most=LONG) is not None
