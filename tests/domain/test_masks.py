import pytest

from aval.domain.masks import masked_account, masked_destination, masked_document


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("11144477735", "***444777**"),
        ("52998224725", "***982247**"),
        ("11222333000181", "***22333000***"),
        ("12ABC34501DE35", "***BC34501D***"),
    ],
)
def test_a_document_shows_its_middle(document: str, expected: str) -> None:
    assert masked_document(document) == expected


def test_a_phone_shows_its_area_code_and_last_four_digits() -> None:
    assert masked_destination("sms", "+5511987651234") == "+55 11 *****-1234"


@pytest.mark.parametrize(
    ("email", "expected"),
    [("maria@example.com", "m***@example.com"), ("m@example.com", "m***@example.com")],
)
def test_an_address_shows_its_first_letter_and_domain(email: str, expected: str) -> None:
    assert masked_destination("email", email) == expected


@pytest.mark.parametrize(
    ("number", "digit", "expected"),
    [("1234567", "8", "***567-8"), ("998877", "X", "***877-X"), ("12", "0", "***12-0")],
)
def test_an_account_shows_its_last_three_digits(number: str, digit: str, expected: str) -> None:
    assert masked_account(number, digit) == expected
