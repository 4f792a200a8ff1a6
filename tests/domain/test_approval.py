"""Whether something may be requested or approved: approver, account, TED hours, limits (transfers.md §4.1 step 12)."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from aval.domain.approval import (
    NO_LIMITS,
    ApprovalFacts,
    Limits,
    channel_limit_of,
    exceeded_limit,
    is_approver_allowed,
    is_outside_ted_hours,
    rejection_of,
)
from aval.domain.money import ZERO, Brl
from aval.domain.transfer import Kind, Method, Reason
from tests.changed import replace
from tests.domain.examples import approval_facts

MONDAY = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)  # 11:00 in Brasília
NIGHT = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)  # 20:00 in Brasília
AMOUNT = Brl(20201)


@pytest.mark.parametrize(
    ("change", "is_allowed"),
    [
        ({}, True),
        ({"is_approver_active": False}, False),
        ({"powers": frozenset()}, False),
        ({"powers": frozenset({"ted_batch", "pix_transfer"})}, False),
        ({"max_amount": AMOUNT}, True),
        ({"max_amount": Brl(20200)}, False),
    ],
)
def test_an_approver_needs_the_power_and_the_amount(change: dict[str, Any], is_allowed: bool) -> None:
    assert is_approver_allowed(approval_facts(**change), Kind.TED, AMOUNT) is is_allowed


@pytest.mark.parametrize(
    ("kind", "has_ted_hours", "at", "holidays", "is_outside"),
    [
        (Kind.TED, True, MONDAY, frozenset(), False),
        (Kind.TED, True, NIGHT, frozenset(), True),
        (Kind.TED_BATCH, True, NIGHT, frozenset(), True),
        (Kind.TED, True, MONDAY, frozenset({date(2026, 11, 23)}), True),
        (Kind.TED, False, NIGHT, frozenset(), False),
        (Kind.PIX_TRANSFER, True, NIGHT, frozenset(), False),
        (Kind.TED, True, datetime(2026, 11, 23, 19, 59, 59, 999_999, UTC), frozenset(), False),
        (Kind.TED, True, datetime(2026, 11, 23, 20, 0, tzinfo=UTC), frozenset(), True),
        (Kind.TED, True, datetime(2026, 11, 23, 10, 0, tzinfo=UTC), frozenset(), False),
        (Kind.TED, True, datetime(2026, 11, 23, 9, 59, 59, 999_999, UTC), frozenset(), True),
    ],
)
def test_ted_hours_hold_for_ted_where_they_are_set(
    kind: Kind, has_ted_hours: bool, at: datetime, holidays: frozenset[date], is_outside: bool
) -> None:
    facts = approval_facts(has_ted_hours=has_ted_hours, holidays=holidays)
    assert is_outside_ted_hours(facts, kind, at) is is_outside


def test_limits_are_read_from_centavos_by_name() -> None:
    assert Limits.of({"daily_amount_limit": 2_000_000, "sms_amount_limit": None}) == Limits(
        daily_amount_limit=Brl(2_000_000)
    )
    assert Limits.of({}) is Limits.of(None) is NO_LIMITS


@pytest.mark.parametrize(
    ("limits", "has_sums"),
    [
        (NO_LIMITS, False),
        (Limits(operation_amount_limit=Brl(1)), False),
        (Limits(daily_amount_limit=Brl(1)), True),
        (Limits(nightly_amount_limit=ZERO), True),
    ],
)
def test_only_daily_and_nightly_limits_need_a_sum(limits: Limits, has_sums: bool) -> None:
    assert limits.has_sums is has_sums


LIMITED = [
    (NO_LIMITS, Method.SMS, MONDAY, 0, None),
    (Limits(batch_amount_limit=Brl(1)), Method.SMS, MONDAY, 0, None),
    (Limits(operation_amount_limit=AMOUNT), Method.SMS, MONDAY, 999_999, None),
    (Limits(operation_amount_limit=Brl(20200)), Method.SMS, MONDAY, 0, "operation_amount_limit"),
    (Limits(daily_amount_limit=Brl(30201)), Method.SMS, MONDAY, 10_000, None),
    (Limits(daily_amount_limit=Brl(30200)), Method.SMS, MONDAY, 10_000, "daily_amount_limit"),
    (Limits(daily_amount_limit=Brl(1)), Method.SMS, NIGHT, 0, None),
    (Limits(nightly_amount_limit=Brl(1)), Method.SMS, MONDAY, 0, None),
    (Limits(nightly_amount_limit=Brl(30200)), Method.SMS, NIGHT, 10_000, "nightly_amount_limit"),
    (Limits(sms_amount_limit=AMOUNT), Method.SMS, MONDAY, 999_999, None),
    (Limits(sms_amount_limit=Brl(20200)), Method.SMS, MONDAY, 0, "sms_amount_limit"),
    (Limits(sms_amount_limit=Brl(1)), Method.EMAIL, MONDAY, 0, None),
    (Limits(email_amount_limit=Brl(1)), Method.EMAIL, MONDAY, 0, "email_amount_limit"),
    (Limits(sms_amount_limit=Brl(1), email_amount_limit=Brl(1)), Method.DEVICE, MONDAY, 0, None),
]


@pytest.mark.parametrize(("limits", "method", "at", "spent", "name"), LIMITED)
def test_a_limit_is_the_most_that_may_be_approved(
    limits: Limits, method: Method, at: datetime, spent: int, name: str | None
) -> None:
    assert exceeded_limit(approval_facts(limits=limits, spent=Brl(spent)), AMOUNT, method, at) == name


def test_a_limit_of_zero_lets_nothing_pass() -> None:
    assert exceeded_limit(approval_facts(limits=Limits(daily_amount_limit=ZERO)), Brl(1), Method.SMS, MONDAY)


def test_the_first_limit_in_the_order_of_the_contract_is_told() -> None:
    names = ["operation_amount_limit", "daily_amount_limit", "sms_amount_limit"]
    for place, name in enumerate(names):
        limits = Limits(**dict.fromkeys(names[place:], Brl(1)))
        assert exceeded_limit(approval_facts(limits=limits), AMOUNT, Method.SMS, MONDAY) == name


LARGEST = Brl(15_000)
LIMITED_BATCHES = [
    (Limits(operation_amount_limit=LARGEST, batch_amount_limit=AMOUNT), None),
    (Limits(operation_amount_limit=Brl(14_999)), "operation_amount_limit"),
    (Limits(batch_amount_limit=Brl(20200)), "batch_amount_limit"),
    (Limits(daily_amount_limit=Brl(20200)), "daily_amount_limit"),
    (Limits(sms_amount_limit=Brl(20200)), "sms_amount_limit"),
    (Limits(sms_amount_limit=AMOUNT, daily_amount_limit=AMOUNT), None),
]


@pytest.mark.parametrize(("limits", "name"), LIMITED_BATCHES)
def test_of_a_batch_the_largest_item_and_the_total_are_judged(limits: Limits, name: str | None) -> None:
    facts = approval_facts(limits=limits)
    assert exceeded_limit(facts, AMOUNT, Method.SMS, MONDAY, largest=LARGEST) == name
    rejection = rejection_of(facts, Kind.PIX_TRANSFER_BATCH, Method.SMS, AMOUNT, MONDAY, None, largest=LARGEST)
    assert rejection == (None if name is None else (Reason.LIMIT_EXCEEDED, name))


def test_the_limits_of_a_batch_are_told_in_the_order_of_the_contract() -> None:
    names = ["operation_amount_limit", "batch_amount_limit", "daily_amount_limit", "sms_amount_limit"]
    for place, name in enumerate(names):
        limits = Limits(**dict.fromkeys(names[place:], Brl(1)))
        assert exceeded_limit(approval_facts(limits=limits), AMOUNT, Method.SMS, MONDAY, largest=LARGEST) == name


@pytest.mark.parametrize(("method", "limit"), [(Method.SMS, Brl(1)), (Method.EMAIL, Brl(2)), (Method.DEVICE, None)])
def test_each_channel_has_its_limit(method: Method, limit: Brl | None) -> None:
    assert channel_limit_of(Limits(sms_amount_limit=Brl(1), email_amount_limit=Brl(2)), method) == limit


FAULTS: list[tuple[dict[str, Any], tuple[Reason, str | None]]] = [
    ({"is_approver_active": False}, (Reason.APPROVER_NOT_ALLOWED, None)),
    ({"account_status": "blocked"}, (Reason.ACCOUNT_UNAVAILABLE, None)),
    ({"has_ted_hours": True}, (Reason.OUTSIDE_TED_HOURS, None)),
    ({"limits": Limits(operation_amount_limit=Brl(1))}, (Reason.LIMIT_EXCEEDED, "operation_amount_limit")),
]


def with_faults(first: int) -> ApprovalFacts:
    facts = approval_facts()
    for change, _ in FAULTS[first:]:
        facts = replace(facts, **change)
    return facts


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_of_several_faults_at_approval_the_earliest_rejects(first: int) -> None:
    assert rejection_of(with_faults(first), Kind.TED, Method.SMS, AMOUNT, NIGHT, None) == FAULTS[first][1]


def test_without_a_fault_nothing_rejects() -> None:
    assert rejection_of(with_faults(len(FAULTS)), Kind.TED, Method.SMS, AMOUNT, NIGHT, None) is None


@pytest.mark.parametrize("status", ["blocked", "closed"])
def test_only_an_open_account_approves(status: str) -> None:
    facts = approval_facts(account_status=status)
    assert rejection_of(facts, Kind.TED, Method.SMS, AMOUNT, MONDAY, None) == (Reason.ACCOUNT_UNAVAILABLE, None)


@pytest.mark.parametrize(("spent", "is_over"), [(None, False), (Brl(9_799), False), (Brl(9_800), True)])
def test_the_sum_of_this_batchs_earlier_calls_counts(spent: Brl | None, is_over: bool) -> None:
    facts = approval_facts(limits=Limits(daily_amount_limit=Brl(30_000)))
    rejection = rejection_of(facts, Kind.TED, Method.SMS, AMOUNT, MONDAY, spent)
    assert rejection == ((Reason.LIMIT_EXCEEDED, "daily_amount_limit") if is_over else None)
