"""Items of a batch settle like single transfers; their webhooks count in the batch, and its last one ends it."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from aval.domain.batch import BatchItem, BatchRequest
from aval.domain.transfer import Kind
from aval.operations.coalesce import ALONE
from aval.operations.settle_transfer import Answered, record_answers, take_callback
from aval.ports import RailAnswer
from aval.storage.database import Database
from aval.storage.settlements import SettlementJob, claim_settlements
from tests.batches import approve, batch_request, item, items
from tests.factories import Party
from tests.operations.settling import (
    POLICY,
    REFUSED,
    RETURN,
    RETURNED,
    SENT,
    SILENT,
    Script,
    ask,
    entries,
    make_due,
    payer,
)
from tests.stage import Stage, until, working

PIX, TED = Kind.PIX_TRANSFER_BATCH, Kind.TED_BATCH
OF_ITEM = {PIX: "baas.pix_transfer.outgoing_pix", TED: "baas.ted.outgoing_ted"}
FINISHED = {PIX: "aval.pix_transfer_batch.finished", TED: "aval.ted_batch.finished"}


@pytest.fixture
async def worker_db(own_stage: Stage) -> Database:
    return await own_stage.open_as("aval_app_settle")


@pytest.fixture
async def own_party(own_stage: Stage) -> Party:
    return await payer(own_stage)


def items_of(kind: Kind, *centavos: int) -> tuple[BatchItem, ...]:
    return items(*centavos) if kind is PIX else tuple(item(amount, pix_transfer_type=None) for amount in centavos)


async def approved(stage: Stage, party: Party, *centavos: int, kind: Kind = PIX) -> BatchRequest:
    """A batch whose items wait for the rail, in the order of their amounts here."""
    request = await batch_request(stage, party, kind=kind, items=items_of(kind, *centavos))
    await stage.desk.request_batch(request)
    await approve(stage, party, request.key, kind)
    return request


async def claimed(db: Database, request: BatchRequest) -> list[SettlementJob]:
    """The jobs that are due, in the order of the items."""
    async with db.connection() as connection:
        jobs = await claim_settlements(connection, most=1_000, lease=POLICY.lease)
    places = {asked.key: place for place, asked in enumerate(request.items)}
    return sorted(jobs, key=lambda job: places[job.transfer.key])


async def asked(db: Database, jobs: Sequence[SettlementJob], *said: RailAnswer) -> list[Answered]:
    answers = [await ask(db, job, Script([answer])) for job, answer in zip(jobs, said, strict=True)]
    return [answer for answer in answers if answer is not None]


async def settle(db: Database, request: BatchRequest, *said: RailAnswer) -> None:
    """Claim all that is due, let the rail say so of each item, and record it together."""
    answers = await asked(db, await claimed(db, request), *said)
    assert await record_answers(db, answers=answers, policy=POLICY) == [True] * len(said)


async def told(stage: Stage, key: UUID) -> list[tuple[int, str, UUID | None, str]]:
    """Sequence, type, item and kind of the webhooks of a batch."""
    return await stage.fetch(
        "select sequence, event_type, item_id, operation_kind from events where operation_id = $1 order by sequence",
        key,
    )


async def end_of(stage: Stage, key: UUID, kind: Kind = PIX) -> dict[str, Any]:
    """`data` of the one webhook that tells the end of a batch."""
    (row,) = await stage.fetch(
        "select body from events where operation_id = $1 and event_type = $2", key, FINISHED[kind]
    )
    data: dict[str, Any] = json.loads(row[0])["data"]
    return data


async def statuses(stage: Stage, request: BatchRequest) -> list[str]:
    return [(await stage.status(asked.key))[0] for asked in request.items]


@pytest.mark.parametrize("kind", [PIX, TED])
async def test_every_item_is_told_in_the_sequence_of_its_batch_and_then_its_end(
    own_stage: Stage, own_party: Party, worker_db: Database, kind: Kind
):
    request = await approved(own_stage, own_party, 1500_00, 80_50, 42_00, kind=kind)
    await settle(worker_db, request, SENT, SENT, SENT)
    assert await statuses(own_stage, request) == ["sent"] * 3
    *of_items, last = await told(own_stage, request.key)
    single = "pix_transfer" if kind is PIX else "ted"
    assert [row[0] for row in of_items] == [1, 2, 3]
    assert {row[1:] for row in of_items} == {(OF_ITEM[kind], asked.key, single) for asked in request.items}
    assert last == (4, FINISHED[kind], None, kind.value)
    end = await end_of(own_stage, request.key, kind)
    assert (end["items_pending"], end["items_sent"], end["items_rejected"]) == (0, 3, 0)
    assert (end[f"{kind}_status"], end["item_count"], end["total_amount"]) == ("approved", 3, 1622.5)
    assert await own_stage.value("select event_sequence from challenges where operation_id = $1", request.key) == 4
    assert await own_stage.value("select sum(event_sequence) from challenges where status = 'sent'") == 0


async def test_a_refused_item_gives_its_own_amount_and_fee_back(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    before = await own_stage.balance(own_party)
    request = await approved(own_stage, own_party, 1500_00, 80_50)
    assert await own_stage.balance(own_party) == before - 1580_50 - 300
    await settle(worker_db, request, SENT, REFUSED)
    assert await own_stage.balance(own_party) == before - 1500_00 - 150
    assert await entries(own_stage, request.key) == ["fee", "transfer"]
    assert await entries(own_stage, request.items[1].key) == ["fee_refund", "transfer_refund"]
    end = await end_of(own_stage, request.key)
    assert (end["items_pending"], end["items_sent"], end["items_rejected"]) == (0, 1, 1)


async def test_a_batch_is_finished_when_its_last_item_is_and_not_before(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    request = await approved(own_stage, own_party, 1_00, 2_00, 3_00)
    await settle(worker_db, request, SENT, SILENT, SENT)
    assert [row[1] for row in await told(own_stage, request.key)] == [OF_ITEM[PIX]] * 2
    was = await own_stage.value("select updated_at from challenges where operation_id = $1", request.key)
    await make_due(own_stage)
    await settle(worker_db, request, SENT)
    assert [row[0] for row in await told(own_stage, request.key)] == [1, 2, 3, 4]
    assert (await end_of(own_stage, request.key))["items_sent"] == 3
    assert await own_stage.value("select updated_at from challenges where operation_id = $1", request.key) > was


async def test_a_return_after_the_end_is_told_of_the_item_alone(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    before = await own_stage.balance(own_party)
    request = await approved(own_stage, own_party, 1_00, 2_00, kind=TED)
    await settle(worker_db, request, SENT, SENT)
    key = request.items[1].key
    for _ in range(2):
        assert await take_callback(
            worker_db, integrator_key=own_party.key, rail_reference=key, answer=RETURNED, policy=POLICY
        )
    assert await own_stage.status(key) == ("rejected", RETURN["enumerator"])
    rows = await told(own_stage, request.key)
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    assert [row[1] for row in rows] == [OF_ITEM[TED], OF_ITEM[TED], FINISHED[TED], OF_ITEM[TED]]
    assert rows[-1][2] == key
    assert await own_stage.balance(own_party) == before - 1_00 - 2_000  # the fee of a returned TED is kept


async def test_a_return_that_overtakes_the_last_confirmation_ends_the_batch_once(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    request = await approved(own_stage, own_party, 1_00, kind=TED)
    key = request.items[0].key
    assert await take_callback(
        worker_db, integrator_key=own_party.key, rail_reference=key, answer=RETURNED, policy=POLICY
    )
    assert [row[1] for row in await told(own_stage, request.key)] == [OF_ITEM[TED], FINISHED[TED], OF_ITEM[TED]]


async def test_a_return_whose_confirmations_got_lost_ends_the_batch_and_then_returns_the_items(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    before = await own_stage.balance(own_party)
    request = await approved(own_stage, own_party, 1_00, 2_00, kind=TED)
    await settle(worker_db, request, RETURNED, RETURNED)
    assert await statuses(own_stage, request) == ["sent", "sent"]
    assert (await end_of(own_stage, request.key, TED))["items_sent"] == 2
    await make_due(own_stage)
    await settle(worker_db, request, RETURNED, RETURNED)
    assert await statuses(own_stage, request) == ["rejected", "rejected"]
    assert [row[0] for row in await told(own_stage, request.key)] == [1, 2, 3, 4, 5]
    assert await own_stage.balance(own_party) == before - 2_000  # the fees of returned TEDs are kept


async def test_a_lost_lease_counts_nothing(own_stage: Stage, own_party: Party, worker_db: Database):
    request = await approved(own_stage, own_party, 1_00, 2_00)
    late = await asked(worker_db, await claimed(worker_db, request), REFUSED, REFUSED)
    await make_due(own_stage)
    await settle(worker_db, request, SENT, SENT)
    assert await record_answers(worker_db, answers=late, policy=POLICY) == [False, False]
    assert [row[0] for row in await told(own_stage, request.key)] == [1, 2, 3]
    assert await statuses(own_stage, request) == ["sent", "sent"]


async def test_workers_that_share_a_batch_tell_its_end_once_and_leave_no_gap(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    batches = [await approved(own_stage, own_party, *[1_00] * 30) for _ in range(2)]
    async with worker_db.connection() as connection:
        jobs = await claim_settlements(connection, most=100, lease=POLICY.lease)
    answers = await asked(worker_db, jobs, *[SENT] * 60)
    shares = [answers[start::6] for start in range(6)]  # every share has items of both
    taken = await asyncio.gather(*(record_answers(worker_db, answers=share, policy=POLICY) for share in shares))
    assert taken == [[True] * 10] * 6
    for request in batches:
        rows = await told(own_stage, request.key)
        assert [row[0] for row in rows] == list(range(1, 32))
        assert Counter(row[1] for row in rows) == {OF_ITEM[PIX]: 30, FINISHED[PIX]: 1}
        assert rows[-1][1] == FINISHED[PIX]


async def test_an_item_that_is_locked_elsewhere_keeps_no_other_waiting(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    request = await approved(own_stage, own_party, 1_00, 2_00)
    answers = await asked(worker_db, await claimed(worker_db, request), SENT, SENT)
    async with own_stage.locked("challenges", "operation_id", request.items[0].key):
        taken = await record_answers(worker_db, answers=answers, policy=POLICY, may_wait=False)
    assert taken == [ALONE, True]
    assert await statuses(own_stage, request) == ["pending", "sent"]
    assert await record_answers(worker_db, answers=answers[:1], policy=POLICY) == [True]
    assert len(await told(own_stage, request.key)) == 3


SCRIPTED = {  # spec transfers.md §10, by the centavos of an item: what a Pix and a TED come to
    91: ("sent", "sent"),
    92: ("rejected", "rejected"),
    93: ("rejected", "rejected"),
    94: ("sent", "sent"),
    95: ("sent", "rejected"),
    96: ("sent", "sent"),
    97: ("pending", "pending"),
    98: ("sent", "sent"),
    99: ("rejected", "rejected"),
}


@pytest.mark.parametrize("settlement_mode", ["async", "sync"])
async def test_the_sandbox_plays_its_script_for_items_of_either_kind(own_stage: Stage, settlement_mode: str):
    """In sync mode, too, "later" is two seconds after the approval: nobody waits for an item."""
    party = await own_stage.party(settlement_mode=settlement_mode)
    before = await own_stage.balance(party)
    batches = [await approved(own_stage, party, *(100 + n for n in SCRIPTED), kind=kind) for kind in (PIX, TED)]
    expected = [[ends[place] for ends in SCRIPTED.values()] for place in (0, 1)]
    async with working(await own_stage.worker()):

        async def is_over() -> bool:
            return [await statuses(own_stage, request) for request in batches] == expected

        await until(is_over)
    for request, ends in zip(batches, expected, strict=True):
        rows = await told(own_stage, request.key)
        assert not any(row[1] in FINISHED.values() for row in rows)  # one item stays pending
        told_of = Counter(row[2] for row in rows)
        assert [told_of[asked.key] for asked in request.items] == [
            {"pending": 0}.get(end, 1 + (request.kind is TED and n == 95))
            for n, end in zip(SCRIPTED, ends, strict=True)
        ]
    kept = sum(100 + n for place in (0, 1) for n, ends in SCRIPTED.items() if ends[place] != "rejected")
    assert await own_stage.balance(party) == before - kept
    assert (
        await own_stage.value("select max(count) from (select count(*) from ledger_entries group by source_id) s") == 1
    )


async def test_a_thousand_items_settle_once_each(own_stage: Stage):
    party = await own_stage.party()
    before = await own_stage.balance(party)
    request = await approved(own_stage, party, *[1_23] * 1_000)
    async with working(await own_stage.worker()), working(await own_stage.worker()):

        async def is_over() -> bool:
            return len(await told(own_stage, request.key)) == 1_001

        await until(is_over)
    assert await own_stage.fetch("select max(send_count), count(*) from settlement_jobs") == [(1, 1_000)]
    assert await own_stage.value("select count(distinct item_id) from events") == 1_000
    assert await own_stage.balance(party) == before - 1_230_00


async def test_events_of_items_name_the_item_and_are_found_by_it_and_by_its_batch(
    own_stage: Stage, own_party: Party, worker_db: Database
):
    request = await approved(own_stage, own_party, 1_00, 2_00)
    await settle(worker_db, request, SENT, SENT)

    async def origins(query: str = "") -> set[tuple[str, str]]:
        reply = await own_stage.call(own_party, "GET", f"/notification/events{query}")
        return {(row["origin_enumerator"], row["origin_key"]) for row in reply.json["data"]}

    of_items = [("pix_transfer", str(asked.key)) for asked in request.items]
    everything = {*of_items, ("pix_transfer_batch", str(request.key))}
    assert await origins() == await origins(f"?origin_key={request.key}") == everything
    assert await origins(f"?origin_key={request.items[1].key}") == {of_items[1]}
