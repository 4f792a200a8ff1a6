"""The second factor of one operation: which token is live, how many attempts are left, and what a call deserves.

Source: transfers.md §1.1, §2.7, §4.1 steps 6–11.
"""

from datetime import datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.keyring import KeyMissing, Keyring, Purpose
from aval.domain.token import Alphabet, Token, TokenSeed, derived_token
from aval.domain.transfer import Kind, Method, Reason, Status, moved_to

ATTEMPTS_MAX = 5  # spec transfers.md §2.7
TOKEN_LIFETIME = timedelta(seconds=300)  # spec transfers.md §2.7

DEFAULT_ALPHABETS = {
    Kind.PIX_TRANSFER: Alphabet.CROCKFORD32,
    Kind.PIX_TRANSFER_BATCH: Alphabet.CROCKFORD32,
    Kind.DEVICE: Alphabet.CROCKFORD32,
    Kind.PURCHASE: Alphabet.CROCKFORD32,
    Kind.DEVICE_REGISTRATION: Alphabet.CROCKFORD32,
    Kind.DEVICE_REPLACEMENT: Alphabet.CROCKFORD32,
    Kind.TED: Alphabet.DIGITS,
    Kind.TED_BATCH: Alphabet.DIGITS,
}


class Challenge(msgspec.Struct, frozen=True):
    """The moving part of an operation (table `challenges`)."""

    status: Status
    method: Method
    contact_key: UUID | None
    masked_destination: str | None
    generation: int
    attempts_used: int
    kid: str
    alphabets: str
    issued_at: datetime
    expires_at: datetime
    can_resend_at: datetime
    resends_left: int
    resend_cooldown: timedelta
    approval_deadline: datetime
    rejection_reason: Reason | str | None = None
    refusal: dict[str, Any] | None = None
    transaction_key: UUID | None = None
    event_sequence: int = 0
    updated_at: datetime | None = None

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def attempts_remaining(self) -> int:
        """Comparisons still allowed, 5..0."""
        return ATTEMPTS_MAX - self.attempts_used

    @property
    def is_pending(self) -> bool:
        """Whether the stored status still waits for approval; the window may be over all the same."""
        return self.status is Status.PENDING_2FA_APPROVAL

    @property
    def alphabet(self) -> Alphabet:
        """The alphabet of the live token."""
        return Alphabet.of_letter(self.alphabets[-1])

    def is_overdue(self, now: datetime) -> bool:
        """Whether T7 is due: unapproved at its deadline."""
        return self.is_pending and now >= self.approval_deadline


def first_generation(
    *,
    method: Method,
    contact_key: UUID | None,
    masked_destination: str | None,
    kid: str,
    alphabet: Alphabet,
    now: datetime,
    resend_cooldown: timedelta,
    resends_max: int,
    approval_window: timedelta,
) -> Challenge:
    """The challenge of an operation that is requested now: generation 1, no attempt used, 5:00 to live."""
    return Challenge(
        status=Status.PENDING_2FA_APPROVAL,
        method=method,
        contact_key=contact_key,
        masked_destination=masked_destination,
        generation=1,
        attempts_used=0,
        kid=kid,
        alphabets=alphabet.letter,
        issued_at=now,
        expires_at=now + TOKEN_LIFETIME,
        can_resend_at=now + resend_cooldown,
        resends_left=resends_max,
        resend_cooldown=resend_cooldown,
        approval_deadline=now + approval_window,
        updated_at=now,
    )


def next_generation(challenge: Challenge, alphabet: Alphabet, now: datetime) -> Challenge:
    """The challenge after another token was issued: 5:00 begin anew, the attempts stay used."""
    return replace(
        challenge,
        generation=challenge.generation + 1,
        alphabets=challenge.alphabets + alphabet.letter,
        issued_at=now,
        expires_at=now + TOKEN_LIFETIME,
        can_resend_at=now + challenge.resend_cooldown,
        resends_left=challenge.resends_left - 1,
        updated_at=now,
    )


def as_seen(challenge: Challenge, now: datetime) -> Challenge:
    """The challenge as every call and read sees it: from the deadline on it is rejected, stored so or not (T7)."""
    if not challenge.is_overdue(now):
        return challenge
    return replace(
        challenge,
        status=moved_to(challenge.status, Status.REJECTED),
        rejection_reason=Reason.APPROVAL_WINDOW_EXPIRED,
        updated_at=challenge.approval_deadline,
    )


class Verdict(Enum):
    """What validate_token deserves, before the approval checks."""

    APPROVED = "approved"
    INCORRECT = "incorrect"
    SUPERSEDED = "superseded"
    EXHAUSTED = "exhausted"  # the fifth wrong comparison, now
    ATTEMPTS_EXCEEDED = "attempts_exceeded"  # it was before
    INVALID_STATUS = "invalid_status"
    WINDOW_OVER = "window_over"  # T7 is applied now
    TOKEN_REFUSED = "token_refused"  # noqa: S105 – a device operation never takes a token
    DEVICE_PENDING = "device_pending"
    TOKEN_REQUIRED = "token_required"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    BUDGET_SPENT = "budget_spent"
    KEY_UNAVAILABLE = "key_unavailable"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict, and what the comparison was if one was made."""

    verdict: Verdict
    comparison: str | None = None  # right, wrong, superseded: the row of `comparisons`

    @property
    def is_compared(self) -> bool:
        """Whether a comparison was evaluated, so that it must be remembered."""
        return self.comparison is not None


class TokenSource(msgspec.Struct, frozen=True):
    """Derives the tokens of one challenge; a sandbox integrator may fix them all."""

    keyring: Keyring
    seed: TokenSeed
    fixed_token: str | None = None

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    def token(self, challenge: Challenge, generation: int) -> Token:
        """The token of a generation; raises KeyMissing if the key of the challenge's `kid` is gone."""
        if self.fixed_token is not None:
            return Token(self.fixed_token)
        secret = self.keyring.find(Purpose.TOKEN, challenge.kid).secret
        alphabet = Alphabet.of_letter(challenge.alphabets[generation - 1])
        return derived_token(secret, self.seed, generation=generation, alphabet=alphabet)


def standing(challenge: Challenge, now: datetime) -> Verdict | None:
    """Steps 6 and 7 of §4.1: why no token call can succeed any more, or None."""
    if challenge.rejection_reason == Reason.ATTEMPTS_EXCEEDED:
        return Verdict.ATTEMPTS_EXCEEDED
    if not challenge.is_pending:
        return Verdict.INVALID_STATUS
    if challenge.is_overdue(now):
        return Verdict.WINDOW_OVER
    return None


def judge(
    challenge: Challenge,
    submitted: Token | None,
    now: datetime,
    source: TokenSource,
    *,
    is_digits_budget_spent: bool = False,
    is_budget_spent: bool = False,
    is_device_approved: bool = False,
) -> Judgement:
    """Steps 6 to 11 of §4.1: the first check that fails decides; a comparison is made only when all before passed.

    `now` is the database's clock, read after the row lock was won.
    """
    verdict = standing(challenge, now)
    if verdict is None and challenge.method is Method.DEVICE:
        verdict = _judge_device(submitted, is_device_approved)
    elif verdict is None:
        is_dead = now >= challenge.expires_at or (is_digits_budget_spent and challenge.alphabet is Alphabet.DIGITS)
        verdict = Verdict.TOKEN_EXPIRED if is_dead else Verdict.BUDGET_SPENT if is_budget_spent else None
        if submitted is None:
            verdict = Verdict.TOKEN_REQUIRED
    if verdict is not None:
        return Judgement(verdict)
    assert submitted is not None
    return _compared(challenge, submitted, source)


def _judge_device(submitted: Token | None, is_device_approved: bool) -> Verdict:
    if submitted is not None:
        return Verdict.TOKEN_REFUSED
    return Verdict.APPROVED if is_device_approved else Verdict.DEVICE_PENDING


def _compared(challenge: Challenge, submitted: Token, source: TokenSource) -> Judgement:
    try:
        generation = _matching_generation(challenge, submitted, source)
    except KeyMissing:
        return Judgement(Verdict.KEY_UNAVAILABLE)
    if generation == challenge.generation:
        return Judgement(Verdict.APPROVED, "right")
    comparison = "wrong" if generation is None else "superseded"
    if challenge.attempts_used + 1 >= ATTEMPTS_MAX:
        return Judgement(Verdict.EXHAUSTED, comparison)
    return Judgement(Verdict.INCORRECT if generation is None else Verdict.SUPERSEDED, comparison)


def _matching_generation(challenge: Challenge, submitted: Token, source: TokenSource) -> int | None:
    """Derive and compare every generation, the live one first, so that time tells nothing of which one matched."""
    found: int | None = None
    for generation in range(challenge.generation, 0, -1):
        alphabet = Alphabet.of_letter(challenge.alphabets[generation - 1])
        is_same = submitted.is_same(source.token(challenge, generation), alphabet)
        if is_same and found is None:
            found = generation
    return found
