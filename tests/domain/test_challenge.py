"""What a token call deserves: steps 6 to 11 of transfers.md §4.1, the first check that fails decides."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from aval.domain.challenge import (
    ATTEMPTS_MAX,
    DEFAULT_ALPHABETS,
    TOKEN_LIFETIME,
    Challenge,
    Judgement,
    TokenSource,
    Verdict,
    as_seen,
    judge,
    standing,
)
from aval.domain.keyring import Purpose
from aval.domain.token import Alphabet, Token, TokenSeed
from aval.domain.transfer import Kind, Method, Reason, Status
from tests.changed import replace
from tests.domain.examples import INSTANT, INTEGRATOR, NOW, OPERATION, SECRET, challenge, keyring

SEED = TokenSeed(INTEGRATOR, OPERATION, b"\xd1" * 32, bytes(range(16)))
EXPIRY, DEADLINE = NOW + timedelta(seconds=300), NOW + timedelta(minutes=60)
MILLISECOND = timedelta(milliseconds=1)
ATTEMPTS = Reason.ATTEMPTS_EXCEEDED


def source(**change: Any) -> TokenSource:
    return TokenSource(**{"keyring": keyring(), "seed": SEED} | change)


def right(asked: Challenge, generation: int | None = None, **change: Any) -> Token:
    return source(**change).token(asked, generation or asked.generation)


def wrong(asked: Challenge) -> Token:
    """Six symbols that are the token of no generation."""
    spent = {right(asked, number).text for number in range(1, asked.generation + 1)}
    return next(Token(f"{number:06d}") for number in range(10) if f"{number:06d}" not in spent)


def judged(asked: Challenge, token: Token | None, at: datetime = NOW, **more: Any) -> Judgement:
    return judge(asked, token, at, source(), **more)


def test_the_right_token_is_approved() -> None:
    asked = challenge()
    judgement = judged(asked, right(asked))
    assert judgement == Judgement(Verdict.APPROVED, "right")
    assert judgement.is_compared


@pytest.mark.parametrize(
    ("at", "verdict"),
    [
        (NOW, Verdict.APPROVED),
        (EXPIRY - MILLISECOND, Verdict.APPROVED),
        (EXPIRY - INSTANT, Verdict.APPROVED),
        (EXPIRY, Verdict.TOKEN_EXPIRED),
        (EXPIRY + INSTANT, Verdict.TOKEN_EXPIRED),
        (DEADLINE - INSTANT, Verdict.TOKEN_EXPIRED),
        (DEADLINE, Verdict.WINDOW_OVER),
    ],
)
def test_a_token_lives_five_minutes_and_not_an_instant_longer(at: datetime, verdict: Verdict) -> None:
    asked = challenge()
    assert judged(asked, right(asked), at).verdict is verdict
    if verdict is not Verdict.APPROVED:
        assert judged(asked, wrong(asked), at) == judged(asked, right(asked), at)
        assert not judged(asked, right(asked), at).is_compared


def test_the_token_of_a_long_window_lives_five_minutes_too() -> None:
    asked = challenge(approval_deadline=NOW + timedelta(days=1))
    assert judged(asked, right(asked), NOW + TOKEN_LIFETIME).verdict is Verdict.TOKEN_EXPIRED


def test_wrong_tokens_are_counted_then_reject() -> None:
    verdicts = [judged(asked, wrong(asked)) for asked in (challenge(attempts_used=used) for used in range(5))]
    assert verdicts == [Judgement(Verdict.INCORRECT, "wrong")] * 4 + [Judgement(Verdict.EXHAUSTED, "wrong")]


def test_the_fifth_attempt_may_be_right() -> None:
    asked = challenge(attempts_used=4)
    assert asked.attempts_remaining == 1
    assert judged(asked, right(asked)) == Judgement(Verdict.APPROVED, "right")


@pytest.mark.parametrize("alphabets", ["ddd", "ccc", "dcd", "ddc"])
@pytest.mark.parametrize("generation", [1, 2])
def test_a_token_of_an_older_generation_is_superseded_and_costs_an_attempt(alphabets: str, generation: int) -> None:
    asked = challenge(generation=3, alphabets=alphabets)
    assert judged(asked, right(asked, generation)) == Judgement(Verdict.SUPERSEDED, "superseded")
    assert judged(asked, right(asked, 3)) == Judgement(Verdict.APPROVED, "right")
    assert judged(replace(asked, attempts_used=4), right(asked, generation)) == Judgement(
        Verdict.EXHAUSTED, "superseded"
    )


def test_a_token_not_sent_yet_is_wrong() -> None:
    asked = challenge()
    later = replace(asked, generation=2, alphabets="dd")
    assert judged(asked, right(later)) == Judgement(Verdict.INCORRECT, "wrong")


@pytest.mark.parametrize(
    ("fixed", "submitted", "alphabets", "verdict"),
    [
        ("123456", "123456", "d", Verdict.APPROVED),
        ("123456", "123456", "ddd", Verdict.APPROVED),  # older generations have the same token: it counts as right
        ("OIL123", "011123", "c", Verdict.APPROVED),
        ("abc123", "ABC123", "d", Verdict.APPROVED),
        ("OIL123", "011123", "d", Verdict.INCORRECT),
        ("123456", "123457", "c", Verdict.INCORRECT),
    ],
)
def test_a_fixed_token_takes_the_place_of_every_generation(
    fixed: str, submitted: str, alphabets: str, verdict: Verdict
) -> None:
    asked = challenge(alphabets=alphabets, generation=len(alphabets))
    fixing = source(fixed_token=fixed)
    assert judge(asked, Token(submitted), NOW, fixing).verdict is verdict
    assert fixed not in repr(fixing)


def test_a_derived_token_is_no_use_where_one_is_fixed() -> None:
    asked = challenge()
    assert judge(asked, right(asked), NOW, source(fixed_token="zzzzzz")).verdict is Verdict.INCORRECT


def test_without_its_key_no_comparison_is_made() -> None:
    asked = challenge(kid="gone")
    assert judged(asked, Token("000000")) == Judgement(Verdict.KEY_UNAVAILABLE)
    assert judge(asked, Token("000000"), NOW, source(fixed_token="000000")).verdict is Verdict.APPROVED


def test_the_challenge_keeps_its_key_through_rotation() -> None:
    asked = challenge()
    kept = keyring(*keyring(secret=SECRET[::-1], kid="token-2").all_of(Purpose.TOKEN))
    assert judge(asked, right(asked), NOW, source(keyring=kept)).verdict is Verdict.APPROVED


STANDING = [
    ({"status": Status.REJECTED, "rejection_reason": ATTEMPTS}, NOW, Verdict.ATTEMPTS_EXCEEDED),
    ({"status": Status.REJECTED, "rejection_reason": "attempts_exceeded"}, DEADLINE, Verdict.ATTEMPTS_EXCEEDED),
    ({"status": Status.REJECTED, "rejection_reason": "denied_by_approver"}, NOW, Verdict.INVALID_STATUS),
    ({"status": Status.REJECTED, "rejection_reason": "approval_window_expired"}, DEADLINE, Verdict.INVALID_STATUS),
    ({"status": Status.PENDING}, NOW, Verdict.INVALID_STATUS),
    ({"status": Status.SENT}, DEADLINE, Verdict.INVALID_STATUS),
    ({"status": Status.CANCELLED}, NOW, Verdict.INVALID_STATUS),
    ({"status": Status.APPROVED}, NOW, Verdict.INVALID_STATUS),
    ({}, DEADLINE, Verdict.WINDOW_OVER),
    ({}, DEADLINE - INSTANT, None),
    ({}, NOW, None),
]


@pytest.mark.parametrize(("change", "at", "verdict"), STANDING)
def test_the_state_comes_before_everything_about_the_token(
    change: dict[str, Any], at: datetime, verdict: Verdict | None
) -> None:
    asked = challenge(**change)
    assert standing(asked, at) is verdict
    if verdict is None:
        return
    for method in Method:
        for token in (None, right(asked), wrong(asked)):
            assert judged(replace(asked, method=method), token, at, is_budget_spent=True) == Judgement(verdict)


# Every fault of steps 10 and 11 at once, then one less from the front: the earliest answers.
@pytest.mark.parametrize(
    ("token", "at", "is_spent", "verdict"),
    [
        (False, EXPIRY, True, Verdict.TOKEN_REQUIRED),
        (False, NOW, False, Verdict.TOKEN_REQUIRED),
        (True, EXPIRY, True, Verdict.TOKEN_EXPIRED),
        (True, NOW, True, Verdict.BUDGET_SPENT),
        (True, NOW, False, Verdict.APPROVED),
    ],
)
def test_token_then_lifetime_then_budget_then_comparison(
    token: bool, at: datetime, is_spent: bool, verdict: Verdict
) -> None:
    asked = challenge()
    assert judged(asked, right(asked) if token else None, at, is_budget_spent=is_spent).verdict is verdict


@pytest.mark.parametrize(
    ("alphabets", "verdict"),
    [("d", Verdict.TOKEN_EXPIRED), ("cd", Verdict.TOKEN_EXPIRED), ("c", Verdict.APPROVED), ("dc", Verdict.APPROVED)],
)
def test_a_spent_digits_budget_ends_live_digits_tokens_only(alphabets: str, verdict: Verdict) -> None:
    asked = challenge(alphabets=alphabets, generation=len(alphabets))
    assert judged(asked, right(asked), is_digits_budget_spent=True).verdict is verdict


@pytest.mark.parametrize(
    ("token", "is_approved", "verdict"),
    [
        ("000000", True, Verdict.TOKEN_REFUSED),
        ("000000", False, Verdict.TOKEN_REFUSED),
        (None, False, Verdict.DEVICE_PENDING),
        (None, True, Verdict.APPROVED),
    ],
)
def test_a_device_operation_ends_by_its_signature_alone(token: str | None, is_approved: bool, verdict: Verdict) -> None:
    asked = challenge(method=Method.DEVICE, contact_key=None, masked_destination=None)
    judgement = judged(
        asked, Token(token) if token else None, EXPIRY, is_device_approved=is_approved, is_budget_spent=True
    )
    assert judgement == Judgement(verdict)


def test_from_the_deadline_on_it_is_seen_as_rejected() -> None:
    asked = challenge()
    assert as_seen(asked, DEADLINE - INSTANT) is asked
    seen = as_seen(asked, DEADLINE + timedelta(days=3))
    assert (seen.status, seen.rejection_reason, seen.updated_at) == (
        Status.REJECTED,
        Reason.APPROVAL_WINDOW_EXPIRED,
        DEADLINE,
    )
    sent = challenge(status=Status.SENT)
    assert as_seen(sent, DEADLINE) is sent


def test_five_attempts_and_five_minutes() -> None:
    assert (5, timedelta(minutes=5)) == (ATTEMPTS_MAX, TOKEN_LIFETIME)


def test_ted_uses_digits_and_all_else_the_32_symbols() -> None:
    digits = {kind for kind, alphabet in DEFAULT_ALPHABETS.items() if alphabet is Alphabet.DIGITS}
    assert set(DEFAULT_ALPHABETS) == set(Kind)
    assert digits == {Kind.TED, Kind.TED_BATCH}
