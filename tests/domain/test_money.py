import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.money import ZERO, AmountError, Brl

ACCEPTED = {
    "10": 1000,
    "10.0": 1000,
    "10.01": 1001,
    "202.01": 20201,
    "0.1": 10,
    "0.01": 1,
    "9999999.99": 999999999,
}
REFUSED = [
    *["", "0", "0.0", "0.00", "-0", "-5", "+1", "0.001", "10.010", "1e3", "1E2", "1e400", "1_000", "01", "00.10"],
    *[".5", "10.", "10,5", " 10", "10 ", "10\n", '"10.01"', "null", "true", "NaN", "Infinity", "0x10"],
    *["٠١", "１０", "10.0٠", "12345678.90", "10000000.00", "12345678901", "10000000", "9999999999", "9" * 5000],
]


@pytest.mark.parametrize(("text", "centavos"), ACCEPTED.items())
def test_amounts_are_read_exactly_from_their_text(text: str, centavos: int) -> None:
    assert Brl.parse(text) == Brl(centavos)


@pytest.mark.parametrize("text", REFUSED)
def test_other_texts_are_no_amounts(text: str) -> None:
    with pytest.raises(AmountError):
        Brl.parse(text)


@pytest.mark.parametrize("text", ["0", "0.0", "0.00"])
def test_fees_and_limits_may_be_zero(text: str) -> None:
    assert Brl.parse(text, is_zero_allowed=True) == ZERO


def test_a_zero_with_a_sign_is_never_read() -> None:
    with pytest.raises(AmountError):
        Brl.parse("-0", is_zero_allowed=True)


@pytest.mark.parametrize(
    ("centavos", "wire", "details"),
    [
        (0, "0", "0.00"),
        (1000, "10", "10.00"),
        (1050, "10.5", "10.50"),
        (20201, "202.01", "202.01"),
        (1, "0.01", "0.01"),
        (10, "0.1", "0.10"),
        (100000, "1000", "1000.00"),
        (-1050, "-10.5", "-10.50"),
        (-5, "-0.05", "-0.05"),
    ],
)
def test_amounts_are_written_for_the_wire_and_for_details(centavos: int, wire: str, details: str) -> None:
    assert Brl(centavos).wire() == wire
    assert Brl(centavos).details() == details


@pytest.mark.parametrize(
    ("centavos", "portuguese", "english"),
    [
        (158050, "R$ 1.580,50", "BRL 1,580.50"),
        (20201, "R$ 202,01", "BRL 202.01"),
        (999999999, "R$ 9.999.999,99", "BRL 9,999,999.99"),
        (0, "R$ 0,00", "BRL 0.00"),
        (-123456, "R$ -1.234,56", "BRL -1,234.56"),
    ],
)
def test_amounts_are_written_as_people_read_them(centavos: int, portuguese: str, english: str) -> None:
    assert Brl(centavos).localized("pt-BR") == portuguese
    assert Brl(centavos).localized("en") == english


def test_amounts_add_subtract_and_compare() -> None:
    assert Brl(1) + Brl(2) == Brl(3)
    assert Brl(1) - Brl(2) == Brl(-1)
    assert Brl(1) < Brl(2) <= Brl(2) < max(Brl(3), Brl(2))
    assert Brl.total([Brl(1), Brl(2), Brl(3)]) == Brl(6)
    assert Brl.total([]) == ZERO


@given(st.integers(min_value=1, max_value=999_999_999))
def test_what_is_written_is_read_back(centavos: int) -> None:
    assert Brl.parse(Brl(centavos).wire()) == Brl.parse(Brl(centavos).details()) == Brl(centavos)
