"""A year of guessing, simulated against `domain/budget.py` alone: what the attacker gets for their patience.

The history is kept here a second time, by the words of promises.md §7, and not by the storage's SQL.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aval.domain.budget import (
    BudgetFigures,
    BudgetStop,
    GuessHistory,
    WrongComparison,
    guess_stop,
    is_approver_digits_spent,
    is_digits_budget_spent,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, MONTH = timedelta(days=1), timedelta(days=30)
DIGITS, SYMBOLS = 10**6, 32**6
ROWS_MAX = 100
MOMENT = timedelta(microseconds=1)
DEFAULT = BudgetFigures()


@dataclass(frozen=True)
class Attack:
    """So many operations a day, spread over integrators and their approvers, each guessed at so often."""

    operations_a_day: int
    approvers: int = 1
    integrators: int = 1
    is_digits: bool = False
    guesses: int = 5
    days: int = 365


@dataclass
class Day:
    """What was guessed wrong in the last 24 hours."""

    times: deque[datetime] = field(default_factory=deque)

    def count(self, now: datetime) -> int:
        while self.times and self.times[0] <= now - DAY:
            self.times.popleft()
        return len(self.times)

    @property
    def room_at(self) -> datetime | None:
        return self.times[0] + DAY if self.times else None


class Registry:
    """Every wrong comparison, by approver, integrator and deployment."""

    def __init__(self) -> None:
        self._by_approver: dict[int, deque[WrongComparison]] = defaultdict(deque)
        self._in_a_row: dict[int, int] = defaultdict(int)
        self._by_integrator: dict[tuple[int, bool], Day] = defaultdict(Day)
        self._all = Day()
        self.wrong = {True: 0, False: 0}

    def history(self, approver: int, integrator: int, now: datetime) -> GuessHistory:
        rows = self._by_approver[approver]
        while rows and (rows[-1].judged_at <= now - MONTH or len(rows) > ROWS_MAX):
            rows.pop()
        symbols, digits = self._by_integrator[integrator, False], self._by_integrator[integrator, True]
        return GuessHistory(
            by_approver=rows,
            wrong_in_a_row=self._in_a_row[approver],
            integrator_wrong_24h=symbols.count(now),
            integrator_digits_wrong_24h=digits.count(now),
            platform_wrong_24h=self._all.count(now),
            integrator_room_at=symbols.room_at,
            platform_room_at=self._all.room_at,
        )

    def count(self, approver: int, integrator: int, comparison: WrongComparison) -> None:
        self._by_approver[approver].appendleft(comparison)
        self._in_a_row[approver] += 1
        self._by_integrator[integrator, comparison.is_digits].times.append(comparison.judged_at)
        self._all.times.append(comparison.judged_at)
        self.wrong[comparison.is_digits] += 1

    def approve(self) -> None:
        """Everybody approves something of their own: the worst case, for it clears the wrong ones in a row."""
        self._in_a_row.clear()


def risk_of(attack: Attack, figures: BudgetFigures = DEFAULT) -> tuple[float, Registry]:
    """The chance that at least one guess was right, and what was counted on the way."""
    registry, approved_at = Registry(), START
    open_at: dict[int, datetime] = defaultdict(lambda: START)
    paused_until = START
    for number, now in enumerate(_moments(attack)):
        if now < paused_until:
            continue
        approver = number % attack.approvers
        integrator = approver % attack.integrators
        if now - approved_at >= DAY:
            registry.approve()
            approved_at = now
        if now >= open_at[approver]:
            stop = _operation(registry, figures, attack, (approver, integrator), now)
            if stop is not None and stop.reason == "approver_locked":
                _see_that_it_holds(registry, figures, (approver, integrator), now, stop)
                open_at[approver] = min(now + stop.retry_after, approved_at + DAY + DAY)
            elif stop is not None and attack.integrators == 1:
                paused_until = now + stop.retry_after
    return 1 - math.exp(-registry.wrong[True] / DIGITS - registry.wrong[False] / SYMBOLS), registry


def _moments(attack: Attack) -> Iterator[datetime]:
    step = DAY / attack.operations_a_day
    return (START + step * number for number in range(attack.operations_a_day * attack.days))


def _operation(
    registry: Registry, figures: BudgetFigures, attack: Attack, who: tuple[int, int], now: datetime
) -> BudgetStop | None:
    """Create an operation and guess at it until it is exhausted, the attacker walks away, or a budget stops it."""
    history = registry.history(*who, now)
    stop = guess_stop(history, figures, now)
    is_digits = attack.is_digits and not is_digits_budget_spent(history, figures, now)
    for guess in range(attack.guesses):
        if stop is not None or (is_digits and is_approver_digits_spent(history, figures, now)):
            return stop
        registry.count(*who, WrongComparison(now, is_digits, is_fifth=guess == 4))
        history = registry.history(*who, now)
        stop = guess_stop(history, figures, now)
    return stop


def _see_that_it_holds(
    registry: Registry, figures: BudgetFigures, who: tuple[int, int], now: datetime, stop: BudgetStop
) -> None:
    """What Retry-After says is true: a moment earlier the budget is still spent."""
    later = now + stop.retry_after - MOMENT
    history = GuessHistory(by_approver=list(registry.history(*who, now).by_approver))
    if registry.history(*who, now).wrong_in_a_row < figures.approver_wrong_in_a_row_max:
        assert guess_stop(history, figures, later) is not None, (now, stop)
