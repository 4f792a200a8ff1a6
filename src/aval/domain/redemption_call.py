"""A second-factor call on a redemption – a purchase, or the registration of a phone – and the budgets it meets.

Source: redemptions.md §4.3, transfers.md §8.3.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from aval.domain.budget import BudgetFigures, BudgetStop, GuessHistory, digits_stop, guess_stop
from aval.domain.caller import Caller
from aval.domain.errors import Refusal
from aval.domain.request import seconds_up
from aval.domain.token import Alphabet, Token
from aval.domain.transfer import Kind

NUMBER_MESSAGES_24H_MAX = 20  # spec redemptions.md §4.3
DAY = timedelta(hours=24)
KEY_RETRY_SECONDS = 5

PURCHASES = frozenset({Kind.PURCHASE})


class RedemptionCall(msgspec.Struct, frozen=True, kw_only=True):
    """validate_token, resend_token or cancel on one operation of a campaign.

    `participant_key` is whose operation it must be; None lets it be anybody's of the campaign. `unknown` is the refusal
    when it is not. `fingerprint` is of the body, needed only with an Idempotency-Key.
    """

    caller: Caller
    operation_key: UUID
    participant_key: UUID | None
    path: str
    correlation_id: str
    kinds: frozenset[Kind] = PURCHASES
    unknown: str = "rdm.purchase_not_found"
    token: Token | None = None
    idempotency_key: str | None = None
    fingerprint: bytes = b""

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def operation(self) -> tuple[UUID, UUID]:
        """The key that calls on one operation share."""
        return self.caller.tenant.key, self.operation_key

    @property
    def has_budgets(self) -> bool:
        """Whether guesses and messages are limited across operations."""
        return not self.caller.tenant.is_sandbox

    def unknown_refusal(self) -> Refusal:
        """There is no such operation, or it is somebody else's."""
        extra = {"resource": "device"} if self.unknown == "rdm.resource_not_found" else {}
        return Refusal(self.unknown, extra_fields=extra)


def token_budget_refusal(stop: BudgetStop) -> Refusal:
    """What a spent budget answers (RDM000929)."""
    return retry_refusal("rdm.token_budget", stop.retry_after, reason=stop.reason)


def retry_refusal(name: str, wait: timedelta, *, reason: str | None = None) -> Refusal:
    """Make a refusal that says when another call is worth it."""
    extra = {} if reason is None else {"reason": reason}
    return Refusal(name, extra_fields=extra, headers={"Retry-After": str(seconds_up(wait))})


def key_refusal() -> Refusal:
    """The key a token was made with is not at hand; nothing was compared."""
    return retry_refusal("rdm.unavailable", timedelta(seconds=KEY_RETRY_SECONDS))


def token_stop(history: GuessHistory, figures: BudgetFigures, alphabet: Alphabet, now: datetime) -> BudgetStop | None:
    """The budget that forbids another token of this alphabet, or None."""
    stop = guess_stop(history, figures, now)
    if stop is None and alphabet is Alphabet.DIGITS:
        stop = digits_stop(history, figures, now)
    return stop


def number_wait(sent: Sequence[datetime], now: datetime) -> timedelta | None:
    """How long until the number may be sent another token message; None if it may now. Newest first."""
    if len(sent) < NUMBER_MESSAGES_24H_MAX:
        return None
    wait = sent[NUMBER_MESSAGES_24H_MAX - 1] + DAY - now
    return wait if wait > timedelta(0) else None
