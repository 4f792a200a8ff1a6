"""A request for a transfer: what is known when it arrives, and the first check it fails.

Source: transfers.md §3.1 (create, order of checks), §2.5, §2.6.
"""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.approval import ApprovalFacts, exceeded_limit, is_approver_allowed, is_outside_ted_hours
from aval.domain.budget import BudgetFigures, BudgetStop, GuessHistory, digits_stop, guess_stop
from aval.domain.challenge import DEFAULT_ALPHABETS, Challenge, first_generation
from aval.domain.device import DeviceChoice
from aval.domain.errors import CATALOGUE, Refusal
from aval.domain.money import Brl
from aval.domain.principal import Integrator, Principal
from aval.domain.token import Alphabet
from aval.domain.transfer import Kind, Method, Payee


class TransferRequest(msgspec.Struct, frozen=True):
    """One create call, decoded. `refusal` is what the edge found wrong and whose turn comes after the account's."""

    principal: Principal
    kind: Kind
    account_key: UUID
    key: UUID
    nonce: bytes
    request_control_key: UUID
    fingerprint: bytes
    correlation_id: str
    amount: Brl
    end_to_end_id: str | None = None
    payee: Payee | None = None
    pix_transfer_type: str | None = None
    pix_message: str | None = None
    receiver_conciliation_id: str | None = None
    approver_index: bytes = b""
    method: Method = Method.SMS
    refusal: Refusal | None = None
    largest: Brl | None = None  # of a batch, whose total `amount` is
    session_id: UUID | None = None  # of the device session, which names it

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def identity(self) -> tuple[UUID, str, UUID]:
        """What makes two calls the same request: integrator, kind, request_control_key."""
        return self.principal.integrator.key, self.kind.value, self.request_control_key


class RequestFacts(msgspec.Struct, frozen=True):
    """What PostgreSQL knows about one request, read in one statement."""

    now: datetime
    is_authentic: bool
    is_current: bool
    account_status: str | None
    balance: Brl
    fee: Brl | None
    limits: Mapping[str, Any]
    twin_key: UUID | None
    twin_fingerprint: bytes | None
    is_end_to_end_id_used: bool
    approver_key: UUID | None
    approval: ApprovalFacts
    contact_key: UUID | None
    masked_destination: str | None
    usable_at: datetime | None
    is_channel_closed: bool
    budget_stop: BudgetStop | None = None
    is_digits_budget_spent: bool = False
    device: DeviceChoice | None = None  # what is known of the approver's devices, if one is to approve


def is_twin(request: TransferRequest, facts: RequestFacts) -> bool:
    """Whether this is a repeat of a request that was accepted; raises the conflict if only the key is the same."""
    if facts.twin_key is None or facts.account_status is None:
        return False
    if facts.twin_fingerprint != request.fingerprint:
        raise Refusal(f"{request.kind.family}.idempotency_conflict")
    return True


def refuse(request: TransferRequest, facts: RequestFacts, fee: Brl, *, is_channel_off: bool = False) -> None:
    """Raise the first check that fails after idempotency, in the order of §3.1."""
    _refuse_request(request, facts)
    _refuse_approver(request, facts)
    family = request.kind.family
    if facts.budget_stop is not None:
        raise budget_refusal(family, facts.budget_stop)
    if facts.is_channel_closed or is_channel_off:
        raise Refusal(f"{family}.channel_closed_on_create")
    limit = exceeded_limit(facts.approval, request.amount, request.method, facts.now, largest=request.largest)
    if limit is not None:
        raise Refusal(f"{family}.limit_exceeded", extra_fields={"reason": limit}, reason=limit)
    if request.amount + fee > facts.balance:
        raise Refusal(f"{family}.insufficient_funds")


def _refuse_request(request: TransferRequest, facts: RequestFacts) -> None:
    family = request.kind.family
    if facts.account_status != "open":
        raise Refusal(f"{family}.account_unavailable")
    if request.refusal is not None:
        raise request.refusal
    if facts.is_end_to_end_id_used:
        raise Refusal(f"{family}.duplicate_end_to_end_id")
    if is_outside_ted_hours(facts.approval, request.kind, facts.now):
        raise Refusal(f"{family}.outside_ted_hours")


def _refuse_approver(request: TransferRequest, facts: RequestFacts) -> None:
    family = request.kind.family
    if facts.approver_key is None or not is_approver_allowed(facts.approval, request.kind, request.amount):
        raise Refusal(f"{family}.approver_not_allowed")
    if request.method is Method.DEVICE:
        if facts.device is None or not facts.device.serves(request.amount, facts.now):
            raise Refusal(f"{family}.device_not_available")
        return
    if facts.contact_key is None or facts.usable_at is None or facts.usable_at > facts.now:
        raise Refusal(f"{family}.contact_not_available")


def budget_refusal(family: str, stop: BudgetStop) -> Refusal:
    """What a spent budget answers (§8.3)."""
    if stop.reason == "pending_operations_limit" and f"{family}.limit_exceeded" in CATALOGUE:  # a device has no limits
        return Refusal(f"{family}.limit_exceeded", extra_fields={"reason": stop.reason}, reason=stop.reason)
    seconds = seconds_up(stop.retry_after)
    return Refusal(
        "qit.too_many_requests",
        extra_fields={"reason": stop.reason},
        headers={"Retry-After": str(seconds)},
        seconds=seconds,
    )


def seconds_up(duration: timedelta) -> int:
    """Whole seconds to wait, rounded up, at least one."""
    return max(1, math.ceil(duration.total_seconds()))


def fee_of(integrator: Integrator, kind: Kind, account_fee: Brl | None) -> Brl:
    """The fee per item: the account's own before the integrator's."""
    if account_fee is not None:
        return account_fee
    return Brl(integrator.pix_fee if kind in (Kind.PIX_TRANSFER, Kind.PIX_TRANSFER_BATCH) else integrator.ted_fee)


def alphabet_of(integrator: Integrator, kind: Kind, *, is_digits_budget_spent: bool) -> Alphabet:
    """The alphabet a new generation uses: the integrator's choice, unless the digits budget is spent."""
    chosen = Alphabet(integrator.token_alphabets.get(kind.value, DEFAULT_ALPHABETS[kind]))
    return Alphabet.CROCKFORD32 if is_digits_budget_spent else chosen


def issue_stop(
    integrator: Integrator, kind: Kind, history: GuessHistory, figures: BudgetFigures, now: datetime
) -> BudgetStop | None:
    """The budget that forbids another token of this kind, or None (§8.3)."""
    stop = guess_stop(history, figures, now)
    if stop is None and alphabet_of(integrator, kind, is_digits_budget_spent=False) is Alphabet.DIGITS:
        stop = digits_stop(history, figures, now)
    return stop


def first_challenge(request: TransferRequest, facts: RequestFacts, kid: str) -> Challenge:
    """The challenge of a request that passed every check: generation 1, issued now."""
    integrator, now = request.principal.integrator, facts.now
    alphabet = alphabet_of(integrator, request.kind, is_digits_budget_spent=facts.is_digits_budget_spent)
    return first_generation(
        method=request.method,
        contact_key=facts.contact_key,
        masked_destination=facts.masked_destination,
        kid=kid,
        alphabet=alphabet,
        now=now,
        resend_cooldown=integrator.resend_cooldown,
        resends_max=integrator.max_resends,
        approval_window=integrator.approval_window,
    )
