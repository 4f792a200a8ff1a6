"""Claims: each due job to one worker, the longest waiting first, none before its time."""

import asyncio
from datetime import timedelta

import pytest

from aval.storage.callbacks import claim_callbacks
from aval.storage.messages import claim_messages
from aval.storage.settlements import claim_settlements
from tests.stage import Stage

LEASE = timedelta(seconds=30)


async def test_rival_claims_share_the_jobs_without_overlap(own_stage: Stage):
    party = await own_stage.party()
    keys = await own_stage.requests(party, 30)
    await asyncio.gather(*(own_stage.approve(party, key, process=n) for n, key in enumerate(keys)))
    settle, notify = await own_stage.open_as("aval_app_settle"), await own_stage.open_as("aval_app_notify")

    async def settlements() -> list[object]:
        async with settle.connection() as connection:
            return [job.rail_reference for job in await claim_settlements(connection, most=7, lease=LEASE)]

    async def messages() -> list[object]:
        async with notify.connection() as connection:
            return [message.message_key for message in await claim_messages(connection, most=7, lease=LEASE)]

    for claim in (settlements, messages):
        claimed = [key for batch in await asyncio.gather(*(claim() for _ in range(6))) for key in batch]
        assert len(claimed) == len(set(claimed)) == 30
        assert await claim() == []


async def test_the_longest_waiting_come_first_and_none_before_its_time(own_stage: Stage):
    party = await own_stage.party()
    keys = await own_stage.requests(party, 4)
    for place, key in enumerate(keys):
        await own_stage.approve(party, key)
        await own_stage.execute(
            "update settlement_jobs set due_at = clock_timestamp() + make_interval(secs => $2) where operation_id = $1",
            key,
            float((-1, -3, 60, -2)[place]),
        )
    db = await own_stage.open_as("aval_app_settle")
    async with db.connection() as connection:
        first = [job.transfer.key for job in await claim_settlements(connection, most=2, lease=LEASE)]
        rest = [job.transfer.key for job in await claim_settlements(connection, most=2, lease=LEASE)]
    assert set(first) == {keys[1], keys[3]} and rest == [keys[0]]


@pytest.mark.parametrize(
    ("role", "claim"), [("aval_app_settle", claim_settlements), ("aval_app_notify", claim_messages)]
)
async def test_a_job_locked_elsewhere_stops_no_claim(own_stage: Stage, role: str, claim):
    party = await own_stage.party()
    keys = await own_stage.requests(party, 3)
    for key in keys:
        await own_stage.approve(party, key)
    table = "settlement_jobs" if role == "aval_app_settle" else "outbox"
    db = await own_stage.open_as(role)
    async with own_stage.locked(table, "operation_id", keys[0]), db.connection() as connection:
        assert len(await claim(connection, most=10, lease=LEASE)) == 2
    async with db.connection() as connection:
        assert len(await claim(connection, most=10, lease=LEASE)) == 1


async def test_a_callback_locked_elsewhere_stops_no_claim(own_stage: Stage):
    party = await own_stage.party()
    await own_stage.execute(
        "insert into webhook_endpoints (integrator_id, endpoint_id, url, event_types, secret_sealed, created_at,"
        " updated_at) values ($1, gen_random_uuid(), 'https://hooks.example.com', '{baas.pix_transfer.outgoing_pix}',"
        " '', now(), now())",
        party.key,
    )
    for key in await own_stage.requests(party, 3):
        await own_stage.cancel(party, key)
    held = await own_stage.value("select callback_id from callbacks limit 1")
    db = await own_stage.open_as("aval_app_webhook")
    async with own_stage.locked("callbacks", "callback_id", held), db.connection() as connection:
        assert len(await claim_callbacks(connection, most=10, lease=LEASE, per_endpoint=10)) == 2
