"""Points: what each kind of line does, and how lines and balances are told."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.points import Balance, EntryType, PointsLine, deltas
from aval.domain.points_view import balance_view, line_view

KEY = UUID(int=1, version=4)


@pytest.mark.parametrize(
    ("entry_type", "points", "expected"),
    [
        ("credit", 5, (5, 0, 5, 0)),
        ("adjustment", 5, (5, 0, 5, 0)),
        ("adjustment", -5, (-5, 0, 0, 5)),
        ("expiration", 5, (-5, 0, 0, 5)),
        ("reserve", 5, (-5, 5, 0, 0)),
        ("release", 5, (5, -5, 0, 0)),
        ("debit", 5, (0, -5, 0, 5)),
        ("reversal", 5, (5, 0, 5, 0)),
    ],
)
def test_a_line_moves_what_its_kind_says(entry_type: str, points: int, expected: tuple[int, int, int, int]) -> None:
    assert deltas(EntryType(entry_type), points) == expected


@given(st.lists(st.tuples(st.sampled_from(EntryType), st.integers(1, 10**12)), max_size=30))
def test_what_is_there_is_always_what_came_in_less_what_went_out(lines: list[tuple[EntryType, int]]) -> None:
    moved = [deltas(*line) for line in lines]
    balance = Balance(*(sum(each[place] for each in moved) for place in range(4)))
    assert balance.total == balance.credited - balance.debited


@pytest.mark.parametrize(("entry_type", "points"), [("credit", 0), ("debit", -1), ("adjustment", 0)])
def test_points_of_the_wrong_sign_are_a_bug(entry_type: str, points: int) -> None:
    with pytest.raises(AssertionError):
        deltas(EntryType(entry_type), points)


def test_a_line_is_told_above_zero_with_the_purchase_and_order_it_has() -> None:
    line = PointsLine(
        key=KEY,
        entry_type=EntryType.REVERSAL,
        points=4_000,
        available_after=15_500,
        reserved_after=0,
        authorization_code="7QH2M4ZX9C1B",
        description="Estorno",
        external_reference=None,
        purchase_key=KEY,
        order_key=KEY,
        created_at=datetime(2026, 3, 4, 18, 15, 11, 250_000, tzinfo=UTC),
    )
    assert line_view(line) == {
        "authorization_code": "7QH2M4ZX9C1B",
        "date": "2026-03-04T18:15:11.250Z",
        "description": "Estorno",
        "value_points": 4_000,
        "type": "reversal",
        "purchase_id": KEY,
        "order_id": KEY,
        "available_after": 15_500,
        "reserved_after": 0,
    }


def test_the_balance_of_the_published_example() -> None:
    assert balance_view(Balance(available=11_500, reserved=8_500, credited=20_000, debited=0)) == {
        "points_value": 11_500,
        "points_value_onhold": 8_500,
        "total_points_value": 20_000,
        "total_credit_points_value": 20_000,
        "total_debit_points_value": 0,
    }
