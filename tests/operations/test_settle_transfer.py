"""Settling: sent once, asked before sent again, written only under the lease, parked where a person can see it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from aval.domain.keyring import Keyring
from aval.operations.coalesce import ALONE
from aval.operations.settle_transfer import Answered, RetryPolicy, ask_rail, record_answers, take_callback
from aval.ports import PayeeFound, Rail, RailAnswer, RailStatus, RailTarget, SettlementOrder
from aval.storage.database import Database
from aval.storage.settlements import SettlementJob, claim_settlements
from tests.factories import Party, make_keyring
from tests.stage import Stage, until, working

POLICY = RetryPolicy(gaps=(timedelta(0), timedelta(seconds=1)), tries_max=3, lease=timedelta(seconds=30))
TRANSACTION = UUID("c41f8b7d-9a20-4e65-b3d7-08f2a6c95e13")
SENT = RailAnswer(RailStatus.SENT, transaction_key=TRANSACTION)
REFUSED = RailAnswer(RailStatus.REJECTED, rejection_reason="rail_refused")
RETURN = {"refusal_code": 1, "enumerator": "conta_destinatario_encerrada", "description": "Target account is closed"}
RETURNED = RailAnswer(RailStatus.RETURNED, refusal=RETURN)
ACCEPTED, SILENT, UNSEEN = map(RailAnswer, (RailStatus.PENDING, RailStatus.UNKNOWN, RailStatus.NOT_FOUND))


@dataclass
class Script:
    """A rail that says what it is told to say, and keeps what it was asked; the registry of itself too."""

    answers: list[RailAnswer]
    asked: list[tuple[str, SettlementOrder]] = field(default_factory=list)

    def rail_of(self, target: RailTarget) -> Rail:
        return self

    async def settle(self, order: SettlementOrder) -> RailAnswer:
        self.asked.append(("settle", order))
        return self.answers.pop(0)

    async def query(self, order: SettlementOrder) -> RailAnswer:
        self.asked.append(("query", order))
        return self.answers.pop(0)

    async def find_pix_key(self, pix_key: str) -> PayeeFound | None:
        raise AssertionError

    @property
    def calls(self) -> list[str]:
        return [call for call, _ in self.asked]


@pytest.fixture
async def worker_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_settle")


async def payer(stage: Stage) -> Party:
    """A party that pays fees."""
    party = await stage.party()
    await stage.execute(
        "update integrators set pix_fee_centavos = 150, ted_fee_centavos = 1000 where integrator_id = $1", party.key
    )
    return party


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await payer(own_stage)


@pytest.fixture
async def party(stage: Stage) -> Party:
    return await payer(stage)


async def approved(stage: Stage, party: Party, kind: str = "pix_transfer") -> UUID:
    key = await stage.request(party, kind)
    assert (await stage.approve(party, key, kind)).status == 202
    return key


async def claim(db: Database) -> SettlementJob:
    """The one job that is due."""
    async with db.connection() as connection:
        (job,) = await claim_settlements(connection, most=10, lease=POLICY.lease)
    return job


async def claim_again(stage: Stage, db: Database) -> SettlementJob:
    """The job, as if the lease before were over."""
    await make_due(stage)
    return await claim(db)


async def ask(db: Database, job: SettlementJob, rail: Script, keyring: Keyring | None = None) -> Answered | None:
    return await ask_rail(db, job=job, rails=rail, keyring=keyring or make_keyring(), policy=POLICY)


async def work(db: Database, rail: Script) -> None:
    """Claim, ask, record."""
    answered = await ask(db, await claim(db), rail)
    assert answered is not None
    assert await record_answers(db, answers=[answered], policy=POLICY) == [True]


async def job_of(stage: Stage, key: UUID) -> tuple[Any, ...]:
    (row,) = await stage.fetch(
        "select state, rail_status, send_count, claim_count, last_error from settlement_jobs where operation_id = $1",
        key,
    )
    return row


async def make_due(stage: Stage) -> None:
    await stage.execute("update settlement_jobs set due_at = clock_timestamp() where state = 'ready'")


async def entries(stage: Stage, key: UUID) -> list[str]:
    rows = await stage.fetch("select entry_type from ledger_entries where source_id = $1 order by entry_type", key)
    return [entry for (entry,) in rows]


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


async def test_a_worker_that_was_stopped_past_its_lease_begins_no_send(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    await approved(own_stage, own_party)
    async with worker_db.connection() as connection:
        (job,) = await claim_settlements(connection, most=10, lease=timedelta(0))
    rail = Script([])
    assert await ask(worker_db, job, rail) is None and rail.calls == []


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


async def test_a_worker_that_was_stopped_past_its_lease_sends_nothing(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    key = await approved(own_stage, own_party)
    rail = Script([SENT])
    late = replace(await claim(worker_db), held_until=time.monotonic())
    assert await ask(worker_db, late, rail) is None
    assert rail.asked == []
    assert await own_stage.status(key) == ("pending", None)
