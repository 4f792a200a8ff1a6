from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.challenge import TOKEN_LIFETIME
from aval.domain.contact import normalized_phone
from aval.domain.errors import Refusal
from aval.domain.phone import (
    PhoneDevice,
    PhoneStatus,
    failure_of,
    phone_as_seen,
    phone_moved_to,
    phone_view,
    refuse_registration,
)
from aval.domain.redemption_call import DAY
from aval.domain.redemption_challenge import first_redemption_challenge
from aval.domain.token import Alphabet
from aval.domain.transfer import Reason

NOW = datetime(2026, 3, 2, 13, 5, tzinfo=UTC)
PENDING = PhoneDevice(
    integrator_key=UUID(int=1),
    key=UUID(int=2),
    participant_key=UUID(int=3),
    number_index=bytes(32),
    masked_number="+55 11 *****-1234",
    status=PhoneStatus.PENDING_VERIFICATION,
    policy_version=1,
    created_at=NOW,
    updated_at=NOW,
)
CHALLENGE = first_redemption_challenge(
    TwoFactorPolicy(), device_key=PENDING.key, masked_number=PENDING.masked_number, kid="t1", now=NOW
)
P = PhoneStatus
MOVES = {
    (P.PENDING_VERIFICATION, P.ACTIVE),
    (P.PENDING_VERIFICATION, P.PENDING_REPLACEMENT),
    (P.PENDING_VERIFICATION, P.FAILED),
    (P.PENDING_REPLACEMENT, P.ACTIVE),
    (P.PENDING_REPLACEMENT, P.FAILED),
    (P.ACTIVE, P.BLOCKED),
    (P.ACTIVE, P.REPLACED),
    (P.ACTIVE, P.REMOVED),
    (P.BLOCKED, P.ACTIVE),
    (P.BLOCKED, P.REMOVED),
}


@pytest.mark.parametrize(("before", "after"), list(product(PhoneStatus, PhoneStatus)))
def test_a_device_moves_by_the_table_alone(before: PhoneStatus, after: PhoneStatus) -> None:
    if (before, after) in MOVES:
        assert phone_moved_to(before, after) is after
    else:
        with pytest.raises(AssertionError):
            phone_moved_to(before, after)


def test_the_first_device_may_be_used_at_once_and_a_later_one_after_the_cooldown() -> None:
    first = PENDING.activated(NOW, cooldown=timedelta(0))
    assert (first.verified_at, first.active_from, first.event_sequence) == (NOW, NOW, 1)
    waiting = PENDING.moved(P.PENDING_REPLACEMENT, NOW, verified_at=NOW)
    assert waiting.event_sequence == 0
    later = waiting.activated(NOW + timedelta(minutes=9), cooldown=timedelta(hours=24))
    assert (later.verified_at, later.active_from) == (NOW, NOW + timedelta(hours=24, minutes=9))


@pytest.mark.parametrize(
    ("after", "status"),
    [(timedelta(minutes=60) - timedelta(microseconds=1), "pending_verification"), (timedelta(minutes=60), "failed")],
)
def test_a_registration_is_over_at_the_end_of_its_window_stored_so_or_not(after: timedelta, status: str) -> None:
    view = phone_view(PENDING, CHALLENGE, now=NOW + after)
    assert view["status"] == status
    assert ("approval" in view) == (status != "failed")
    assert view.get("failure_reason") == ("approval_window_expired" if status == "failed" else None)


def test_an_active_device_does_not_expire() -> None:
    active = PENDING.activated(NOW, cooldown=timedelta(0))
    assert phone_as_seen(active, CHALLENGE, NOW + DAY) == active


def test_what_ends_a_registration_past_its_window_finds_it_expired() -> None:
    assert failure_of(CHALLENGE, Reason.SUPERSEDED, NOW) is Reason.SUPERSEDED
    assert failure_of(CHALLENGE, Reason.SUPERSEDED, NOW + timedelta(hours=1)) is Reason.APPROVAL_WINDOW_EXPIRED


def test_a_device_is_told_masked_with_its_approval() -> None:
    assert phone_view(PENDING, CHALLENGE, now=NOW) == {
        "id": PENDING.key,
        "participant_id": PENDING.participant_key,
        "type": "phone",
        "masked_number": "+55 11 *****-1234",
        "status": "pending_verification",
        "created_at": "2026-03-02T13:05:00.000Z",
        "approval": {
            "method": "sms",
            "device_id": PENDING.key,
            "masked_destination": "+55 11 *****-1234",
            "token_length": 6,
            "generation": 1,
            "attempts_remaining": 5,
            "expires_at": "2026-03-02T13:10:00.000Z",
            "can_resend_at": "2026-03-02T13:05:30.000Z",
            "approval_deadline": "2026-03-02T14:05:00.000Z",
            "delivery": "queued",
        },
    }


def test_the_policy_shapes_the_challenge() -> None:
    policy = TwoFactorPolicy(
        token_alphabet="digits",  # noqa: S106
        resend_interval_seconds=10,
        max_resends=0,
        approval_window_minutes=5,
    )
    made = first_redemption_challenge(policy, device_key=PENDING.key, masked_number="m", kid="t1", now=NOW)
    assert (made.alphabet, made.resends_left, made.resend_cooldown) == (Alphabet.DIGITS, 0, timedelta(seconds=10))
    assert (made.expires_at, made.approval_deadline) == (NOW + TOKEN_LIFETIME, NOW + timedelta(minutes=5))
    overflowed = first_redemption_challenge(
        policy, device_key=PENDING.key, masked_number="m", kid="t1", now=NOW, is_digits_budget_spent=True
    )
    assert overflowed.alphabet is Alphabet.CROCKFORD32


def _made(*ages: timedelta) -> list[PhoneDevice]:
    return [replace(PENDING, status=P.FAILED, failure_reason="superseded", created_at=NOW - age) for age in ages]


def test_a_sixth_registration_in_a_day_waits_for_the_first_to_be_a_day_old() -> None:
    hours = [timedelta(hours=n) for n in (1, 2, 3, 4, 23)]
    refuse_registration(_made(*hours[:4], DAY), NOW)
    with pytest.raises(Refusal) as refused:
        refuse_registration(_made(*hours), NOW)
    assert (refused.value.name, refused.value.headers) == ("rdm.registration_limit", {"Retry-After": "3600"})


def test_nothing_is_registered_while_the_device_is_blocked() -> None:
    blocked = PENDING.activated(NOW, cooldown=timedelta(0)).moved(P.BLOCKED, NOW)
    with pytest.raises(Refusal) as refused:
        refuse_registration([blocked], NOW)
    assert (refused.value.name, refused.value.extra_fields) == ("rdm.wrong_status", {"status": "blocked"})


@pytest.mark.parametrize(
    "text",
    [
        "5511987654321",
        "+55 11 98765-4321",
        "+5511987654321;ext=1",
        "+55011987654321",
        "+551133334444",
        "+551187654321",
        "+5510987654321",
        "+5523987654321",
        "190",
        "03001234567",
        "+5503001234567",
        "+558816123456789",
        "+14155552671",
        "+55１１９８７６５４３２１",
        "+5511987654321;phone-context=+55",
        "tel:+5511987654321",
        "",
        " +5511987654321",
        "+5511987654321\n",
    ],
)
def test_what_is_no_brazilian_mobile_number_is_none(text: str) -> None:
    assert normalized_phone(text) is None
    assert normalized_phone("+5511987654321") == "+5511987654321"


def test_each_of_the_67_area_codes_has_mobile_numbers() -> None:
    codes = [code for code in range(100) if normalized_phone(f"+55{code:02d}987654321")]
    assert len(codes) == 67
