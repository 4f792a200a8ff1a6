from decimal import Decimal

import pytest

from aval.client import ArgumentNotValid, Brl
from aval.client.amounts import amount_json


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        (Decimal("202.01"), b"202.01"),
        (Decimal("10"), b"10"),
        (Decimal("10.50"), b"10.5"),
        (Decimal("10.5000000"), b"10.5"),
        (Decimal("1E+3"), b"1000"),
        (Decimal("0.01"), b"0.01"),
        (Decimal("9999999.99"), b"9999999.99"),
        (Brl(20_201), b"202.01"),
        (Brl(1), b"0.01"),
    ],
)
def test_amounts_are_written_exactly(amount, written) -> None:
    assert bytes(amount_json(amount)) == written


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (202.01, "not_decimal_or_brl"),
        (202, "not_decimal_or_brl"),
        ("202.01", "not_decimal_or_brl"),
        (True, "not_decimal_or_brl"),
        (None, "not_decimal_or_brl"),
        (Decimal("0.001"), "no_amount"),
        (Decimal("0"), "no_amount"),
        (Decimal("-1"), "no_amount"),
        (Decimal("10000000"), "no_amount"),
        (Decimal("NaN"), "no_amount"),
        (Decimal("Infinity"), "no_amount"),
        (Decimal("sNaN"), "no_amount"),
        (Decimal("1E+999999"), "no_amount"),
        (Decimal("1E-999999"), "no_amount"),
        (Brl(0), "no_amount"),
        (Brl(-1), "no_amount"),
        (Brl(1_000_000_000), "no_amount"),
    ],
    ids=str,
)
def test_what_is_no_exact_amount_is_refused_here(amount, reason) -> None:
    with pytest.raises(ArgumentNotValid) as refused:
        amount_json(amount)
    assert (refused.value.name, refused.value.reason) == ("amount", reason)
