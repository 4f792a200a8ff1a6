"""T7: what is not approved in time is rejected, once and with its webhook, whoever notices first."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from aval.operations.expire_window import expire_windows
from aval.storage.database import Database
from tests.factories import Party
from tests.stage import OpenAs, events_of, execute, fetch, locked, shift, status_of, value
from tests.world import World

EXPIRED = ("rejected", "approval_window_expired")
TOLD = [(1, "baas.pix_transfer.outgoing_pix")]


@pytest.fixture
async def settle_db(db_as: OpenAs) -> Database:
    return await db_as("aval_app_settle")


async def overdue(world: World, party: Party, count: int = 1, *, minutes: float = 61) -> list[UUID]:
    """Operations that wait since so long."""
    keys = [await world.request(party) for _ in range(count)]
    for key in keys:
        await shift(world.db, key, minutes * 60)
    return keys


async def watermark(db: Database) -> object:
    return await value(db, "select swept_until from sweeps where name = 'approval_windows'")


async def test_the_sweeper_rejects_what_is_overdue_and_tells_it(world: World, party: Party, settle_db: Database):
    keys, fresh = await overdue(world, party, 3), await world.request(party)
    assert await expire_windows(settle_db, most=10) == (3, 0)
    for key in keys:
        assert await status_of(world.db, key) == EXPIRED
        assert await events_of(world.db, key) == TOLD
    assert await status_of(world.db, fresh) == ("pending_2fa_approval", None)
    (event,) = await fetch(world.db, "select body from events where operation_id = $1", keys[0])
    assert '"error_code":"PXT000922"' in event["body"]
    audit = await fetch(world.db, "select actor, action from audit where operation_id = $1", keys[0])
    assert [tuple(row) for row in audit][-1] == ("worker", "operation.judged")


async def test_more_than_fits_is_swept_in_turns(world: World, party: Party, settle_db: Database):
    await overdue(world, party, 5)
    assert [(await expire_windows(settle_db, most=2)).expired for _ in range(4)] == [2, 2, 1, 0]


async def test_one_that_is_locked_is_not_lost(world: World, party: Party, settle_db: Database):
    first, second, third = await overdue(world, party, 3)
    async with locked(world.db, "challenges", "operation_id", second):
        assert await expire_windows(settle_db, most=10) == (2, 0)
        assert await expire_windows(settle_db, most=10) == (0, 0)
        mark = await watermark(world.db)
    (row,) = await fetch(world.db, "select approval_deadline from challenges where operation_id = $1", second)
    assert mark < row["approval_deadline"]
    assert await expire_windows(settle_db, most=10) == (1, 0)
    assert await status_of(world.db, second) == EXPIRED
    assert await watermark(world.db) > mark


async def test_one_that_cannot_be_written_stops_no_other(world: World, party: Party, settle_db: Database):
    first, poisoned, third = await overdue(world, party, 3)
    await execute(world.db, f"alter table events add check (operation_id <> '{poisoned}')")
    assert await expire_windows(settle_db, most=10) == (2, 1)
    assert await status_of(world.db, first) == await status_of(world.db, third) == EXPIRED
    assert await status_of(world.db, poisoned) == ("pending_2fa_approval", None)


async def test_the_watermark_follows_a_minute_behind_and_never_goes_back(world: World, settle_db: Database):
    await expire_windows(settle_db, most=10)
    mark = await watermark(world.db)
    assert await value(world.db, "select clock_timestamp() - $1::timestamptz", mark) >= timedelta(minutes=1)
    await execute(world.db, "update sweeps set swept_until = clock_timestamp() + interval '1 hour'")
    ahead = await watermark(world.db)
    await expire_windows(settle_db, most=10)
    assert await watermark(world.db) == ahead


async def test_two_sweepers_reject_each_operation_once(world: World, party: Party, settle_db: Database):
    keys = await overdue(world, party, 8)
    sweeps = await asyncio.gather(*(expire_windows(settle_db, most=20) for _ in range(4)))
    assert sum(sweep.expired for sweep in sweeps) == 8
    for key in keys:
        assert await events_of(world.db, key) == TOLD


@pytest.mark.parametrize(
    ("call", "code"),
    [("validate_token", "PXT000175"), ("resend_token", "PXT000175"), ("cancel", "PXT000175")],
)
async def test_a_call_past_the_deadline_applies_it(world: World, party: Party, call: str, code: str):
    (key,) = await overdue(world, party)
    path = f"/account/{party.account.key}/pix_transfer/{key}/{call}"
    method, body = ("PUT", {"token": await world.token(party, key)}) if call == "validate_token" else ("PATCH", {})
    assert (await world.call(method, path, body, key=party.api_key)).code == code
    assert await status_of(world.db, key) == EXPIRED
    assert (await world.call(method, path, body, key=party.api_key)).code == code
    assert await events_of(world.db, key) == TOLD
    assert await value(world.db, "select count(*) from comparisons") == 0


async def test_reads_see_it_before_anybody_wrote_it(world: World, party: Party):
    (key,) = await overdue(world, party)
    fresh = await world.request(party)
    path = f"/account/{party.account.key}/pix_transfer"
    told = (await world.call("GET", f"{path}/{key}/outgoing", key=party.api_key)).json
    assert (told["pix_transfer_status"], told["rejection_reason"]) == EXPIRED
    for status, found in (("rejected", key), ("pending_2fa_approval", fresh)):
        rows = (await world.call("GET", f"{path}s?pix_transfer_status={status}", key=party.api_key)).json["data"]
        assert [row["pix_transfer_key"] for row in rows] == [str(found)]
    assert await status_of(world.db, key) == ("pending_2fa_approval", None)


async def test_a_repeated_create_answers_the_state_of_an_ended_window(world: World, party: Party):
    body = party.pix()
    path = f"/account/{party.account.key}/pix_transfer"
    made = await world.call("POST", path, body, key=party.api_key)
    await shift(world.db, UUID(made.json["pix_transfer_key"]), 3601)
    again = await world.call("POST", path, body, key=party.api_key)
    assert (again.status, again.json["pix_transfer_status"]) == (202, "rejected")
    assert "approval" not in again.json and again.headers["idempotent-replayed"] == "true"


async def test_the_deadline_itself_is_too_late(world: World, party: Party):
    key = await world.request(party)
    await execute(
        world.db,
        "update challenges set approval_deadline = clock_timestamp() + interval '150 milliseconds'"
        " where operation_id = $1",
        key,
    )
    token = await world.token(party, key)
    async with locked(world.db, "challenges", "operation_id", key):
        waiting = asyncio.create_task(world.validate(party, "pix_transfer", key, token))
        await asyncio.sleep(0.4)
    assert (await waiting).code == "PXT000175"
    assert await status_of(world.db, key) == EXPIRED
