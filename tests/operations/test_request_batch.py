"""A batch is judged as one request for its total, and exists with all its items or not at all."""

import asyncio
import hashlib
from collections import Counter
from uuid import uuid4

import pytest

from aval.domain.batch import item_details_of
from aval.domain.budget import BudgetFigures
from aval.domain.errors import Refusal
from aval.domain.keyring import Purpose
from aval.domain.money import Brl
from aval.domain.principal import PrincipalStale
from aval.domain.transfer import Kind, Method, canonical, details_digest_of, details_of
from aval.operations.request_transfer import Rules
from aval.storage.database import LockNotWon
from aval.storage.requests import read_operation
from aval.storage.transfer_lists import TransferFilter, list_transfers
from tests.batches import (
    AMOUNTS,
    CountingDatabase,
    again,
    batch_request,
    item,
    items,
    keys_of,
    outcomes,
    request_in,
    requested,
    seen,
    stored_of,
)
from tests.changed import replace
from tests.factories import Party, make_keyring
from tests.stage import PENDING, Stage

END_TO_END_ID = "E12345678202611231430aB3dE5fG7h9"
NOTHING = [0, 0, 0, 0]


def new_end_to_end_id() -> str:
    return f"E12345678202611231430{uuid4().hex[:11]}"


async def test_a_batch_is_one_operation_and_its_items_wait_for_it(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    made = await stage.desk.request_batch(request)
    batch, challenge = made.transfer, made.challenge
    assert not made.is_replay and challenge.is_pending and challenge.kid == make_keyring().current(Purpose.TOKEN).kid
    assert (batch.amount, batch.fee, batch.item_count) == (Brl(sum(AMOUNTS)), Brl(0), 3)
    assert await stored_of(stage, *keys_of(request)) == [4, 1, 0, 1]
    assert await seen(stage, party, *keys_of(request)) == [PENDING] * 4
    async with stage.db.connection() as connection:
        stored = await read_operation(connection, party.key, batch.key)
    assert stored == (batch, challenge)


async def test_every_item_is_stored_as_asked_and_has_the_fee_of_a_single(stage: Stage):
    party = await stage.party()
    await stage.execute("update accounts set ted_fee_centavos = 150 where account_id = $1", party.account.key)
    request = await batch_request(stage, party, kind=Kind.TED_BATCH, items=items(*range(1, 251)))
    made = await stage.desk.request_batch(request)
    wanted = TransferFilter(party.key, party.account.key, Kind.TED, batch_key=request.key)
    async with stage.db.connection() as connection:
        listed = [transfer for transfer, _ in await list_transfers(connection, wanted, offset=0, limit=300)]
    assert [transfer.key for transfer in listed] == [asked.key for asked in request.items]
    assert [transfer.amount.centavos for transfer in listed] == list(range(1, 251))
    assert {(t.fee.centavos, t.batch_key, t.kind) for t in listed} == {(150, request.key, Kind.TED)}
    assert [transfer.item_no for transfer in listed] == list(range(1, 251))
    assert all(details_digest_of(transfer) == transfer.details_digest for transfer in listed)
    assert made.transfer.fee == Brl(250 * 150)
    shown = canonical([item_details_of(transfer) for transfer in listed])
    assert details_of(made.transfer)["items_digest"] == hashlib.sha256(shown).hexdigest()


async def test_items_are_listed_narrowed_down_and_paged(stage: Stage, party: Party):
    request = await batch_request(stage, party, items=items(*range(1, 36)))
    await stage.desk.request_batch(request)
    await requested(stage, party)
    wanted = TransferFilter(party.key, party.account.key, Kind.PIX_TRANSFER, batch_key=request.key)
    third = request.items[2]

    async def listed(wanted: TransferFilter, offset: int = 0, limit: int = 31) -> list[int]:
        async with stage.db.connection() as connection:
            rows = await list_transfers(connection, wanted, offset=offset, limit=limit)
        return [transfer.amount.centavos for transfer, _ in rows]

    assert await listed(wanted) == list(range(1, 32))
    assert await listed(wanted, offset=30) == [31, 32, 33, 34, 35]
    assert await listed(replace(wanted, request_control_key=third.request_control_key)) == [3]
    assert await listed(replace(wanted, status="pending_2fa_approval"), limit=2) == [1, 2]
    assert await listed(replace(wanted, status="sent")) == []
    assert await listed(replace(wanted, batch_key=None, kind=Kind.PIX_TRANSFER_BATCH)) == [630, sum(AMOUNTS)]
    assert len(await listed(replace(wanted, batch_key=None), limit=100)) == 38


async def test_the_same_batch_again_is_a_replay_of_what_it_is_now(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    first = await stage.desk.request_batch(request)
    second = await stage.desk.request_batch(replace(request, key=uuid4(), items=again(*request.items)))
    assert second.is_replay and (second.transfer, second.challenge) == (first.transfer, first.challenge)
    with pytest.raises(Refusal, match="pix_batch.idempotency_conflict"):
        await stage.desk.request_batch(replace(request, fingerprint=b"g" * 32))
    assert await stored_of(stage, *keys_of(request)) == [4, 1, 0, 1]


async def test_the_key_of_a_batch_may_be_the_key_of_an_item(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    request = replace(request, request_control_key=request.items[0].request_control_key)
    assert not (await stage.desk.request_batch(request)).is_replay


async def test_faulty_items_are_named_and_nothing_of_the_batch_exists(stage: Stage, party: Party):
    used = await requested(stage, party, items=(item(1, end_to_end_id=END_TO_END_ID),))
    async with stage.db.connection() as connection:
        wanted = TransferFilter(party.key, party.account.key, Kind.PIX_TRANSFER, batch_key=used.transfer.key)
        ((stored, _),) = await list_transfers(connection, wanted, offset=0, limit=1)
    good = item(5)
    asked = (
        good,
        item(6, request_control_key=stored.request_control_key),
        item(7, end_to_end_id=END_TO_END_ID),
        item(8, request_control_key=good.request_control_key),
        item(9, payee=None, refusal=Refusal("pix.invalid_pix_key", extra_fields={"reason": "format"})),
    )
    request = await batch_request(stage, party, items=asked)
    with pytest.raises(Refusal, match="pix_batch.invalid_batch_item") as refused:
        await stage.desk.request_batch(request)
    told = [(fault["index"], fault["code"]) for fault in refused.value.extra_fields["items"]]
    assert told == [(1, "PXT000902"), (2, "PXT000907"), (3, "PXT000902"), (4, "PXT000916")]
    assert await stored_of(stage, *keys_of(request)) == NOTHING


REFUSALS = {
    "account unknown": ({"account_key": uuid4()}, None, "account_not_found"),
    "account blocked": ({}, "update accounts set status = 'blocked' where account_id = $1", "account_unavailable"),
    "tfa_info missing": ({"refusal": Refusal("pix.tfa_info_required")}, None, "tfa_info_required"),
    "power missing": (
        {},
        "update account_approvers set powers = '{pix_transfer,ted_batch}' where account_id = $1",
        "approver_not_allowed",
    ),
    "total above maximum": (
        {},
        f"update account_approvers set max_amount_centavos = {sum(AMOUNTS) - 1} where account_id = $1",
        "approver_not_allowed",
    ),
    "device": ({"method": Method.DEVICE}, None, "device_not_available"),
    "one centavo short": (
        {},
        f"update accounts set balance_centavos = {sum(AMOUNTS) + 29}, pix_fee_centavos = 10 where account_id = $1",
        "insufficient_funds",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refused_batch_leaves_nothing(stage: Stage, party: Party, case: str):
    change, statement, name = REFUSALS[case]
    if statement:
        await stage.execute(statement, party.account.key)
    request = await batch_request(stage, party, **change)
    with pytest.raises(Refusal, match=name):
        await stage.desk.request_batch(request)
    assert await stored_of(stage, *keys_of(request)) == NOTHING


async def test_a_balance_that_is_exactly_enough_is_enough(stage: Stage, party: Party):
    await stage.execute(
        "update accounts set balance_centavos = $2, pix_fee_centavos = 10 where account_id = $1",
        party.account.key,
        sum(AMOUNTS) + 30,
    )
    assert (await requested(stage, party)).transfer.debit == Brl(sum(AMOUNTS) + 30)


async def test_a_channel_that_is_switched_off_takes_no_batch(stage: Stage):
    party = await stage.party(mode="live", budgets=False, ted_hours=False)
    await stage.execute("update contacts set usable_at = created_at where integrator_id = $1", party.key)
    request = await batch_request(stage, party)
    with pytest.raises(Refusal, match="channel_closed_on_create"):
        await request_in(stage.parts.db, request, rules=Rules(closed_channels=frozenset({"sms"})))
    assert await request_in(stage.parts.db, request)


async def test_a_stale_caller_asks_again(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    await stage.execute("update integrators set version = version + 1 where integrator_id = $1", party.key)
    with pytest.raises(PrincipalStale):
        await stage.desk.request_batch(request)


@pytest.mark.parametrize("shared", ["request_control_key", "end_to_end_id"])
async def test_of_batches_that_share_an_item_exactly_one_exists(own_stage: Stage, shared: str):
    party = await own_stage.party()
    twin = {"request_control_key": uuid4()} if shared == "request_control_key" else {"end_to_end_id": END_TO_END_ID}
    requests = [await batch_request(own_stage, party, items=(*items(1, 2), item(3, **twin))) for _ in range(6)]
    results = await outcomes(*(request_in(own_stage.parts.db, request) for request in requests))
    refused = [result for result in results if isinstance(result, Refusal)]
    assert [r.name for r in refused] == ["pix_batch.invalid_batch_item"] * 5
    code = "PXT000902" if shared == "request_control_key" else "PXT000907"
    assert {str(r.extra_fields["items"]) for r in refused} == {
        str([{"index": 2, "request_control_key": str(request.items[2].request_control_key), "code": code}])
        for request in requests
        if isinstance(results[requests.index(request)], Refusal)
    }
    assert await own_stage.value("select count(*) from operations") == 4
    assert await own_stage.value("select count(*) from challenges") == 1
    assert await own_stage.value("select count(*) from outbox") == 1


async def test_the_same_batch_at_the_same_moment_is_made_once(own_stage: Stage):
    party = await own_stage.party()
    request = await batch_request(own_stage, party)
    calls = [replace(request, key=uuid4(), items=again(*request.items)) for _ in range(6)]
    results = await outcomes(*(request_in(own_stage.parts.db, call) for call in calls))
    assert Counter(result.is_replay for result in results) == {False: 1, True: 5}
    assert len({result.transfer.key for result in results}) == 1
    assert await own_stage.value("select count(*) from operations") == 4


async def test_a_single_and_a_batch_that_race_for_one_key_never_both_have_it(own_stage: Stage):
    party = await own_stage.party()
    ways = set()
    for _ in range(12):
        key = uuid4()
        request = await batch_request(own_stage, party, items=(*items(1, 2), item(3, request_control_key=key)))
        single, batch = await outcomes(
            own_stage.create(party, request_control_key=str(key)), own_stage.desk.request_batch(request)
        )
        is_batch_made = not isinstance(batch, Refusal)
        assert single.status == (409 if is_batch_made else 202), single.body
        assert single.code == ("PXT000902" if is_batch_made else None)
        assert await stored_of(own_stage, *keys_of(request)) == ([4, 1, 0, 1] if is_batch_made else NOTHING)
        ways.add(is_batch_made)
    assert ways


async def test_with_budgets_the_same_batch_is_made_once_and_ten_may_wait(own_stage: Stage):
    party = await own_stage.party(budgets=True)
    await own_stage.execute("update contacts set usable_at = created_at")
    request = await batch_request(own_stage, party)
    calls = [replace(request, key=uuid4(), items=again(*request.items)) for _ in range(4)]
    async with own_stage.locked("approvers", "approver_id", party.approver.key):  # until all were judged once
        made = asyncio.create_task(outcomes(*(request_in(own_stage.parts.db, call) for call in calls)))
        await asyncio.sleep(0.3)
        assert not made.done()
    assert Counter(result.is_replay for result in await made) == {False: 1, True: 3}
    rules = Rules(figures=BudgetFigures(approver_unanswered_10min_max=100))
    others = [await batch_request(own_stage, party) for _ in range(12)]
    results = await outcomes(*(request_in(own_stage.parts.db, other, rules=rules) for other in others))
    refused = [str(result.extra_fields) for result in results if isinstance(result, Refusal)]
    assert refused == ["{'reason': 'pending_operations_limit'}"] * 3
    assert await own_stage.value("select count(*) from challenges") == 10


async def test_an_item_is_no_twin_of_a_single_even_under_one_fingerprint(stage: Stage, party: Party):
    """The canonical body of an item is that of a single without `tfa_info`."""
    single = await stage.create(party, request_control_key=(key := str(uuid4())))
    (fingerprint,) = (
        await stage.fetch(
            "select request_fingerprint from operations where operation_id = $1", single.json["pix_transfer_key"]
        )
    )[0]
    other = await stage.party()
    await requested(stage, other, items=(item(1, request_control_key=key, fingerprint=fingerprint),))
    assert (await stage.create(other, request_control_key=key)).code == "PXT000902"


_COPY = (
    "insert into operations select * from jsonb_populate_record((select o from operations o where operation_id = $1),"
    " jsonb_build_object('operation_id', $2::text, 'request_control_key', $2::text, 'end_to_end_id', $3::text))"
)


async def test_batches_that_wait_for_each_other_crosswise_are_judged_again(own_stage: Stage):
    """The database ends one of two transactions that lock each other; its batch then meets the other one's items."""
    party = await own_stage.party()
    low, high = (f"00000000-0000-4000-8000-{n:012d}" for n in (1, 2))
    first, second = new_end_to_end_id(), new_end_to_end_id()
    batch = await batch_request(
        own_stage,
        party,
        items=(
            item(1, request_control_key=low, end_to_end_id=second),
            item(2, request_control_key=high, end_to_end_id=first),
        ),
    )
    single = (await own_stage.create(party)).json["pix_transfer_key"]
    async with own_stage.db.transaction() as connection:
        await connection.execute(_COPY, single, str(uuid4()), first)
        waiting = asyncio.create_task(request_in(own_stage.parts.db, batch))
        await asyncio.sleep(0.3)
        await connection.execute(_COPY, single, str(uuid4()), second)
    with pytest.raises(Refusal, match="invalid_batch_item"):
        await waiting
    assert await stored_of(own_stage, *keys_of(batch)) == NOTHING


async def test_a_batch_whose_key_stays_taken_by_nobody_known_gives_up(own_stage: Stage):
    """A collision that judging again cannot see ends as a lock that was not won, and nothing is stored."""
    party = await own_stage.party()
    request = await batch_request(own_stage, party)
    await own_stage.desk.request_batch(request)
    other = replace(request, request_control_key=uuid4(), items=items(1))  # only Aval's own key is taken
    with pytest.raises(LockNotWon):
        await own_stage.desk.request_batch(other)
    assert await own_stage.value("select count(*) from operations") == 4


async def test_a_killed_process_leaves_nothing_of_a_batch(own_stage: Stage):
    party = await own_stage.party()
    request = await batch_request(own_stage, party)
    key = request.items[1].request_control_key
    await own_stage.execute(f"alter table operations add check (request_control_key <> '{key}')")
    with pytest.raises(Exception, match="check constraint"):
        await own_stage.desk.request_batch(request)
    assert await stored_of(own_stage, *keys_of(request)) == NOTHING


async def test_a_thousand_items_cost_a_handful_of_statements(own_stage: Stage):
    party = await own_stage.party()
    request = await batch_request(own_stage, party, items=items(*range(1, 1001)))
    counted = CountingDatabase(own_stage.parts.db)
    await request_in(counted, request)  # type: ignore[arg-type]
    assert counted.statements <= 8
    assert await own_stage.value("select count(*) from operations") == 1001
