"""The worker's housekeeping of documents."""

import asyncio
from uuid import uuid4

import structlog

from aval.storage.database import Database
from aval.storage.document_store import DocumentStore, DocumentStoreUnavailable, StoreAddress
from aval.worker.documents import expire_and_collect, purge_and_renew
from tests.factories import make_keyring
from tests.stage import Stage


class Recording(DocumentStore):
    """A store that may be away, and remembers what it was asked to delete."""

    def __init__(self) -> None:
        super().__init__(StoreAddress("file:///nowhere"))
        self.deleted: list[object] = []
        self.is_away = False

    async def delete(self, objects) -> None:
        if self.is_away:
            raise DocumentStoreUnavailable
        self.deleted += objects


async def left_over(stage: Stage, count: int) -> None:
    """Objects that nobody took into use, long ago."""
    await stage.execute(
        "insert into document_objects (integrator_id, object_id, due_at, created_at)"
        " select $1, gen_random_uuid(), now() - interval '1 hour', now() from generate_series(1, $2)",
        uuid4(),
        count,
    )


async def worker_of(stage: Stage) -> Database:
    return await stage.open_as("aval_app_settle")


async def test_all_that_is_left_over_goes_in_one_look(own_stage: Stage):
    store, db = Recording(), await worker_of(own_stage)
    await left_over(own_stage, 230)
    await expire_and_collect(db, store, asyncio.Event())
    assert len(set(store.deleted)) == 230
    assert await own_stage.value("select count(*) from document_objects") == 0


async def test_a_store_that_is_away_is_told_and_asked_again_later(own_stage: Stage):
    store, db = Recording(), await worker_of(own_stage)
    await left_over(own_stage, 1)
    store.is_away = True
    with structlog.testing.capture_logs() as lines:
        await expire_and_collect(db, store, asyncio.Event())
    assert [line["event"] for line in lines] == ["document_store_unavailable"]
    store.is_away = False
    await expire_and_collect(db, store, asyncio.Event())
    assert store.deleted == []  # not before a minute has passed
    await own_stage.execute("update document_objects set due_at = now() - interval '1 minute'")
    await expire_and_collect(db, store, asyncio.Event())
    assert len(store.deleted) == 1


async def test_a_worker_that_stops_leaves_the_rest(own_stage: Stage):
    store, db, stopping = Recording(), await worker_of(own_stage), asyncio.Event()
    await left_over(own_stage, 1)
    stopping.set()
    await expire_and_collect(db, store, stopping)
    await purge_and_renew(db, make_keyring(), stopping)
    assert store.deleted == []


async def test_with_nothing_due_nothing_happens(own_stage: Stage):
    store, db = Recording(), await worker_of(own_stage)
    await expire_and_collect(db, store, asyncio.Event())
    await purge_and_renew(db, make_keyring(), asyncio.Event())
    assert store.deleted == []
