"""May this be requested, may it be approved: the checks on approver, account, hours, limits and funds.

Source: transfers.md §3.1 (order of checks on create), §4.1 step 12, §8.2.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from aval.domain.calendar import is_ted_open, limit_window
from aval.domain.money import Brl
from aval.domain.transfer import Kind, Method, Reason


class Limits(msgspec.Struct, frozen=True):
    """Limits of one family on one account (§8.2); None = no limit."""

    operation_amount_limit: Brl | None = None
    batch_amount_limit: Brl | None = None
    daily_amount_limit: Brl | None = None
    nightly_amount_limit: Brl | None = None
    sms_amount_limit: Brl | None = None
    email_amount_limit: Brl | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any] | None) -> "Limits":
        """Read from the column `accounts.limits`: whole centavos by name."""
        if not stored:
            return NO_LIMITS
        return cls(**{name: Brl(value) for name, value in stored.items() if value is not None})

    @property
    def has_sums(self) -> bool:
        """Whether a limit needs the sum of what was approved before."""
        return self.daily_amount_limit is not None or self.nightly_amount_limit is not None


NO_LIMITS = Limits()


class ApprovalFacts(msgspec.Struct, frozen=True):
    """What the approval checks look at, read under the locks of the transaction that decides."""

    account_status: str
    is_approver_active: bool
    powers: frozenset[str]
    max_amount: Brl | None
    limits: Limits = NO_LIMITS
    spent: Brl = Brl(0)  # approved in the current window of the family, not rejected later
    holidays: frozenset[date] = frozenset()
    has_ted_hours: bool = False


def is_approver_allowed(facts: ApprovalFacts, kind: Kind, amount: Brl) -> bool:
    """Whether the approver is active, holds the kind's power, and the amount is within their maximum."""
    if kind is Kind.DEVICE:  # spec transfers.md §5.1: linked to the account
        return facts.is_approver_active and bool(facts.powers)
    is_within = facts.max_amount is None or amount <= facts.max_amount
    return facts.is_approver_active and kind.value in facts.powers and is_within


def is_outside_ted_hours(facts: ApprovalFacts, kind: Kind, now: datetime) -> bool:
    """Whether TED hours hold for this integrator and are over."""
    return facts.has_ted_hours and kind in (Kind.TED, Kind.TED_BATCH) and not is_ted_open(now, facts.holidays)


def exceeded_limit(
    facts: ApprovalFacts, amount: Brl, method: Method, now: datetime, *, largest: Brl | None = None
) -> str | None:
    """The name of the first limit the amount would break, or None; of a batch its total, and its `largest` item."""
    limits = facts.limits
    if limits is NO_LIMITS:
        return None
    window = "daily_amount_limit" if limit_window(now)[0] == "daily" else "nightly_amount_limit"
    judged = {"operation_amount_limit": (limits.operation_amount_limit, amount if largest is None else largest)}
    if largest is not None:
        judged["batch_amount_limit"] = (limits.batch_amount_limit, amount)
    judged[window] = (getattr(limits, window), facts.spent + amount)
    channel_limit = channel_limit_of(limits, method)
    judged[f"{method.value}_amount_limit"] = (channel_limit, amount)
    return next((name for name, (limit, total) in judged.items() if limit is not None and total > limit), None)


def channel_limit_of(limits: Limits, method: Method) -> Brl | None:
    """The most that may be approved over this channel."""
    return {Method.SMS: limits.sms_amount_limit, Method.EMAIL: limits.email_amount_limit}.get(method)


def rejection_of(
    facts: ApprovalFacts,
    kind: Kind,
    method: Method,
    amount: Brl,
    now: datetime,
    spent: Brl | None,
    *,
    largest: Brl | None = None,
) -> tuple[Reason, str | None] | None:
    """Step 12 of §4.1 without funds: why a right token is not enough, with the limit's name, or None.

    `spent` is what the family approved in the current window, this transaction's earlier calls included; `largest` the
    amount of a batch's largest item.
    """
    if not is_approver_allowed(facts, kind, amount):
        return Reason.APPROVER_NOT_ALLOWED, None
    if facts.account_status != "open":
        return Reason.ACCOUNT_UNAVAILABLE, None
    if is_outside_ted_hours(facts, kind, now):
        return Reason.OUTSIDE_TED_HOURS, None
    judged = facts if spent is None else replace(facts, spent=spent)
    limit = exceeded_limit(judged, amount, method, now, largest=largest)
    return (Reason.LIMIT_EXCEEDED, limit) if limit is not None else None
