"""The state machine of transfers.md §1.1, and the details an approver is shown (§5.2)."""

import hashlib
import json
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.money import Brl
from aval.domain.transfer import (
    TRANSITIONS,
    Kind,
    Payee,
    Reason,
    Status,
    details_digest_of,
    details_of,
    moved_to,
)
from tests.changed import replace
from tests.domain.examples import ACCOUNT, OPERATION, TARGET, payee, transfer

WAITING, REJECTED = Status.PENDING_2FA_APPROVAL, Status.REJECTED
MOVES = {
    (WAITING, Status.PENDING),  # T4, single
    (WAITING, Status.APPROVED),  # T4, batch
    (WAITING, REJECTED),  # T5 to T8
    (WAITING, Status.CANCELLED),  # T9
    (Status.PENDING, Status.SENT),  # T10
    (Status.PENDING, REJECTED),  # T11
    (Status.SENT, REJECTED),  # T12
}
LINE = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=150)


@pytest.mark.parametrize("current", Status)
@pytest.mark.parametrize("to", Status)
def test_a_status_moves_only_by_its_table(current: Status, to: Status) -> None:
    if (current, to) in MOVES:
        assert moved_to(current, to) is to
    else:
        with pytest.raises(AssertionError):
            moved_to(current, to)


def test_every_status_has_its_row() -> None:
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        (Kind.PIX_TRANSFER, "pix"),
        (Kind.PIX_TRANSFER_BATCH, "pix_batch"),
        (Kind.TED, "ted"),
        (Kind.TED_BATCH, "ted_batch"),
        (Kind.DEVICE, "device"),
    ],
)
def test_a_kind_names_its_family_of_errors(kind: Kind, family: str) -> None:
    assert kind.family == family


def test_the_reasons_are_those_of_the_contract() -> None:
    assert [reason.value for reason in Reason] == [
        "attempts_exceeded",
        "approver_not_allowed",
        "account_unavailable",
        "outside_ted_hours",
        "limit_exceeded",
        "insufficient_funds",
        "approval_window_expired",
        "denied_by_approver",
        "target_account_not_found",
        "rail_refused",
        "device_changed",
        "participant_suspended",
        "superseded",
    ]


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({}, "87654321/0001/7654321-0"),
        ({"target_pix_key": "maria@example.com"}, "maria@example.com"),
        ({"target_account": None}, None),
    ],
)
def test_the_target_is_the_pix_key_or_the_account(change: dict[str, Any], target: str | None) -> None:
    assert payee(**change).target == target


def test_the_account_pays_amount_and_fee() -> None:
    assert transfer(amount=Brl(20201), fee=Brl(1000)).debit == Brl(21201)


def test_the_details_are_those_the_contract_shows() -> None:
    assert list(details_of(transfer()).items()) == [
        ("version", 1),
        ("operation", "ted"),
        ("operation_key", str(OPERATION)),
        ("account_key", str(ACCOUNT)),
        ("amount", "202.01"),
        ("fee_amount", "10.00"),
        ("payee_name", "Padaria Boa Vista Ltda"),
        ("payee_document_masked", "***22333000***"),
        ("target", "87654321/0001/7654321-0"),
        ("item_count", 1),
        ("items_digest", None),
    ]


def test_a_payee_nobody_could_name_has_no_document() -> None:
    details = details_of(transfer(payee=Payee("+5511987651234", target_pix_key="+5511987651234")))
    assert (details["payee_document_masked"], details["target"]) == (None, "+5511987651234")


def test_the_digest_is_known() -> None:
    canonical = (
        '{"account_key":"5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10","amount":"202.01","fee_amount":"10.00","item_count":1,'
        '"items_digest":null,"operation":"ted","operation_key":"7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264",'
        '"payee_document_masked":"***22333000***","payee_name":"Padaria Boa Vista Ltda",'
        '"target":"87654321/0001/7654321-0","version":1}'
    )
    assert details_digest_of(transfer()) == hashlib.sha256(canonical.encode()).digest()


@given(LINE, LINE, st.integers(1, 10**9), st.integers(0, 10**6))
def test_the_digest_is_over_the_canonical_form(name: str, key: str, amount: int, fee: int) -> None:
    asked = transfer(payee=Payee(name, target_pix_key=key), amount=Brl(amount), fee=Brl(fee))
    assert details_digest_of(asked) == hashlib.sha256(rfc8785.dumps(details_of(asked))).digest()
    assert json.loads(rfc8785.dumps(details_of(asked))) == details_of(asked)


OTHER = UUID("f3b81e5c-6a94-4d02-8c7f-0b2d9e4a7163")
SHOWN = [
    {"kind": Kind.PIX_TRANSFER},
    {"key": OTHER},
    {"account_key": OTHER},
    {"amount": Brl(20202)},
    {"fee": Brl(0)},
    {"payee": payee(name="Padaria Boa Vista Ltd")},
    {"payee": payee(document="52998224725")},
    {"payee": payee(target_pix_key="maria@example.com")},
    *({"payee": payee(target_account=TARGET | {name: "9"})} for name in ("ispb", "account_branch", "account_number")),
    {"payee": payee(target_account=TARGET | {"account_digit": "X"})},
]


def test_whatever_was_shown_changes_the_digest() -> None:
    digests = {transfer(**change).details_digest for change in [{}, *SHOWN]}
    assert len(digests) == len(SHOWN) + 1


def test_neither_nonce_nor_the_payees_data_print() -> None:
    shown = repr(replace(transfer(), nonce=b"0123456789abcdef"))
    assert "0123456789abcdef" not in shown
    assert not any(text in shown + repr(payee()) for text in ("11222333000181", "7654321"))
