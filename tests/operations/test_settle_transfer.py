"""Settling: sent once, asked before sent again, written only under the lease, parked where a person can see it."""

import time
from dataclasses import replace

import pytest

from aval.operations.coalesce import ALONE
from aval.operations.settle_transfer import record_answers
from aval.storage.database import Database
from aval.storage.settlements import claim_settlements
from tests.factories import Party, make_keyring
from tests.operations.settling import (
    ACCEPTED,
    POLICY,
    REFUSED,
    RETURN,
    RETURNED,
    SENT,
    SILENT,
    TRANSACTION,
    UNSEEN,
    Script,
    approved,
    ask,
    claim,
    claim_again,
    entries,
    job_of,
    make_due,
    payer,
    work,
)
from tests.stage import Stage, until, working


@pytest.fixture
async def worker_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_settle")


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await payer(own_stage)


async def test_a_confirmation_ends_it(own_stage: Stage, own_party: Party, worker_db: Database):
    key = await approved(own_stage, own_party)
    rail = Script([SENT])
    await work(worker_db, rail)
    assert await own_stage.status(key) == ("sent", None)
    assert await own_stage.value("select transaction_key from challenges where operation_id = $1", key) == TRANSACTION
    assert await job_of(own_stage, key) == ("done", "sent", 1, 1, None)
    (order,) = [order for _, order in rail.asked]
    assert (order.rail_reference, order.fence, order.send_number, order.amount.centavos) == (key, 1, 1, 202_01)
    assert await entries(own_stage, key) == ["fee", "transfer"]
    assert await own_stage.events(key) == [(1, "baas.pix_transfer.outgoing_pix")]
    acts = await own_stage.fetch("select actor, action from audit where operation_id = $1 order by at", key)
    assert acts[-1] == ("worker", "operation.settled")


async def test_a_refusal_gives_amount_and_fee_back(own_stage: Stage, own_party: Party, worker_db: Database):
    before = await own_stage.balance(own_party)
    key = await approved(own_stage, own_party)
    await work(worker_db, Script([REFUSED]))
    assert await own_stage.status(key) == ("rejected", "rail_refused")
    assert await entries(own_stage, key) == ["fee", "fee_refund", "transfer", "transfer_refund"]
    assert await own_stage.balance(own_party) == before


async def test_after_silence_the_rail_is_asked_before_it_is_sent_again(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    rail = Script([SILENT, UNSEEN, SILENT, SENT])
    await work(worker_db, rail)
    assert await own_stage.status(key) == ("pending", None)
    assert await job_of(own_stage, key) == ("ready", "unknown", 1, 1, "no_answer")
    await make_due(own_stage)
    await work(worker_db, rail)
    await make_due(own_stage)
    await work(worker_db, rail)
    assert rail.calls == ["settle", "query", "settle", "query"]
    assert {order.rail_reference for _, order in rail.asked} == {key}
    assert [order.fence for _, order in rail.asked] == [1, 2, 2, 3]
    assert [order.send_number for _, order in rail.asked] == [1, 1, 2, 2]
    assert await own_stage.status(key) == ("sent", None)


async def test_a_worker_that_died_after_its_claim_is_followed_by_a_question(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    await claim(worker_db)
    await make_due(own_stage)
    rail = Script([SENT])
    await work(worker_db, rail)
    assert rail.calls == ["query"] and await own_stage.status(key) == ("sent", None)


async def test_a_return_whose_confirmation_got_lost_is_first_sent_and_then_returned(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party, "ted")
    await claim(worker_db)
    rail = Script([replace(RETURNED, transaction_key=TRANSACTION)] * 2)
    await make_due(own_stage)
    await work(worker_db, rail)
    assert await own_stage.status(key) == ("sent", None)
    await work(worker_db, rail)
    assert await own_stage.status(key) == ("rejected", RETURN["enumerator"])
    assert [sequence for sequence, _ in await own_stage.events(key)] == [1, 2]
    assert await entries(own_stage, key) == ["fee", "transfer", "transfer_return"]
    (row,) = await own_stage.fetch("select transaction_key from challenges where operation_id = $1", key)
    assert row == (TRANSACTION,)


async def test_a_worker_that_lost_its_lease_writes_nothing(own_stage: Stage, own_party: Party, worker_db: Database):
    key = await approved(own_stage, own_party)
    answered = await ask(worker_db, await claim(worker_db), Script([REFUSED]))
    assert answered is not None
    await make_due(own_stage)
    await claim(worker_db)
    before = await own_stage.balance(own_party)
    assert await record_answers(worker_db, answers=[answered], policy=POLICY) == [False]
    assert await own_stage.status(key) == ("pending", None) and await own_stage.balance(own_party) == before
    assert await own_stage.events(key) == []


async def test_a_worker_that_lost_its_lease_sends_nothing_again(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    _, stale, fresh = [await claim_again(own_stage, worker_db) for _ in range(3)]
    rail = Script([UNSEEN])
    assert await ask(worker_db, stale, rail) is None
    assert rail.calls == ["query"]
    assert fresh.fence == 3 and (await job_of(own_stage, key))[2] == 1


async def test_two_answers_of_one_job_in_one_batch_are_told_apart_by_their_fence(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    stale, fresh = [await claim_again(own_stage, worker_db) for _ in range(2)]
    answers = [await ask(worker_db, stale, Script([REFUSED])), await ask(worker_db, fresh, Script([SENT]))]
    given = [answer for answer in answers if answer is not None]
    assert await record_answers(worker_db, answers=given, policy=POLICY) == [False, True]
    assert await own_stage.status(key) == ("sent", None)


async def test_silence_in_the_end_is_parked_with_its_reason_and_stays_pending(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    rail = Script([SILENT] * 3)
    for _ in range(3):
        await work(worker_db, rail)
        await make_due(own_stage)
    assert await job_of(own_stage, key) == ("parked", "unknown", 1, 3, "no_answer")
    assert await own_stage.status(key) == ("pending", None)
    async with worker_db.connection() as connection:
        assert await claim_settlements(connection, most=10, lease=POLICY.lease) == []


async def test_an_accepted_one_is_asked_about_for_as_long_as_it_takes(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    for _ in range(POLICY.tries_max + 2):
        await work(worker_db, Script([ACCEPTED]))
        await make_due(own_stage)
    assert (await job_of(own_stage, key))[:2] == ("ready", "pending")
    await work(worker_db, Script([SENT]))
    assert await own_stage.status(key) == ("sent", None)


async def test_more_claims_than_a_small_number_holds_stop_nobody(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key, other = await approved(own_stage, own_party), await approved(own_stage, own_party)
    await own_stage.execute("update settlement_jobs set claim_count = 32767 where operation_id = $1", key)
    async with worker_db.connection() as connection:
        jobs = await claim_settlements(connection, most=10, lease=POLICY.lease)
    assert {job.transfer.key for job in jobs} == {key, other}


async def test_an_operation_that_is_not_what_was_shown_is_never_sent(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    async with own_stage.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(
            'update operations set facts = facts || \'{"payee_name": "Someone Else"}\' where operation_id = $1', key
        )
    rail = Script([])
    await work(worker_db, rail)
    assert rail.calls == []
    assert await job_of(own_stage, key) == ("parked", "unknown", 1, 1, "details_digest_mismatch")


async def test_a_rail_secret_that_cannot_be_opened_parks_the_job(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    await own_stage.execute(
        "update integrators set mode = 'live', rail_url = 'https://core.example.com', rail_secret_sealed = $1",
        make_keyring().sealed("whsec_AAAA", associated="elsewhere", nonce=bytes(12)),
    )
    rail = Script([])
    for _ in range(POLICY.tries_max):
        await work(worker_db, rail)
        await make_due(own_stage)
    assert rail.calls == [] and (await job_of(own_stage, key))[0] == "parked"
    assert (await job_of(own_stage, key))[4] == "key_missing"


async def test_one_row_that_cannot_be_written_fails_alone(own_stage: Stage, own_party: Party, worker_db: Database):
    keys = [await approved(own_stage, own_party) for _ in range(4)]
    await own_stage.execute(f"alter table events add check (operation_id <> '{keys[1]}')")

    async def are_sent() -> bool:
        return bool(await own_stage.value("select count(*) from challenges where status = 'sent'") == 3)

    async with working(await own_stage.worker()):
        await until(are_sent)
    assert [(await own_stage.status(key))[0] for key in keys] == ["sent", "pending", "sent", "sent"]
    await own_stage.balance(own_party)


async def test_an_operation_locked_elsewhere_keeps_no_neighbour_waiting(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    keys = [await approved(own_stage, own_party) for _ in range(4)]
    async with worker_db.connection() as connection:
        jobs = await claim_settlements(connection, most=10, lease=POLICY.lease)
    answers = [answer for job in jobs if (answer := await ask(worker_db, job, Script([SENT]))) is not None]
    held = answers[1].operation_key
    async with own_stage.locked("challenges", "operation_id", held):
        taken = await record_answers(worker_db, answers=answers, policy=POLICY, may_wait=False)
    assert taken == [True, ALONE, True, True]
    assert await own_stage.status(held) == ("pending", None)
    assert await record_answers(worker_db, answers=answers[1:2], policy=POLICY) == [True]
    assert {await own_stage.status(key) for key in keys} == {("sent", None)}


async def test_a_worker_that_was_stopped_past_its_lease_sends_nothing(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    rail = Script([SENT])
    late = replace(await claim(worker_db), held_until_ns=time.monotonic_ns())
    assert await ask(worker_db, late, rail) is None
    assert rail.asked == []
    assert await own_stage.status(key) == ("pending", None)
