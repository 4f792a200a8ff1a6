"""Fair claims: a thousand items of a batch keep no single transfer waiting, nor its webhook."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.storage.callbacks import claim_callbacks
from aval.storage.database import Database
from aval.storage.settlements import claim_settlements
from tests.batches import approve, batch_request, items
from tests.factories import Party
from tests.stage import Stage

LEASE = timedelta(seconds=30)
MANY = 40


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await own_stage.party()


async def with_batch(stage: Stage, party: Party) -> None:
    """Forty items that wait for the rail."""
    request = await batch_request(stage, party, items=items(*[1_00] * MANY))
    await stage.desk.request_batch(request)
    await approve(stage, party, request.key)


async def with_singles(stage: Stage, party: Party, count: int) -> None:
    """Single transfers approved after that."""
    for key in await stage.requests(party, count, transaction_amount=1):
        assert (await stage.approve(party, key)).status == 202


async def taken(db: Database, most: int, **options: Any) -> tuple[int, int]:
    """How many singles and how many items one claim takes."""
    async with db.connection() as connection:
        jobs = await claim_settlements(connection, most=most, lease=LEASE, **options)
    of_items = sum(job.transfer.batch_key is not None for job in jobs)
    return len(jobs) - of_items, of_items


async def test_single_transfers_are_taken_before_items_of_an_earlier_batch(own_stage: Stage, own_party: Party):
    await with_batch(own_stage, own_party)
    await with_singles(own_stage, own_party, 3)
    db = await own_stage.open_as("aval_app_settle")
    assert await taken(db, 8) == (3, 5)
    assert await taken(db, 8) == (0, 8)


async def test_items_get_a_quarter_however_many_singles_wait(own_stage: Stage, own_party: Party):
    await with_batch(own_stage, own_party)
    await with_singles(own_stage, own_party, 9)
    db = await own_stage.open_as("aval_app_settle")
    assert await taken(db, 8) == (8, 2)
    assert await taken(db, 8) == (1, 7)


async def test_a_worker_that_has_enough_items_takes_singles_alone(own_stage: Stage, own_party: Party):
    await with_batch(own_stage, own_party)
    await with_singles(own_stage, own_party, 2)
    db = await own_stage.open_as("aval_app_settle")
    assert await taken(db, 8, items_most=0) == (2, 0)
    assert await taken(db, 8, items_most=3) == (0, 3)


async def promise_callbacks(stage: Stage, party: Party, *, of_items: int, others: int, endpoints: int) -> list[UUID]:
    """Webhooks of one operation to several endpoints, those that tell of items due first."""
    operation = await stage.request(party)
    keys = [uuid4() for _ in range(endpoints)]
    await stage.execute(
        "insert into webhook_endpoints (integrator_id, endpoint_id, url, event_types, secret_sealed, created_at,"
        " updated_at) select $1, k, 'https://hooks.example.com', '{x}', '', now(), now() from unnest($2::uuid[]) k",
        party.key,
        keys,
    )
    await stage.execute(
        "insert into events (integrator_id, event_id, operation_id, operation_kind, sequence, event_type, body,"
        " correlation_id, created_at) select $1, gen_random_uuid(), $2, 'pix_transfer', n, 'x', '{}', 'c', now()"
        " from generate_series(1, $3::int) n",
        party.key,
        operation,
        of_items + others,
    )
    await stage.execute(
        "insert into callbacks (integrator_id, callback_id, event_id, endpoint_id, is_item, due_at, created_at,"
        " updated_at) select $1, gen_random_uuid(), event_id, k, sequence <= $3,"
        " now() - interval '1 minute' + make_interval(secs => sequence), now(), now()"
        " from events cross join unnest($2::uuid[]) k",
        party.key,
        keys,
        of_items,
    )
    return keys


async def sequences(db: Database, stage: Stage, **options: Any) -> dict[UUID, list[int]]:
    """Which webhooks one claim takes, by endpoint."""
    async with db.connection() as connection:
        claimed = await claim_callbacks(connection, lease=LEASE, **{"most": 100, "per_endpoint": 4} | options)
    rows = await stage.fetch("select event_id, sequence from events")
    numbers = dict(rows)
    found: dict[UUID, list[int]] = {}
    for callback in claimed:
        found.setdefault(callback.endpoint_key, []).append(numbers[callback.event_id])
    return {key: sorted(values) for key, values in found.items()}


async def test_an_endpoint_gets_webhooks_of_items_and_others_in_turn(own_stage: Stage, own_party: Party):
    (key,) = await promise_callbacks(own_stage, own_party, of_items=20, others=3, endpoints=1)
    db = await own_stage.open_as("aval_app_webhook")
    assert await sequences(db, own_stage) == {key: [1, 2, 21, 22]}
    assert await sequences(db, own_stage) == {key: [3, 4, 5, 23]}
    assert await sequences(db, own_stage, in_progress={key: 3}) == {key: [6]}
    assert await sequences(db, own_stage, in_progress={key: 4}) == {}


async def test_endpoints_with_long_queues_share_what_is_taken(own_stage: Stage, own_party: Party):
    keys = await promise_callbacks(own_stage, own_party, of_items=20, others=0, endpoints=3)
    db = await own_stage.open_as("aval_app_webhook")
    assert await sequences(db, own_stage, most=6) == {key: [1, 2] for key in keys}


async def test_a_webhook_that_waits_for_its_next_try_is_not_taken(own_stage: Stage, own_party: Party):
    (key,) = await promise_callbacks(own_stage, own_party, of_items=2, others=2, endpoints=1)
    await own_stage.execute(
        "update callbacks set due_at = now() + interval '1 minute' where event_id in"
        " (select event_id from events where sequence in (1, 3))"
    )
    db = await own_stage.open_as("aval_app_webhook")
    assert await sequences(db, own_stage) == {key: [2, 4]}
    assert await sequences(db, own_stage) == {}
