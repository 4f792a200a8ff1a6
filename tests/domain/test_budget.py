"""Budgets over evaluated wrong comparisons: windows, their order, and how long to wait (transfers.md §8.3)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from aval.domain.budget import (
    DAY,
    FOREVER,
    MONTH,
    NO_HISTORY,
    TEN_MINUTES,
    BudgetFigures,
    BudgetStop,
    GuessAlarm,
    GuessHistory,
    MessageHistory,
    WrongComparison,
    digits_stop,
    guess_alarms,
    guess_stop,
    is_approver_digits_spent,
    is_digits_budget_spent,
    message_stop,
    operation_stop,
)
from tests.domain.examples import INSTANT, NOW

FIGURES = BudgetFigures()
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


def wrong(*ages: timedelta, is_digits: bool = False, is_fifth: bool = False) -> tuple[WrongComparison, ...]:
    """Comparisons of these ages, newest first."""
    return tuple(WrongComparison(NOW - age, is_digits, is_fifth) for age in sorted(ages))


def history(*comparisons: WrongComparison, **more: Any) -> GuessHistory:
    return replace(GuessHistory(tuple(sorted(comparisons, key=lambda one: one.judged_at, reverse=True))), **more)


def stop_of(known: GuessHistory) -> BudgetStop | None:
    return guess_stop(known, FIGURES, NOW)


def test_the_figures_are_those_of_the_contract() -> None:
    assert (FIGURES.approver_wrong_24h_max, FIGURES.approver_wrong_30d_max) == (20, 100)
    assert (FIGURES.approver_exhausted_24h_max, FIGURES.approver_wrong_in_a_row_max) == (2, 100)
    assert (FIGURES.approver_digits_wrong_30d_max, FIGURES.integrator_digits_wrong_24h_max) == (8, 24)
    assert (FIGURES.integrator_wrong_24h_max, FIGURES.platform_wrong_24h_max) == (240, 25_000)
    assert (FIGURES.integrator_wrong_warn_percent, FIGURES.platform_wrong_24h_alarm) == (70, 12_000)
    assert (FIGURES.approver_unanswered_10min_max, FIGURES.approver_unanswered_24h_max) == (6, 20)
    assert (FIGURES.approver_messages_24h_max, FIGURES.approver_pending_max) == (200, 10)


def test_nobody_who_guessed_nothing_is_stopped() -> None:
    assert stop_of(NO_HISTORY) is None
    assert not is_digits_budget_spent(NO_HISTORY, FIGURES, NOW)


@pytest.mark.parametrize(
    ("ages", "wait"),
    [
        ([HOUR] * 19, None),
        ([HOUR] * 20, DAY - HOUR),
        ([DAY - INSTANT] * 20, INSTANT),
        ([DAY] * 20, None),
        ([SECOND] * 19 + [DAY], None),
        ([HOUR] * 10 + [2 * HOUR] * 10, DAY - 2 * HOUR),
        ([HOUR] * 10 + [2 * HOUR] * 11, DAY - 2 * HOUR),
        ([2 * DAY] * 99, None),
        ([2 * DAY] * 100, MONTH - 2 * DAY),
        ([MONTH - INSTANT] * 100, INSTANT),
        ([MONTH] * 100, None),
        ([HOUR] * 20 + [2 * DAY] * 80, MONTH - 2 * DAY),  # the longer wait of the two
    ],
)
def test_an_approver_is_locked_until_the_window_has_room(ages: list[timedelta], wait: timedelta | None) -> None:
    assert stop_of(history(*wrong(*ages))) == (None if wait is None else BudgetStop("approver_locked", wait))


@pytest.mark.parametrize(
    ("ages", "wait"),
    [
        ([HOUR], None),
        ([HOUR, 2 * HOUR], DAY - HOUR),
        ([HOUR, HOUR + DAY - INSTANT], DAY - HOUR),
        ([HOUR, HOUR + DAY], None),
        ([DAY - INSTANT, DAY], INSTANT),
        ([DAY, DAY + HOUR], None),
        ([HOUR, 30 * HOUR, 31 * HOUR], None),
        ([2 * HOUR, 3 * HOUR, 4 * HOUR], DAY - 2 * HOUR),
    ],
)
def test_two_operations_exhausted_within_a_day_lock_for_a_day(ages: list[timedelta], wait: timedelta | None) -> None:
    known = history(*wrong(*ages, is_fifth=True), *wrong(*[5 * HOUR] * 4))
    assert stop_of(known) == (None if wait is None else BudgetStop("approver_locked", wait))


@pytest.mark.parametrize(("count", "is_locked"), [(99, False), (100, True)])
def test_a_hundred_in_a_row_lock_until_a_new_contact(count: int, is_locked: bool) -> None:
    assert stop_of(history(wrong_in_a_row=count)) == (BudgetStop("approver_locked", FOREVER) if is_locked else None)


AROUND = [
    ({"integrator_wrong_24h": 239}, None),
    ({"integrator_wrong_24h": 240}, BudgetStop("integrator_paused", DAY)),
    ({"integrator_wrong_24h": 240, "integrator_room_at": NOW + HOUR}, BudgetStop("integrator_paused", HOUR)),
    ({"integrator_wrong_24h": 240, "integrator_room_at": NOW - HOUR}, BudgetStop("integrator_paused", SECOND)),
    ({"platform_wrong_24h": 24_999}, None),
    ({"platform_wrong_24h": 25_000, "platform_room_at": NOW + HOUR}, BudgetStop("platform_paused", HOUR)),
    ({"integrator_wrong_24h": 240, "platform_wrong_24h": 25_000}, BudgetStop("integrator_paused", DAY)),
    ({"wrong_in_a_row": 100, "integrator_wrong_24h": 240}, BudgetStop("approver_locked", FOREVER)),
]


@pytest.mark.parametrize(("around", "stop"), AROUND)
def test_approver_then_integrator_then_platform(around: dict[str, Any], stop: BudgetStop | None) -> None:
    assert stop_of(history(**around)) == stop


@pytest.mark.parametrize(
    ("ages", "is_digits", "is_spent"),
    [
        ([HOUR] * 7, True, False),
        ([HOUR] * 8, True, True),
        ([HOUR] * 8, False, False),
        ([HOUR] * 7 + [MONTH - INSTANT], True, True),
        ([HOUR] * 7 + [MONTH], True, False),
    ],
)
def test_eight_wrong_digits_tokens_spend_the_approvers_digits(
    ages: list[timedelta], is_digits: bool, is_spent: bool
) -> None:
    known = history(*wrong(*ages, is_digits=is_digits))
    assert is_approver_digits_spent(known, FIGURES, NOW) is is_spent
    assert is_digits_budget_spent(known, FIGURES, NOW) is is_spent
    assert stop_of(known) is None


@pytest.mark.parametrize(("count", "is_spent"), [(23, False), (24, True)])
def test_an_integrators_digits_budget_leaves_live_tokens_alone(count: int, is_spent: bool) -> None:
    known = history(integrator_digits_wrong_24h=count)
    assert is_digits_budget_spent(known, FIGURES, NOW) is is_spent
    assert not is_approver_digits_spent(known, FIGURES, NOW)


@pytest.mark.parametrize(
    ("known", "stop"),
    [
        (history(*wrong(*[HOUR] * 7, is_digits=True)), None),
        (history(*wrong(*[HOUR] * 8, is_digits=True)), BudgetStop("approver_locked", MONTH - HOUR)),
        (history(*wrong(*[HOUR] * 8)), None),
        (history(integrator_digits_wrong_24h=23), None),
        (
            history(integrator_digits_wrong_24h=24, integrator_digits_room_at=NOW + HOUR),
            BudgetStop("integrator_paused", HOUR),
        ),
    ],
)
def test_where_overflow_is_refused_a_spent_digits_budget_stops_digits(
    known: GuessHistory, stop: BudgetStop | None
) -> None:
    assert digits_stop(known, replace(FIGURES, digits_overflow="refuse"), NOW) == stop
    assert digits_stop(known, FIGURES, NOW) is None


MINUTE = timedelta(minutes=1)


def sent(unanswered: list[timedelta], answered: list[timedelta] | None = None, *, pending: int = 0) -> MessageHistory:
    """Messages of these ages, newest first."""
    times = [NOW - age for age in sorted(unanswered)]
    return MessageHistory(
        tuple(sorted([*times, *(NOW - age for age in answered or [])], reverse=True)), tuple(times), pending
    )


MESSAGES = [
    (sent([]), None),
    (sent([MINUTE] * 5), None),
    (sent([MINUTE] * 6), TEN_MINUTES - MINUTE),
    (sent([TEN_MINUTES - INSTANT] * 6), INSTANT),
    (sent([TEN_MINUTES] * 6), None),
    (sent([MINUTE] * 5 + [TEN_MINUTES]), None),
    (sent([MINUTE] * 5, [MINUTE] * 50), None),
    (sent([MINUTE, 2 * MINUTE, 3 * MINUTE, 4 * MINUTE, 5 * MINUTE, 6 * MINUTE, 7 * MINUTE]), 4 * MINUTE),
    (sent([HOUR] * 19), None),
    (sent([HOUR] * 20), DAY - HOUR),
    (sent([DAY - INSTANT] * 20), INSTANT),
    (sent([DAY] * 20), None),
    (sent([MINUTE] * 6 + [HOUR] * 14), DAY - HOUR),  # the longer wait of the two
    (sent([], [HOUR] * 199), None),
    (sent([], [HOUR] * 200), DAY - HOUR),
    (sent([MINUTE], [HOUR] * 199), DAY - HOUR),
    (sent([], [DAY - INSTANT] * 200), INSTANT),
    (sent([], [DAY] * 200), None),
]


@pytest.mark.parametrize(("known", "wait"), MESSAGES)
def test_messages_stop_until_their_window_has_room(known: MessageHistory, wait: timedelta | None) -> None:
    expected = None if wait is None else BudgetStop("message_limit", wait)
    assert message_stop(known, FIGURES, NOW) == expected
    assert operation_stop(known, FIGURES, NOW, has_message=True) == expected
    assert operation_stop(known, FIGURES, NOW, has_message=False) is None


PENDING = BudgetStop("pending_operations_limit", timedelta(0))


@pytest.mark.parametrize(
    ("known", "has_message", "stop"),
    [
        (sent([], pending=9), True, None),
        (sent([], pending=10), True, PENDING),
        (sent([], pending=9), False, None),
        (sent([], pending=10), False, PENDING),
        (sent([MINUTE] * 6, pending=10), True, BudgetStop("message_limit", TEN_MINUTES - MINUTE)),
        (sent([MINUTE] * 6, pending=10), False, PENDING),
    ],
)
def test_messages_come_before_pending_operations_and_a_device_gets_none(
    known: MessageHistory, has_message: bool, stop: BudgetStop | None
) -> None:
    assert operation_stop(known, FIGURES, NOW, has_message=has_message) == stop


def test_what_is_requested_meanwhile_counts_as_well() -> None:
    known = sent([MINUTE] * 4, [HOUR], pending=7)
    known = known.with_operation(NOW, has_message=True).with_operation(NOW, has_message=False)
    assert (len(known.made), len(known.unanswered), known.pending) == (6, 5, 9)
    assert known.made[0] == known.unanswered[0] == NOW
    assert operation_stop(known, FIGURES, NOW, has_message=True) is None
    known = known.with_operation(NOW, has_message=True)
    assert operation_stop(known, FIGURES, NOW, has_message=True) == BudgetStop("message_limit", TEN_MINUTES - MINUTE)
    assert operation_stop(known, FIGURES, NOW, has_message=False) == PENDING


@pytest.mark.parametrize(
    ("by_integrator", "wrong", "alarms"),
    [
        ({}, 11_999, []),
        ({}, 12_000, [GuessAlarm("platform_guess_alarm", 12_000)]),
        ({"a": 167}, 167, []),
        ({"b": 168, "a": 300, "c": 2}, 470, [("a", 300), ("b", 168)]),
    ],
)
def test_alarms_come_before_anybody_is_paused(by_integrator: dict[str, int], wrong: int, alarms: list[Any]) -> None:
    expected = [a if isinstance(a, GuessAlarm) else GuessAlarm("integrator_guess_warning", a[1], a[0]) for a in alarms]
    assert guess_alarms(by_integrator, wrong, FIGURES) == expected


def test_a_share_of_an_odd_figure_is_rounded_up() -> None:
    figures = replace(FIGURES, integrator_wrong_24h_max=5, integrator_wrong_warn_percent=50)
    assert guess_alarms({"a": 2}, 2, figures) == []
    assert guess_alarms({"a": 3}, 3, figures) == [GuessAlarm("integrator_guess_warning", 3, "a")]
