"""Budgets of redemptions and the twenty messages of a number."""

from datetime import UTC, datetime, timedelta

import pytest

from aval.domain.budget import BudgetFigures, BudgetStop, GuessHistory, WrongComparison
from aval.domain.redemption_call import number_wait, retry_refusal, token_budget_refusal, token_stop
from aval.domain.token import Alphabet

NOW = datetime(2026, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ([], None),
        ([1] * 19, None),
        ([1] * 20, 23 * HOUR),
        ([1] * 19 + [24], None),
        ([1] * 19 + [23], HOUR),
        ([1] * 25, 23 * HOUR),
    ],
)
def test_a_number_takes_twenty_messages_in_a_day(ages: list[int], expected: timedelta | None) -> None:
    assert number_wait([NOW - age * HOUR for age in ages], NOW) == expected


def test_refusals_say_when_to_come_again() -> None:
    refusal = token_budget_refusal(BudgetStop("approver_locked", timedelta(seconds=1.2)))
    assert (refusal.name, refusal.headers, refusal.extra_fields) == (
        "rdm.token_budget",
        {"Retry-After": "2"},
        {"reason": "approver_locked"},
    )
    assert retry_refusal("rdm.resend_limit", timedelta(0)).headers == {"Retry-After": "1"}


def test_a_spent_budget_of_digits_stops_digits_alone_and_only_where_nothing_takes_their_place() -> None:
    wrong = [WrongComparison(NOW - HOUR, is_digits=True, is_fifth=False)] * 8
    history = GuessHistory(by_approver=wrong)
    refusing = BudgetFigures(digits_overflow="refuse")
    assert token_stop(history, refusing, Alphabet.CROCKFORD32, NOW) is None
    assert token_stop(history, BudgetFigures(), Alphabet.DIGITS, NOW) is None
    stop = token_stop(history, refusing, Alphabet.DIGITS, NOW)
    assert stop is not None and stop.reason == "approver_locked"
