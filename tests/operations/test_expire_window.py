"""T7: what is not approved in time is rejected, once and with its webhook, whoever notices first."""

import asyncio
import json
from datetime import timedelta
from uuid import UUID

import pytest

from aval.operations.expire_window import expire_windows
from aval.storage.database import Database
from tests.batches import requested
from tests.factories import Party
from tests.stage import PENDING, Stage

EXPIRED = ("rejected", "approval_window_expired")
TOLD = [(1, "baas.pix_transfer.outgoing_pix")]


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await own_stage.party()


@pytest.fixture
async def settle_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_settle")


async def overdue(stage: Stage, party: Party, count: int = 1) -> list[UUID]:
    """Operations whose hour is over."""
    keys = await stage.requests(party, count)
    for key in keys:
        await stage.shift(key, 3_601)
    return keys


async def watermark(stage: Stage) -> object:
    return await stage.value("select swept_until from sweeps where name = 'approval_windows'")


async def test_the_sweeper_rejects_what_is_overdue_and_tells_it(
    own_stage: Stage, own_party: Party, settle_db: Database
):
    keys, fresh = await overdue(own_stage, own_party, 3), await own_stage.request(own_party)
    assert await expire_windows(settle_db, most=10) == (3, 0)
    for key in keys:
        assert await own_stage.status(key) == EXPIRED
        assert await own_stage.events(key) == TOLD
    assert await own_stage.status(fresh) == PENDING
    (event,) = await own_stage.fetch("select body from events where operation_id = $1", keys[0])
    assert '"error_code":"PXT000922"' in event[0]
    audit = await own_stage.fetch("select actor, action from audit where operation_id = $1", keys[0])
    assert audit[-1] == ("worker", "operation.judged")


async def test_a_batch_is_rejected_with_its_items_and_told_once(
    own_stage: Stage, own_party: Party, settle_db: Database
):
    request = (await requested(own_stage, own_party)).transfer
    await own_stage.shift(request.key, 3_601)
    assert await expire_windows(settle_db, most=10) == (1, 0)
    assert await own_stage.status(request.key) == EXPIRED
    assert await own_stage.events(request.key) == [(1, "aval.pix_transfer_batch.finished")]
    (event,) = await own_stage.fetch("select body from events where operation_id = $1 and item_id is null", request.key)
    data = json.loads(event[0])["data"]
    assert (data["items_pending"], data["items_sent"], data["items_rejected"]) == (0, 0, 3)
    assert data["rejection_reason"] == EXPIRED[1]
    assert await expire_windows(settle_db, most=10) == (0, 0)


async def test_more_than_fits_is_swept_in_turns(own_stage: Stage, own_party: Party, settle_db: Database):
    await overdue(own_stage, own_party, 5)
    assert [(await expire_windows(settle_db, most=2)).expired for _ in range(4)] == [2, 2, 1, 0]


async def test_one_that_is_locked_is_not_lost(own_stage: Stage, own_party: Party, settle_db: Database):
    first, second, third = await overdue(own_stage, own_party, 3)
    async with own_stage.locked("challenges", "operation_id", second):
        assert await expire_windows(settle_db, most=10) == (2, 0)
        assert await expire_windows(settle_db, most=10) == (0, 0)
        mark = await watermark(own_stage)
    assert mark < await own_stage.value("select approval_deadline from challenges where operation_id = $1", second)
    assert await expire_windows(settle_db, most=10) == (1, 0)
    assert await own_stage.status(second) == EXPIRED
    assert await watermark(own_stage) > mark


async def test_one_that_cannot_be_written_stops_no_other(own_stage: Stage, own_party: Party, settle_db: Database):
    first, poisoned, third = await overdue(own_stage, own_party, 3)
    await own_stage.execute(f"alter table events add check (operation_id <> '{poisoned}')")
    assert await expire_windows(settle_db, most=10) == (2, 1)
    assert await own_stage.status(first) == await own_stage.status(third) == EXPIRED
    assert await own_stage.status(poisoned) == PENDING


async def test_the_watermark_follows_a_minute_behind_and_never_goes_back(own_stage: Stage, settle_db: Database):
    await expire_windows(settle_db, most=10)
    mark = await watermark(own_stage)
    assert await own_stage.value("select clock_timestamp() - $1::timestamptz", mark) >= timedelta(minutes=1)
    await own_stage.execute("update sweeps set swept_until = clock_timestamp() + interval '1 hour'")
    ahead = await watermark(own_stage)
    await expire_windows(settle_db, most=10)
    assert await watermark(own_stage) == ahead


async def test_two_sweepers_reject_each_operation_once(own_stage: Stage, own_party: Party, settle_db: Database):
    keys = await overdue(own_stage, own_party, 8)
    sweeps = await asyncio.gather(*(expire_windows(settle_db, most=20) for _ in range(4)))
    assert sum(sweep.expired for sweep in sweeps) == 8
    for key in keys:
        assert await own_stage.events(key) == TOLD


@pytest.mark.parametrize("call", ["validate", "resend", "cancel"])
async def test_a_call_past_the_deadline_applies_it(stage: Stage, party: Party, call: str):
    (key,) = await overdue(stage, party)
    calls = {"validate": stage.approve, "resend": stage.resend, "cancel": stage.cancel}
    for _ in range(2):
        assert (await calls[call](party, key)).code == "PXT000175"
        assert await stage.status(key) == EXPIRED
    assert await stage.events(key) == TOLD
    assert await stage.counts(key) == (0, 0, 0, 1)


async def test_reads_see_it_before_anybody_wrote_it(stage: Stage, party: Party):
    (key,), fresh = await overdue(stage, party), await stage.request(party)
    told = (await stage.call(party, "GET", f"pix_transfer/{key}/outgoing")).json
    assert (told["pix_transfer_status"], told["rejection_reason"]) == EXPIRED
    for status, found in (("rejected", key), ("pending_2fa_approval", fresh)):
        rows = (await stage.call(party, "GET", f"pix_transfers?pix_transfer_status={status}")).json["data"]
        assert [row["pix_transfer_key"] for row in rows] == [str(found)]
    assert await stage.status(key) == PENDING


async def test_a_repeated_create_answers_the_state_of_an_ended_window(stage: Stage, party: Party):
    body = party.pix()
    made = await stage.call(party, "POST", "pix_transfer", body)
    await stage.shift(UUID(made.json["pix_transfer_key"]), 3601)
    again = await stage.call(party, "POST", "pix_transfer", body)
    assert (again.status, again.json["pix_transfer_status"]) == (202, "rejected")
    assert "approval" not in again.json and again.headers["idempotent-replayed"] == "true"


async def test_a_call_that_waited_past_the_deadline_is_too_late(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.execute(
        "update challenges set approval_deadline = clock_timestamp() + interval '150 milliseconds'"
        " where operation_id = $1",
        key,
    )
    async with stage.locked("challenges", "operation_id", key):
        waiting = asyncio.create_task(stage.approve(party, key))
        await asyncio.sleep(0.4)
    assert (await waiting).code == "PXT000175"
    assert await stage.status(key) == EXPIRED
