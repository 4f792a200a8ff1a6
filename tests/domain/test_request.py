"""A request for a transfer: the order of checks of transfers.md §3.1, its fee, and its first challenge."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aval.domain.approval import Limits
from aval.domain.budget import BudgetStop
from aval.domain.errors import Refusal
from aval.domain.money import ZERO, Brl
from aval.domain.request import (
    RequestFacts,
    TransferRequest,
    alphabet_of,
    budget_refusal,
    fee_of,
    first_challenge,
    is_twin,
    refuse,
    seconds_up,
)
from aval.domain.token import Alphabet
from aval.domain.transfer import Kind, Method, Status
from tests.changed import replace
from tests.domain.examples import (
    CONTACT,
    INSTANT,
    INTEGRATOR,
    NOW,
    OPERATION,
    REQUEST,
    integrator,
    request,
    request_facts,
)

NIGHT = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
FEE = Brl(1000)
STOP = BudgetStop("approver_locked", timedelta(hours=3))

# In the order of §3.1: what is wrong, and what it answers.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"account_status": "blocked"}, "account_unavailable"),
    ({"refusal": Refusal("ted.tfa_info_required")}, "tfa_info_required"),
    ({"is_end_to_end_id_used": True}, "duplicate_end_to_end_id"),
    ({"has_ted_hours": True}, "outside_ted_hours"),
    ({"is_approver_active": False}, "approver_not_allowed"),
    ({"usable_at": NIGHT + INSTANT}, "contact_not_available"),
    ({"budget_stop": STOP}, "too_many_requests"),
    ({"is_channel_closed": True}, "channel_closed_on_create"),
    ({"limits": Limits(operation_amount_limit=Brl(1))}, "limit_exceeded"),
    ({"balance": ZERO}, "insufficient_funds"),
]
OF_ONE_KIND = {"duplicate_end_to_end_id": Kind.PIX_TRANSFER, "outside_ted_hours": Kind.TED}
OF_APPROVAL = {"has_ted_hours", "is_approver_active", "limits", "powers", "max_amount"}


def case(*changes: dict[str, Any], kind: Kind = Kind.TED) -> tuple[TransferRequest, RequestFacts]:
    asked, facts = request(kind), request_facts(now=NIGHT)
    for change in changes:
        for name, value in change.items():
            if name in {"refusal", "method", "principal"}:
                asked = replace(asked, **{name: value})
            elif name in OF_APPROVAL:
                facts = replace(facts, approval=replace(facts.approval, **{name: value}))
            else:
                facts = replace(facts, **{name: value})
    return asked, facts


def refused(asked: TransferRequest, facts: RequestFacts, **more: Any) -> str | None:
    try:
        refuse(asked, facts, FEE, **more)
    except Refusal as refusal:
        return refusal.name.partition(".")[2]
    return None


@pytest.mark.parametrize("kind", [Kind.PIX_TRANSFER, Kind.TED])
def test_of_several_faults_the_earliest_answers(kind: Kind) -> None:
    faults = [fault for fault in FAULTS if OF_ONE_KIND.get(fault[1], kind) is kind]
    for first, (_, slug) in enumerate(faults):
        assert refused(*case(*(change for change, _ in faults[first:]), kind=kind)) == slug


def test_without_a_fault_nothing_is_refused() -> None:
    assert refused(*case()) is None


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"account_status": "closed"}, "account_unavailable"),
        ({"approver_key": None}, "approver_not_allowed"),
        ({"powers": frozenset({"pix_transfer"})}, "approver_not_allowed"),
        ({"max_amount": Brl(20200)}, "approver_not_allowed"),
        ({"max_amount": Brl(20201)}, None),
        ({"contact_key": None}, "contact_not_available"),
        ({"usable_at": None}, "contact_not_available"),
        ({"usable_at": NIGHT}, None),
        ({"method": Method.DEVICE}, "device_not_available"),
        ({"method": Method.DEVICE, "contact_key": None}, "device_not_available"),
        ({"balance": Brl(21201)}, None),
        ({"balance": Brl(21200)}, "insufficient_funds"),
        ({"limits": Limits(operation_amount_limit=Brl(20201))}, None),
    ],
)
def test_each_check_has_its_boundary(change: dict[str, Any], slug: str | None) -> None:
    assert refused(*case(change)) == slug


def test_a_channel_switched_off_answers_like_a_closed_one() -> None:
    assert refused(*case(), is_channel_off=True) == "channel_closed_on_create"


def test_a_limit_names_itself() -> None:
    asked, facts = case({"limits": Limits(sms_amount_limit=Brl(1))})
    with pytest.raises(Refusal) as answer:
        refuse(asked, facts, FEE)
    body = answer.value.body()
    assert body["extra_fields"] == {"reason": "sms_amount_limit"}
    assert body["description"] == "The operation exceeds a configured limit: sms_amount_limit"


@pytest.mark.parametrize(
    ("change", "is_repeat"),
    [
        ({}, False),
        ({"twin_key": OPERATION, "twin_fingerprint": b"f" * 32}, True),
        ({"twin_key": OPERATION, "twin_fingerprint": b"f" * 32, "account_status": "closed"}, True),
        ({"twin_key": OPERATION, "twin_fingerprint": b"f" * 32, "account_status": None}, False),
    ],
)
def test_the_same_request_is_a_repeat_whatever_became_of_the_account(change: dict[str, Any], is_repeat: bool) -> None:
    assert is_twin(*case(change)) is is_repeat


@pytest.mark.parametrize(("kind", "code"), [(Kind.TED, "TED000902"), (Kind.PIX_TRANSFER, "PXT000902")])
def test_the_same_key_with_another_body_is_a_conflict(kind: Kind, code: str) -> None:
    asked, facts = case({"twin_key": OPERATION, "twin_fingerprint": b"g" * 32}, kind=kind)
    with pytest.raises(Refusal) as answer:
        is_twin(asked, facts)
    assert (answer.value.http, answer.value.body()["code"]) == (409, code)


def test_a_request_is_known_by_integrator_kind_and_key() -> None:
    assert request().identity == (INTEGRATOR, "ted", REQUEST)


def test_a_budget_tells_its_name_and_when_to_come_back() -> None:
    refusal = budget_refusal("pix", BudgetStop("message_limit", timedelta(seconds=12, milliseconds=1)))
    assert (refusal.http, refusal.body()["code"], refusal.headers) == (429, "QIT000943", {"Retry-After": "13"})
    assert refusal.body()["extra_fields"] == {"reason": "message_limit"}
    assert refusal.body()["description"] == "Too many requests. Try again in 13 seconds"


def test_too_many_pending_operations_are_a_limit() -> None:
    refusal = budget_refusal("pix", BudgetStop("pending_operations_limit", timedelta(0)))
    assert (refusal.http, refusal.body()["code"], refusal.headers) == (400, "PXT000914", {})
    assert refusal.body()["extra_fields"] == {"reason": "pending_operations_limit"}


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (timedelta(0), 1),
        (timedelta(seconds=-5), 1),
        (timedelta(milliseconds=1), 1),
        (timedelta(seconds=1), 1),
        (timedelta(seconds=29, microseconds=1), 30),
        (timedelta(minutes=60), 3600),
    ],
)
def test_seconds_to_wait_are_rounded_up(duration: timedelta, seconds: int) -> None:
    assert seconds_up(duration) == seconds


@pytest.mark.parametrize(
    ("kind", "own", "fee"),
    [
        (Kind.PIX_TRANSFER, None, 70),
        (Kind.PIX_TRANSFER_BATCH, None, 70),
        (Kind.TED, None, 1000),
        (Kind.TED_BATCH, None, 1000),
        (Kind.TED, ZERO, 0),
        (Kind.PIX_TRANSFER, Brl(5), 5),
    ],
)
def test_the_accounts_fee_comes_before_the_integrators(kind: Kind, own: Brl | None, fee: int) -> None:
    assert fee_of(integrator(pix_fee=70, ted_fee=1000), kind, own) == Brl(fee)


@pytest.mark.parametrize(
    ("alphabets", "kind", "is_spent", "alphabet"),
    [
        ({}, Kind.TED, False, Alphabet.DIGITS),
        ({}, Kind.TED, True, Alphabet.CROCKFORD32),
        ({}, Kind.PIX_TRANSFER, False, Alphabet.CROCKFORD32),
        ({"pix_transfer": "digits"}, Kind.PIX_TRANSFER, False, Alphabet.DIGITS),
        ({"pix_transfer": "digits"}, Kind.PIX_TRANSFER, True, Alphabet.CROCKFORD32),
        ({"pix_transfer": "digits"}, Kind.TED, False, Alphabet.DIGITS),
        ({"ted": "crockford32"}, Kind.TED, False, Alphabet.CROCKFORD32),
    ],
)
def test_the_integrator_chooses_the_alphabet_until_the_digits_budget_is_spent(
    alphabets: dict[str, str], kind: Kind, is_spent: bool, alphabet: Alphabet
) -> None:
    chosen = alphabet_of(integrator(token_alphabets=alphabets), kind, is_digits_budget_spent=is_spent)
    assert chosen is alphabet


def test_the_first_challenge_follows_the_integrators_settings() -> None:
    settings = integrator(approval_window=timedelta(minutes=5), resend_cooldown=timedelta(seconds=7), max_resends=2)
    asked = request()
    asked = replace(asked, method=Method.EMAIL, principal=replace(asked.principal, integrator=settings))
    made = first_challenge(asked, request_facts(masked_destination="m***@example.com"), "token-9")
    assert (made.status, made.method, made.contact_key) == (Status.PENDING_2FA_APPROVAL, Method.EMAIL, CONTACT)
    assert (made.generation, made.attempts_remaining, made.resends_left) == (1, 5, 2)
    assert (made.kid, made.alphabets, made.masked_destination) == ("token-9", "d", "m***@example.com")
    assert made.expires_at == NOW + timedelta(seconds=300)
    assert made.can_resend_at == NOW + timedelta(seconds=7)
    assert made.approval_deadline == NOW + timedelta(minutes=5)
    assert made.issued_at == made.updated_at == NOW


def test_after_a_spent_digits_budget_the_first_token_is_a_strong_one() -> None:
    made = first_challenge(request(), request_facts(is_digits_budget_spent=True), "token-1")
    assert made.alphabet is Alphabet.CROCKFORD32


def test_a_request_prints_neither_nonce_nor_message() -> None:
    asked = replace(request(), nonce=b"0123456789abcdef", pix_message="Nota 1207")
    assert "0123456789abcdef" not in repr(asked) and "Nota" not in repr(asked)


def test_a_registration_meets_the_pending_limit_without_a_code_of_its_own() -> None:
    """There is no OBD000914 (spec transfers.md §6.5)."""
    stop = BudgetStop("pending_operations_limit", timedelta(0))
    assert budget_refusal("pix", stop).name == "pix.limit_exceeded"
    refusal = budget_refusal("device", stop)
    assert (refusal.name, refusal.extra_fields, refusal.headers) == (
        "qit.too_many_requests",
        {"reason": "pending_operations_limit"},
        {"Retry-After": "1"},
    )
