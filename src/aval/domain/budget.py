"""Budgets that bound guessing and messages across operations: per approver, per integrator, per deployment.

Source: transfers.md §8.3, promises.md §7. Every figure is a setting; 5 attempts and 5:00 always hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

TEN_MINUTES = timedelta(minutes=10)
DAY = timedelta(hours=24)
MONTH = timedelta(days=30)
FOREVER = timedelta(days=30)  # what Retry-After says when only a new contact helps


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """The limits; defaults of transfers.md §8.3."""

    approver_wrong_24h_max: int = 20
    approver_wrong_30d_max: int = 100
    approver_exhausted_24h_max: int = 2
    approver_wrong_in_a_row_max: int = 100
    approver_digits_wrong_30d_max: int = 8
    integrator_digits_wrong_24h_max: int = 24
    integrator_wrong_24h_max: int = 240
    integrator_wrong_warn_percent: int = 70  # of the figure above
    platform_wrong_24h_max: int = 25_000
    platform_wrong_24h_alarm: int = 12_000
    approver_unanswered_10min_max: int = 6
    approver_unanswered_24h_max: int = 20
    approver_messages_24h_max: int = 200
    approver_pending_max: int = 10
    digits_overflow: str = "crockford32"  # what follows a spent digits budget; the other choice is "refuse"


@dataclass(frozen=True, slots=True)
class WrongComparison:
    """One evaluated comparison that was not right."""

    judged_at: datetime
    is_digits: bool
    is_fifth: bool


@dataclass(frozen=True, slots=True)
class GuessHistory:
    """What was guessed wrong: by one approver of one integrator (newest first, 30 days), and around them in 24 h."""

    by_approver: Sequence[WrongComparison] = ()
    wrong_in_a_row: int = 0
    integrator_wrong_24h: int = 0
    integrator_digits_wrong_24h: int = 0
    platform_wrong_24h: int = 0
    integrator_room_at: datetime | None = None
    integrator_digits_room_at: datetime | None = None
    platform_room_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageHistory:
    """What one approver of one integrator was sent in 24 h, newest first, and how many operations wait for them.

    A message is unanswered until a token of its operation is evaluated after it was made.
    """

    made: Sequence[datetime] = ()
    unanswered: Sequence[datetime] = ()
    pending: int = 0

    def with_operation(self, at: datetime, *, has_message: bool) -> "MessageHistory":
        """The same after another operation was requested, with its message unless a device approves it."""
        new = (at,) if has_message else ()
        return MessageHistory((*new, *self.made), (*new, *self.unanswered), self.pending + 1)


@dataclass(frozen=True, slots=True)
class BudgetStop:
    """A spent budget: its name on the wire, and when it is worth another call."""

    reason: str
    retry_after: timedelta


@dataclass(frozen=True, slots=True)
class GuessAlarm:
    """So many wrong tokens in 24 h that a person has to look: of the deployment, or of one integrator."""

    name: str
    wrong: int
    integrator: str | None = None


NO_HISTORY = GuessHistory()


def guess_alarms(wrong_32_symbols: Mapping[str, int], wrong: int, figures: BudgetFigures) -> list[GuessAlarm]:
    """What to tell before budgets are spent: wrong tokens of 32 symbols by integrator, and all of the deployment."""
    warned_at = -(-figures.integrator_wrong_24h_max * figures.integrator_wrong_warn_percent // 100)  # rounded up
    alarms = [GuessAlarm("platform_guess_alarm", wrong)] if wrong >= figures.platform_wrong_24h_alarm else []
    return alarms + [
        GuessAlarm("integrator_guess_warning", count, integrator)
        for integrator, count in sorted(wrong_32_symbols.items())
        if count >= warned_at
    ]


def guess_stop(history: GuessHistory, figures: BudgetFigures, now: datetime) -> BudgetStop | None:
    """The budget that forbids another comparison, or None."""
    wait = _approver_wait(history, figures, now)
    if wait is not None:
        return BudgetStop("approver_locked", wait)
    if history.integrator_wrong_24h >= figures.integrator_wrong_24h_max:
        return BudgetStop("integrator_paused", _until(history.integrator_room_at, now))
    if history.platform_wrong_24h >= figures.platform_wrong_24h_max:
        return BudgetStop("platform_paused", _until(history.platform_room_at, now))
    return None


def message_stop(history: MessageHistory, figures: BudgetFigures, now: datetime) -> BudgetStop | None:
    """The budget that forbids another message, or None."""
    waits = (
        _room_in(history.unanswered, TEN_MINUTES, figures.approver_unanswered_10min_max, now),
        _room_in(history.unanswered, DAY, figures.approver_unanswered_24h_max, now),
        _room_in(history.made, DAY, figures.approver_messages_24h_max, now),
    )
    wait = max((wait for wait in waits if wait is not None), default=None)
    return None if wait is None else BudgetStop("message_limit", wait)


def operation_stop(
    history: MessageHistory, figures: BudgetFigures, now: datetime, *, has_message: bool
) -> BudgetStop | None:
    """The budget that forbids another operation, or None; one that a device approves sends no message."""
    stop = message_stop(history, figures, now) if has_message else None
    if stop is None and history.pending >= figures.approver_pending_max:
        return BudgetStop("pending_operations_limit", timedelta(0))
    return stop


def is_digits_budget_spent(history: GuessHistory, figures: BudgetFigures, now: datetime) -> bool:
    """Whether new generations must use the 32 symbols, and live digits tokens of the approver are dead."""
    return is_approver_digits_spent(history, figures, now) or (
        history.integrator_digits_wrong_24h >= figures.integrator_digits_wrong_24h_max
    )


def digits_stop(history: GuessHistory, figures: BudgetFigures, now: datetime) -> BudgetStop | None:
    """The digits budget that forbids another digits token where nothing may take its place, or None."""
    if figures.digits_overflow != "refuse":
        return None
    wait = _digits_wait(history, figures, now)
    if wait is not None:
        return BudgetStop("approver_locked", wait)
    if history.integrator_digits_wrong_24h >= figures.integrator_digits_wrong_24h_max:
        return BudgetStop("integrator_paused", _until(history.integrator_digits_room_at, now))
    return None


def is_approver_digits_spent(history: GuessHistory, figures: BudgetFigures, now: datetime) -> bool:
    """Whether the approver's own digits budget is spent, which also ends their live digits tokens."""
    return _digits_wait(history, figures, now) is not None


def _digits_wait(history: GuessHistory, figures: BudgetFigures, now: datetime) -> timedelta | None:
    digits = [wrong.judged_at for wrong in history.by_approver if wrong.is_digits]
    return _room_in(digits, MONTH, figures.approver_digits_wrong_30d_max, now)


def _approver_wait(history: GuessHistory, figures: BudgetFigures, now: datetime) -> timedelta | None:
    if history.wrong_in_a_row >= figures.approver_wrong_in_a_row_max:
        return FOREVER
    wrong = [comparison.judged_at for comparison in history.by_approver]
    fifths = [comparison.judged_at for comparison in history.by_approver if comparison.is_fifth]
    waits = (
        _room_in(wrong, DAY, figures.approver_wrong_24h_max, now),
        _room_in(wrong, MONTH, figures.approver_wrong_30d_max, now),
        _lock_after(fifths, figures.approver_exhausted_24h_max, now),
    )
    return max((wait for wait in waits if wait is not None), default=None)


def _room_in(times: Sequence[datetime], window: timedelta, most: int, now: datetime) -> timedelta | None:
    """How long until fewer than `most` lie in the window; None if there is room now. Newest first."""
    if len(times) < most:
        return None
    wait = times[most - 1] + window - now
    return wait if wait > timedelta(0) else None


def _lock_after(fifths: Sequence[datetime], most: int, now: datetime) -> timedelta | None:
    """A lock of 24 h from the moment `most` operations were exhausted within 24 h of each other."""
    for latest, earliest in zip(fifths, fifths[most - 1 :], strict=False):
        if latest - earliest < DAY and now < latest + DAY:
            return latest + DAY - now
    return None


def _until(room_at: datetime | None, now: datetime) -> timedelta:
    return max(room_at - now, timedelta(seconds=1)) if room_at is not None else DAY
