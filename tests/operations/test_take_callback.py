"""A core's own word on a settlement: taken at any time, any number of times, and never backwards."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from aval.operations.settle_transfer import record_answers, take_callback
from aval.ports import RailAnswer
from aval.storage import settlements
from aval.storage.database import Database, LockNotWon
from aval.storage.settlements import claim_settlements
from tests.conftest import with_database
from tests.factories import Party
from tests.operations.settling import (
    ACCEPTED,
    POLICY,
    REFUSED,
    RETURN,
    RETURNED,
    SENT,
    SILENT,
    TRANSACTION,
    Script,
    approved,
    ask,
    claim,
    claim_again,
    entries,
    job_of,
    payer,
)
from tests.stage import Stage


@pytest.fixture
async def worker_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_settle")


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await payer(own_stage)


@pytest.fixture
async def party(stage: Stage) -> Party:
    return await payer(stage)


async def told(db: Database, party: Party, key: UUID, answers: Sequence[RailAnswer]) -> list[bool]:
    return [
        await take_callback(db, integrator_key=party.key, rail_reference=key, answer=answer, policy=POLICY)
        for answer in answers
    ]


CALLBACKS = {
    "confirmed": ([SENT], ("sent", None), 1, ["fee", "transfer"]),
    "confirmed twice": ([SENT, SENT], ("sent", None), 1, ["fee", "transfer"]),
    "refused": ([REFUSED], ("rejected", "rail_refused"), 1, ["fee", "fee_refund", "transfer", "transfer_refund"]),
    "refused twice": (
        [REFUSED, REFUSED],
        ("rejected", "rail_refused"),
        1,
        ["fee", "fee_refund", "transfer", "transfer_refund"],
    ),
    "lower status": ([SENT, ACCEPTED], ("sent", None), 1, ["fee", "transfer"]),
    "refused after sent": ([SENT, REFUSED], ("sent", None), 1, ["fee", "transfer"]),
    "sent after refused": (
        [REFUSED, SENT],
        ("rejected", "rail_refused"),
        1,
        ["fee", "fee_refund", "transfer", "transfer_refund"],
    ),
    "accepted": ([ACCEPTED, ACCEPTED], ("pending", None), 0, ["fee", "transfer"]),
    "returned": ([SENT, RETURNED], ("rejected", RETURN["enumerator"]), 2, ["fee", "transfer", "transfer_return"]),
    "returned twice": (
        [SENT, RETURNED, RETURNED],
        ("rejected", RETURN["enumerator"]),
        2,
        ["fee", "transfer", "transfer_return"],
    ),
    "returned before it was confirmed": (
        [RETURNED, SENT],
        ("rejected", RETURN["enumerator"]),
        2,
        ["fee", "transfer", "transfer_return"],
    ),
    "returned after it was refused": (
        [REFUSED, RETURNED],
        ("rejected", "rail_refused"),
        1,
        ["fee", "fee_refund", "transfer", "transfer_refund"],
    ),
}


@pytest.mark.parametrize("case", CALLBACKS)
async def test_what_a_core_tells_moves_forward_and_counts_once(stage: Stage, party: Party, case: str):
    answers, end, webhooks, booked = CALLBACKS[case]
    key = await approved(stage, party, "ted")
    assert await told(stage.parts.db, party, key, answers) == [True] * len(answers)
    assert await stage.status(key) == end
    assert [sequence for sequence, _ in await stage.events(key)] == list(range(1, webhooks + 1))
    assert await entries(stage, key) == booked
    await stage.balance(party)


async def test_a_returned_ted_shows_the_rails_own_reason(stage: Stage, party: Party):
    key = await approved(stage, party, "ted")
    await told(stage.parts.db, party, key, [SENT, RETURNED])
    answer = await stage.call(party, "GET", f"ted/{key}/outgoing")
    assert answer.json["refusal_reason"] == RETURN
    assert answer.json["transaction_key"] == str(TRANSACTION)


async def test_a_pix_is_never_returned(stage: Stage, party: Party):
    key = await approved(stage, party)
    await told(stage.parts.db, party, key, [SENT, RETURNED])
    assert await stage.status(key) == ("sent", None)


async def test_callbacks_at_once_count_once(stage: Stage, party: Party):
    key = await approved(stage, party, "ted")
    answers = [SENT, RETURNED, REFUSED, ACCEPTED] * 4
    await asyncio.gather(*(told(stage.parts.db, party, key, [answer]) for answer in answers))
    status, _ = await stage.status(key)
    booked = await entries(stage, key)
    assert status == "rejected"
    assert booked in (["fee", "transfer", "transfer_return"], ["fee", "fee_refund", "transfer", "transfer_refund"])
    sequences = [sequence for sequence, _ in await stage.events(key)]
    assert sequences == list(range(1, len(sequences) + 1))
    await stage.balance(party)


async def test_callbacks_behind_a_frozen_worker_leave_connections_to_others(
    stage: Stage, party: Party, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settlements, "CALLBACK_LOCK_TIMEOUT", "50ms")
    key = await approved(stage, party)
    async with stage.db.transaction() as frozen, stage.db.reading() as looking:
        await frozen.execute("select 1 from challenges where operation_id = $1 for update", key)
        dsn = await looking.fetchval("select current_database()")
        small = await Database.open(with_database(postgres_dsn, dsn), role="aval_app_api", pool_size=2)
        callbacks = [asyncio.create_task(told(small, party, key, [SENT])) for _ in range(2)]
        await asyncio.sleep(0)
        async with small.reading() as connection:
            assert await connection.fetchval("select true")
        answers = await asyncio.gather(*callbacks, return_exceptions=True)
        assert [type(answer) for answer in answers] == [LockNotWon] * 2
    assert await told(small, party, key, [SENT]) == [True]
    await small.close()


async def test_success_after_parking_ends_it(own_stage: Stage, own_party: Party, worker_db: Database):
    key = await approved(own_stage, own_party)
    await own_stage.execute("update settlement_jobs set state = 'parked', rail_status = 'unknown'")
    await told(own_stage.parts.db, own_party, key, [SENT])
    assert await own_stage.status(key) == ("sent", None)
    assert (await job_of(own_stage, key))[:2] == ("done", "sent")


async def test_a_callback_overtakes_the_worker_whose_answer_comes_later(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    answered = await ask(worker_db, await claim(worker_db), Script([SILENT]))
    await told(own_stage.parts.db, own_party, key, [SENT])
    assert answered is not None
    await record_answers(worker_db, answers=[answered], policy=POLICY)
    assert await own_stage.status(key) == ("sent", None)
    assert (await job_of(own_stage, key))[:2] == ("done", "sent")
    assert len(await own_stage.events(key)) == 1


async def test_a_callback_takes_no_lease_away(own_stage: Stage, own_party: Party, worker_db: Database):
    """While a worker waits for the rail, nobody else may ask: what it sent could still be on its way."""
    await approved(own_stage, own_party)
    job = await claim(worker_db)
    await told(own_stage.parts.db, own_party, job.transfer.key, [ACCEPTED])
    await asyncio.sleep(0.05)
    async with worker_db.connection() as connection:
        assert await claim_settlements(connection, most=10, lease=POLICY.lease) == []


async def test_an_unknown_or_foreign_reference_is_no_job(stage: Stage, party: Party):
    key = await approved(stage, party)
    stranger = await stage.party()
    assert await told(stage.parts.db, stranger, key, [SENT]) == [False]
    assert await told(stage.parts.db, party, uuid4(), [SENT]) == [False]
    assert await stage.status(key) == ("pending", None)


async def test_a_lost_claim_is_replaced_when_its_lease_is_over(own_stage: Stage, own_party: Party, worker_db: Database):
    await approved(own_stage, own_party)
    jobs = [await claim_again(own_stage, worker_db) for _ in range(3)]
    assert [(job.fence, job.claim_count, job.send_count) for job in jobs] == [(1, 1, 1), (2, 2, 1), (3, 3, 1)]
