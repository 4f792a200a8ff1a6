import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.contact import normalized_email, normalized_phone

AREA_CODES = (
    "11 12 13 14 15 16 17 18 19 21 22 24 27 28 31 32 33 34 35 37 38 41 42 43 44 45 46 47 48 49 51 53 54 55 "
    "61 62 63 64 65 66 67 68 69 71 73 74 75 77 79 81 82 83 84 85 86 87 88 89 91 92 93 94 95 96 97 98 99"
)
NO_PHONES = [
    *["5511987654321", "11987654321", "+55 11 98765-4321", "+55 (11) 98765-4321", "+5511987654321;ext=5"],
    *["+5511987654321 x5", "+55011987654321", "+550 11987654321", "+551133334444", "+551187654321", "+5511887654321"],
    *["+5520987654321", "+5500987654321", "+5510987654321", "+55119876543210", "+55190", "190", "+5503001234567"],
    *["+5508001234567", "+5509001234567", "+870773111632", "+881612345678", "+14155550100", "+351912345678"],
    *["+5511９87654321", "＋5511987654321", "+551198765432\u0661", "+5511987654321;phone-context=+55"],
    *["tel:+5511987654321", "+5511987654321\n", " +5511987654321", "+5511987654321,+5511987654322", ""],
]


@pytest.mark.parametrize("text", ["+5511987654321", "+5511900000001", "+5568999999999", "+5585912345678"])
def test_brazilian_mobile_numbers_keep_their_one_spelling(text: str) -> None:
    assert normalized_phone(text) == text


@pytest.mark.parametrize("text", NO_PHONES)
def test_other_numbers_and_spellings_are_refused(text: str) -> None:
    assert normalized_phone(text) is None


def test_there_are_67_area_codes() -> None:
    accepted = [f"{code:02d}" for code in range(100) if normalized_phone(f"+55{code:02d}987654321")]
    assert " ".join(accepted) == AREA_CODES
    assert len(accepted) == 67


@given(st.sampled_from(AREA_CODES.split()), st.integers(0, 99_999_999))
def test_every_nine_digit_number_of_an_area_code_is_mobile(area_code: str, number: int) -> None:
    text = f"+55{area_code}9{number:08d}"
    assert normalized_phone(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("maria@example.com", "maria@example.com"),
        ("Maria.Souza+pix@EXAMPLE.com", "Maria.Souza+pix@example.com"),
        ("ana@açaí.com.br", "ana@xn--aa-4iaz.com.br"),
        ("ana@AÇAÍ.com.br", "ana@xn--aa-4iaz.com.br"),
        ("ana@xn--aa-4iaz.com.br", "ana@xn--aa-4iaz.com.br"),
        ("ana@aval.test", "ana@aval.test"),
    ],
)
def test_addresses_keep_their_local_part_and_get_a_plain_domain(text: str, expected: str) -> None:
    assert normalized_email(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *["", "maria", "@example.com", "maria@", "maria@example", "a@b@example.com", "a@example.com, b@example.com"],
        *["maria@example.com\r\nBcc: x@example.com", "maria@example.com\n", "ma\x00ria@example.com", " m@example.com"],
        *["maria(home)@example.com", "Maria <maria@example.com>", '"maria souza"@example.com', '"maria"@example.com'],
        *["maria@[192.0.2.1]", "maria@[IPv6:2001:db8::1]", "maria@192.0.2.1", "maria@example.com.", "m@example..com"],
        *["maria@ex\u0430mple.com", "maria@xn--exmple-4nf.com", "maria@\u0430\u0440\u0440\u04cf\u0435.com"],
        *["maria@exa\u00admple.com", "maria@exa\u200dmple.com", "joão@example.com", ".maria@example.com"],
        *[f"maria@{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 63}.com", "m@-example.com"],
    ],
)
def test_other_texts_are_no_address(text: str) -> None:
    assert normalized_email(text) is None


def test_the_longest_address_has_254_characters() -> None:
    domain = f"{'a' * 63}.{'b' * 63}.{'c' * 55}.com"
    local = "m" * (254 - 1 - len(domain))
    assert normalized_email(f"{local}@{domain}") == f"{local}@{domain}"
    assert normalized_email(f"m{local}@{domain}") is None
