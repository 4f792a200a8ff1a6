"""Batches: what they amount to, which items are faulty, what they show, and how far they came."""

import hashlib
from uuid import UUID

import pytest
import rfc8785

from aval.domain.batch import (
    BatchItem,
    BatchRequest,
    ItemCounts,
    asked_of,
    batch_of,
    counts_told,
    item_details_of,
    item_of,
    items_digest_of,
    items_refusal,
    single_kind,
)
from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.principal import Principal
from aval.domain.transfer import Kind, Method, Payee, Status, details_digest_of, details_of
from tests.changed import replace
from tests.domain.examples import (
    ACCOUNT,
    APPROVER,
    CREDENTIAL,
    NOW,
    OPERATION,
    REQUEST,
    challenge,
    integrator,
    payee,
)


def key(number: int) -> UUID:
    return UUID(int=number << 80 | 4 << 76 | 2 << 62)


def item(number: int, centavos: int = 100, **change) -> BatchItem:
    made = BatchItem(
        key=key(1_000 + number),
        request_control_key=key(number),
        amount=Brl(centavos),
        nonce=bytes(16),
        fingerprint=bytes(32),
        payee=payee(name=f"Favorecida {number} Conceição"),
    )
    return replace(made, **change)


def batch(*items: BatchItem, kind: Kind = Kind.PIX_TRANSFER_BATCH, **change) -> BatchRequest:
    made = BatchRequest(
        principal=Principal(integrator(), CREDENTIAL, "bearer", frozenset()),
        kind=kind,
        account_key=ACCOUNT,
        key=OPERATION,
        nonce=bytes(range(16)),
        request_control_key=REQUEST,
        fingerprint=b"f" * 32,
        correlation_id="order-1207",
        items=items,
    )
    return replace(made, **change)


def stored(request: BatchRequest, fee: int = 0):
    return [
        item_of(request, place, approver_key=APPROVER, fee=Brl(fee), created_at=NOW)
        for place in range(len(request.items))
    ]


def stored_batch(request: BatchRequest, fee: int = 0, digest: str = "00"):
    return batch_of(request, approver_key=APPROVER, fee=Brl(fee), items_digest=digest, created_at=NOW)


@pytest.mark.parametrize(
    ("kind", "single"),
    [
        (Kind.PIX_TRANSFER_BATCH, Kind.PIX_TRANSFER),
        (Kind.TED_BATCH, Kind.TED),
        (Kind.PIX_TRANSFER, Kind.PIX_TRANSFER),
        (Kind.DEVICE, Kind.DEVICE),
    ],
)
def test_the_kind_of_items(kind, single):
    assert single_kind(kind) is single
    assert kind.is_batch is (kind is not single)


def test_a_batch_is_judged_by_its_total_and_names_the_first_of_its_largest_items():
    request = batch(item(1, 5), item(2, 70), item(3, 70), item(4, 1), method=Method.EMAIL)
    asked = asked_of(request)
    assert (asked.amount, asked.largest, asked.payee) == (Brl(146), Brl(70), request.items[1].payee)
    assert (asked.kind, asked.end_to_end_id, asked.method) == (Kind.PIX_TRANSFER_BATCH, None, Method.EMAIL)
    assert asked.identity == (request.principal.integrator.key, "pix_transfer_batch", REQUEST)


PIX_KEY = Refusal("pix.invalid_pix_key", extra_fields={"reason": "format"})
FAULTS = {
    "none": ([item(1), item(2)], []),
    "key used elsewhere": ([item(1), item(90)], [(1, 90, "PXT000902")]),
    "key twice": ([item(1), item(2), item(1)], [(2, 1, "PXT000902")]),
    "end_to_end_id used elsewhere": ([item(1, end_to_end_id="used")], [(0, 1, "PXT000907")]),
    "end_to_end_id twice": (
        [item(1, end_to_end_id="new"), item(2, end_to_end_id="New"), item(3, end_to_end_id="new")],
        [(2, 3, "PXT000907")],
    ),
    "refused by the edge": ([item(1, refusal=PIX_KEY, payee=None)], [(0, 1, "PXT000916")]),
    "the key's fault first": ([item(90, refusal=PIX_KEY, end_to_end_id="used")], [(0, 90, "PXT000902")]),
    "the edge's fault before duplicates": (
        [item(1, refusal=PIX_KEY, end_to_end_id="used")],
        [(0, 1, "PXT000916")],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_items_are_named_by_their_first_fault(case):
    items, faults = FAULTS[case]
    refusal = items_refusal(batch(*items), used_keys={key(90)}, used_end_to_end_ids={"used"})
    told = [] if refusal is None else refusal.extra_fields["items"]
    assert told == [{"index": n, "request_control_key": str(key(k)), "code": code} for n, k, code in faults]
    assert refusal is None or refusal.name == "pix_batch.invalid_batch_item"


def test_items_of_ted_are_told_with_its_codes_and_only_the_first_twenty():
    refusal = items_refusal(
        batch(*[item(1)] * 22, kind=Kind.TED_BATCH), used_keys=frozenset(), used_end_to_end_ids=frozenset()
    )
    assert refusal is not None and refusal.body()["code"] == "TED000917"
    assert [fault["index"] for fault in refusal.extra_fields["items"]] == list(range(1, 21))
    assert {fault["code"] for fault in refusal.extra_fields["items"]} == {"TED000902"}


def test_an_item_is_stored_as_a_single_of_its_batch():
    request = batch(item(1), item(2, 7, end_to_end_id="e", pix_message="m"), kind=Kind.TED_BATCH)
    first, second = stored(request, fee=3)
    assert (first.kind, first.batch_key, first.item_no, second.item_no) == (Kind.TED, OPERATION, 1, 2)
    assert (second.amount, second.fee, second.end_to_end_id, second.pix_message) == (Brl(7), Brl(3), "e", "m")
    assert second.details_digest == details_digest_of(replace(second, batch_key=None, item_no=1))
    assert first.details_digest != second.details_digest


def test_a_batch_is_stored_with_its_total_and_every_fee():
    made = stored_batch(batch(item(1, 5), item(2, 70), item(3, 70)), fee=10)
    assert (made.amount, made.fee, made.debit) == (Brl(145), Brl(30), Brl(175))
    assert (made.item_count, made.largest, made.payee) == (3, Brl(70), Payee(name="Favorecida 2 Conceição"))
    assert made.details_digest == details_digest_of(made)


def test_the_details_of_a_batch_name_no_payee_but_the_digest_of_all_items():
    request = batch(
        item(1, 150), item(2, 8050, payee=Payee(name="maria@example.com", target_pix_key="maria@example.com"))
    )
    shown = [item_details_of(made) for made in stored(request)]
    assert shown == [
        {
            "request_control_key": str(key(1)),
            "payee_name": "Favorecida 1 Conceição",
            "payee_document_masked": "***22333000***",
            "target": "87654321/0001/7654321-0",
            "amount": "1.50",
        },
        {
            "request_control_key": str(key(2)),
            "payee_name": "maria@example.com",
            "payee_document_masked": None,
            "target": "maria@example.com",
            "amount": "80.50",
        },
    ]
    digest = items_digest_of(shown)
    assert digest == hashlib.sha256(rfc8785.dumps(shown)).hexdigest()
    assert digest != items_digest_of(shown[::-1])
    assert details_of(stored_batch(request, fee=1000, digest=digest)) == {
        "version": 1,
        "operation": "pix_transfer_batch",
        "operation_key": str(OPERATION),
        "account_key": str(ACCOUNT),
        "amount": "82.00",
        "fee_amount": "20.00",
        "payee_name": None,
        "payee_document_masked": None,
        "target": None,
        "item_count": 2,
        "items_digest": digest,
    }


SETTLED = ItemCounts(pending=1, sent=1)
COUNTS = {
    Status.PENDING_2FA_APPROVAL: ItemCounts(pending=2),
    Status.REJECTED: ItemCounts(rejected=2),
    Status.CANCELLED: ItemCounts(),
    Status.APPROVED: SETTLED,
}


@pytest.mark.parametrize("status", COUNTS)
def test_items_share_the_state_of_their_batch_until_it_is_approved(status):
    made = stored_batch(batch(item(1), item(2)))
    assert counts_told(made, challenge(status=status), SETTLED) == COUNTS[status]


def test_the_items_of_an_approved_batch_must_have_been_counted():
    with pytest.raises(AssertionError):
        counts_told(stored_batch(batch(item(1))), challenge(status=Status.APPROVED), None)


def test_an_item_without_a_payee_is_never_stored():
    with pytest.raises(AssertionError):
        stored(batch(item(1, payee=None)))
    with pytest.raises(AssertionError):
        stored_batch(batch(item(1, payee=None)))


def test_nothing_of_a_batch_prints():
    assert (repr(batch(item(1))), repr(item(1))) == ("BatchRequest", "BatchItem")
