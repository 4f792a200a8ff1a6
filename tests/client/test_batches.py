"""Batches through both clients, against a real API and a real worker."""

from decimal import Decimal
from uuid import uuid4

import pytest

from aval.client import (
    ApiKey,
    Approver,
    ArgumentNotValid,
    Batch,
    NoAnswer,
    PixItem,
    PixKey,
    Refused,
    Retry,
    TedItem,
)
from tests.client.faulty_server import Fault, running_faulty_server
from tests.client.flows import TARGET, OverTheWire, rows_of, token_of
from tests.devices.authenticator import AppKey
from tests.devices.registering import Enrollment
from tests.devices.signing import Signing
from tests.stage import until, wrong

ITEMS = {"pix": PixItem, "ted": TedItem}


@pytest.fixture(params=ITEMS)
def kind(request) -> str:
    return request.param


def items_of(kind: str, *amounts: str) -> list:
    return [ITEMS[kind](amount=Decimal(amount), target=TARGET) for amount in amounts]


def calls_of(aval, kind: str):
    """The calls of one kind, by their verb."""

    class Calls:
        def __getattr__(self, verb: str):
            plural = "es" if verb == "list" else ""
            return getattr(aval, f"{verb}_{kind}_batch{plural}")

    return Calls()


async def created(aval, kind: str, party, *amounts: str, **more):
    approver = Approver(party.document_number)
    asked = {"items": items_of(kind, *amounts), "approver": approver} | more
    return await calls_of(aval, kind).create(party.account.key, **asked)


async def test_a_batch_goes_from_request_to_its_last_item(aval, party, kind) -> None:
    account, calls, control_key = party.account.key, calls_of(aval, kind), uuid4()
    batch = await created(aval, kind, party, "1500", "80.99", "2.5", request_control_key=control_key)
    assert isinstance(batch, Batch)
    assert (batch.status, batch.request_control_key, batch.item_count) == ("pending_2fa_approval", control_key, 3)
    assert batch.total_amount == Decimal("1583.49") and batch.approval.attempts_remaining == 5
    waiting = await calls.get(account, batch.key)
    assert (waiting.items_pending, waiting.approval) == (3, batch.approval)

    approved = await calls.validate(account, batch.key, await token_of(aval, batch.key))
    assert (approved.key, approved.status, approved.item_count) == (batch.key, "approved", None)

    async def settled():
        seen = await calls.get(account, batch.key)
        return None if seen.items_pending else seen

    seen = await until(settled)
    assert (seen.items_sent, seen.items_rejected, seen.fee, seen.rejection_reason) == (2, 1, batch.fee, None)
    assert await rows_of(calls.each(account, request_control_key=control_key, status="approved")) == [seen]

    list_items = getattr(aval, f"list_{kind}_batch_items")
    rejected = (await list_items(account, batch.key, status="rejected")).rows
    assert [row.status for row in rejected] == ["rejected"]
    one = await getattr(aval, f"get_{kind}")(account, rejected[0].key)
    assert (one.batch_key, one.amount) == (batch.key, Decimal("80.99"))


async def test_a_refused_batch_names_its_items_and_does_not_exist(aval, party) -> None:
    first, second = items_of("pix", "1", "2")
    twice = PixItem(amount=Decimal(3), target=TARGET, request_control_key=first.request_control_key)
    stray = PixItem(amount=Decimal(4), target=PixKey("nobody", "E12345678202611231430aB3dE5fG7h9"))
    with pytest.raises(Refused) as refused:
        await aval.create_pix_batch(
            party.account.key, items=[first, second, twice, stray], approver=Approver(party.document_number)
        )
    error = refused.value
    assert (error.status, error.code, error.snapshot, error.tries) == (400, "PXT000917", None, 1)
    told = {(item.index, item.request_control_key, item.code) for item in error.refused_items}
    assert told >= {
        (2, first.request_control_key, "PXT000902"),
        (3, stray.request_control_key, "PXT000916"),
    }
    assert (await aval.list_pix_batches(party.account.key)).rows == []


async def test_a_field_that_does_not_fit_is_named_with_the_place_of_its_item(aval, party) -> None:
    for items, field in (([], "teds"), ([*items_of("ted", "1"), _without_branch()], "teds[1].target_account")):
        with pytest.raises(Refused) as refused:
            await aval.create_ted_batch(party.account.key, items=items, approver=Approver(party.document_number))
        assert refused.value.code == "QIT000001" and refused.value.refused_items == ()
        assert refused.value.wrong_fields[0].field.startswith(field)


def _without_branch() -> TedItem:
    told = {name: getattr(TARGET, name) for name in TARGET.__slots__}
    return TedItem(amount=Decimal(1), target=type(TARGET)(**told | {"account_branch": "x"}))


async def test_a_rejected_batch_is_told_with_the_refusal(aval, party, kind) -> None:
    account, calls = party.account.key, calls_of(aval, kind)
    batch = await created(aval, kind, party, "1", "2")
    token = wrong(await token_of(aval, batch.key))
    for _ in range(5):
        with pytest.raises(Refused) as refused:
            await calls.validate(account, batch.key, token)
    snapshot = refused.value.snapshot
    assert isinstance(snapshot, Batch) and (snapshot.key, snapshot.status) == (batch.key, "rejected")
    with pytest.raises(Refused) as refused:  # told under the names of the single kind, too
        await calls.resend(account, batch.key)
    assert refused.value.snapshot == snapshot
    seen = await calls.get(account, batch.key)
    assert (seen.items_rejected, seen.rejection_reason) == (2, "attempts_exceeded")


async def test_a_batch_is_resent_and_cancelled(aval, party, kind) -> None:
    account, calls = party.account.key, calls_of(aval, kind)
    batch = await created(aval, kind, party, "1")
    await aval.advance(batch.key, 60)
    resent = await calls.resend(account, batch.key, "email")
    assert (resent.key, resent.approval.generation, resent.approval.method) == (batch.key, 2, "email")
    assert (await calls.cancel(account, batch.key)).status == "cancelled"
    assert (await calls.list(account, status="cancelled")).rows[0].key == batch.key


async def test_an_items_key_opens_no_call_of_singles(aval, party) -> None:
    batch = await created(aval, "pix", party, "1")
    item = (await aval.list_pix_batch_items(party.account.key, batch.key)).rows[0]
    assert item.status == "pending_2fa_approval"
    with pytest.raises(Refused) as refused:
        await aval.validate_pix(party.account.key, item.key, await token_of(aval, batch.key))
    assert refused.value.code == "PXT000023"


async def test_a_walk_goes_through_every_page_in_order(aval, party, kind) -> None:
    items = items_of(kind, *(["1.00"] * 35))
    batch = await created(aval, kind, party, items=items)
    each_item = getattr(aval, f"each_{kind}_batch_item")
    for size in (None, 10):
        rows = await rows_of(each_item(party.account.key, batch.key, page_size=size))
        assert [row.request_control_key for row in rows] == [item.request_control_key for item in items]
    rows = await rows_of(each_item(party.account.key, batch.key, page=3, page_size=10))
    assert [row.request_control_key for row in rows] == [item.request_control_key for item in items[20:]]
    assert await rows_of(each_item(party.account.key, batch.key, status="sent")) == []


async def test_a_batch_is_approved_on_a_device(api, aval, party, kind) -> None:
    """By its session: validate takes no token, and is refused before the device has signed."""
    enrollment = Enrollment(OverTheWire(api.url), party, AppKey())
    assert (await enrollment.requested()).status == 202
    assert (await enrollment.validate(await token_of(aval, enrollment.device_key))).status == 201

    calls, session = calls_of(aval, kind), uuid4()
    approver = Approver(party.document_number, "device", session)
    batch = await created(aval, kind, party, "1", "2", approver=approver)
    assert (batch.approval.method, batch.approval.attempts_remaining) == ("device", None)
    with pytest.raises(Refused) as refused:
        await calls.validate(party.account.key, batch.key)
    assert (refused.value.status, refused.value.code[3:]) == (409, "000905")
    assert (await Signing(enrollment, session_id=session).sign()).status == 200
    assert (await calls.validate(party.account.key, batch.key)).status == "approved"


@pytest.mark.parametrize("credential", ["bearer", "signed"])
@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.CUT])
async def test_answers_that_are_lost_make_one_batch_approved_once(
    api, client_of, party, signing_key, credential, fault
) -> None:
    async with running_faulty_server(api.url) as faulty:
        aval = client_of(faulty.url, ApiKey(party.api_key) if credential == "bearer" else signing_key, timeout_s=5.0)
        faulty.faults.append(fault)
        batch = await created(aval, "ted", party, "1", "2")
        first, second = faulty.requests
        assert (first.line, first.body) == (second.line, second.body)
        assert await api.count(party, "operations") == 3

        token = await token_of(aval, batch.key)
        faulty.faults.append(fault)
        assert (await aval.validate_ted_batch(party.account.key, batch.key, token)).status == "approved"
        first, second = faulty.requests[-2:]
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert await api.count(party, "comparisons") == 1


async def test_a_batch_given_up_is_asked_for_again_with_the_same_items(api, client_of, party) -> None:
    async with running_faulty_server(api.url, Fault.LOST_AFTER) as faulty:
        aval = client_of(faulty.url, ApiKey(party.api_key), retry=Retry(tries_max=1))
        items = items_of("pix", "1", "2")
        with pytest.raises(NoAnswer) as lost:
            await created(aval, "pix", party, items=items)
        assert lost.value.may_have_happened
        batch = await created(aval, "pix", party, items=items, request_control_key=lost.value.request_control_key)
        assert str(batch.request_control_key) == lost.value.request_control_key
        assert await api.count(party, "operations") == 3


@pytest.mark.parametrize(
    "change", [{"amount": 10.0}, {"amount": Decimal("0.001")}, {"request_control_key": "nothing"}], ids=repr
)
async def test_an_item_no_call_can_be_made_from_is_refused_before_anything_is_sent(aval, party, change) -> None:
    item = PixItem(**{"amount": Decimal(1), "target": TARGET} | change)
    with pytest.raises(ArgumentNotValid):
        await aval.create_pix_batch(party.account.key, items=[item], approver=Approver(party.document_number))


async def test_every_try_is_told_to_whoever_watches(api, client_of, party) -> None:
    seen = []
    async with running_faulty_server(api.url, Fault.LOST_AFTER) as faulty:
        aval = client_of(faulty.url, ApiKey(party.api_key), watch=seen.append)
        await created(aval, "ted", party, "1")
    assert [(tried.method, tried.path.rsplit("/")[-1], tried.status) for tried in seen] == [
        ("POST", "ted_batch", None),
        ("POST", "ted_batch", 202),
    ]
    assert seen[0].ids == seen[1].ids and all(tried.took_s > 0 for tried in seen)
