"""A campaign's policy: its defaults, its limits, and which purchases need a second factor."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from aval.domain.campaign import RiskLimits, TwoFactorPolicy
from aval.domain.redemption_message import template_problem

ON = TwoFactorPolicy(enabled=True, applies_to=("internal",), min_points=100)


@pytest.mark.parametrize(
    ("policy", "kind", "points", "expected"),
    [
        (TwoFactorPolicy(), "internal", 100, False),
        (ON, "internal", 100, True),
        (ON, "internal", 99, False),
        (ON, "external", 100, False),
        (TwoFactorPolicy(enabled=True), "external", 1, True),
        (TwoFactorPolicy(enabled=True), "external", 0, False),
    ],
)
def test_a_second_factor_is_needed_by_kind_and_debited_points(
    policy: TwoFactorPolicy, kind: Any, points: int, expected: bool
) -> None:
    assert policy.applies(kind, points) is expected


def test_the_default_policy_is_one_that_could_be_put() -> None:
    default = TwoFactorPolicy()
    assert msgspec.convert(msgspec.to_builtins(default), TwoFactorPolicy) == default
    assert template_problem(default.message_template) is None
    assert (default.approval_window, default.resend_interval) == (timedelta(hours=1), timedelta(seconds=30))
    assert default.authorization_ttl is None
    assert TwoFactorPolicy(authorization_ttl_minutes=5).authorization_ttl == timedelta(minutes=5)


@pytest.mark.parametrize(
    "change",
    [{"token_length": 5}, {"token_ttl_seconds": 301}, {"max_attempts": 6}, {"applies_to": []}, {"max_resends": 11}],
)
def test_what_is_constant_or_limited_stays_so(change: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(change, TwoFactorPolicy)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, True),  # five that wait, unless told otherwise
        ({"max_pending_purchases": None}, False),
        ({"max_pending_purchases": None, "max_points_per_order": 1}, False),
        ({"max_pending_purchases": None, "max_points_per_day": 1}, True),
        ({"max_pending_purchases": None, "max_orders_per_day": 1}, True),
    ],
)
def test_the_past_is_counted_if_a_limit_asks_for_it(limits: dict[str, Any], expected: bool) -> None:
    assert RiskLimits(**limits).has_counts is expected
