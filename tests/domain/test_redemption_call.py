"""Budgets of redemptions and the twenty messages of a number."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.domain.budget import BudgetFigures, BudgetStop, GuessHistory, WrongComparison
from aval.domain.caller import Caller, CallerKind
from aval.domain.redemption_call import RedemptionCall, number_wait, retry_refusal, token_budget_refusal, token_stop
from aval.domain.token import Alphabet, Token

NOW = datetime(2026, 3, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEVICE = {"resource": "device"}


def a_call(**change: Any) -> RedemptionCall:
    call = RedemptionCall(
        caller=Caller(CallerKind.PARTICIPANT, "participant:1", frozenset()),
        operation_key=UUID(int=2),
        participant_key=UUID(int=3),
        path="/purchases/2/cancel",
        correlation_id="app-1",
    )
    return replace(call, **change)


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


@pytest.mark.parametrize(
    ("change", "told"),
    [({}, ("rdm.purchase_not_found", {})), ({"unknown": "rdm.resource_not_found"}, ("rdm.resource_not_found", DEVICE))],
)
def test_what_is_unknown_is_told_by_its_kind(change: dict[str, Any], told: tuple[str, Any]) -> None:
    refusal = a_call(**change).unknown_refusal()
    assert (refusal.name, refusal.extra_fields) == told


def test_nothing_of_a_call_prints() -> None:
    assert repr(a_call(token=Token("7K2M9X"))) == "RedemptionCall"
