import pytest
from hypothesis import given
from hypothesis import strategies as st

from aval.domain.documents import is_cpf, is_ispb, normalized_cnpj, normalized_document, person_type

CPFS = ["11144477735", "52998224725", "39053344705", "00000000191"]
NO_CPFS = [
    *["11144477734", "52998224724", "52998224715", "5299822472", "529982247250", "529.982.247-25", " 52998224725"],
    *[
        "52998224725\n",
        "5299822472a",
        "٥٢٩٩٨٢٢٤٧٢٥",
        "５２９９８２２４７２５",
        "",
        *[digit * 11 for digit in "0123456789"],
    ],
]
CNPJS = ["11222333000181", "12ABC34501DE35", "A1B2C3D4000193", "00AA11BB000139"]
NO_CNPJS = [
    *["11222333000180", "11222333000191", "00000000000000", "12ABC34501DE34", "12ABC34501DE05", "12abc34501de05"],
    *["12ABC34501DE3A", "12ABC34501DEA5", "12ÁBC34501DE35", "12\u0410BC34501DE35", "12A\u0412C34501DE35"],
    *["12AB\u042134501DE35", "11.222.333/0001-81", "1122233300018", "112223330001811", "11222333000181\n", ""],
    *["1122233300018\u0661", "１1222333000181", "ſ1222333000181", "AAAAAAAAAAAAAA"],
]


@pytest.mark.parametrize("text", CPFS)
def test_right_cpfs_are_accepted(text: str) -> None:
    assert is_cpf(text)
    assert normalized_document(text) == text
    assert person_type(text) == "natural"


@pytest.mark.parametrize("text", NO_CPFS)
def test_other_texts_are_no_cpf(text: str) -> None:
    assert not is_cpf(text)
    assert normalized_document(text) is None


@pytest.mark.parametrize("text", CNPJS)
def test_right_cnpjs_are_accepted_in_any_case_and_upper_cased(text: str) -> None:
    assert normalized_cnpj(text) == normalized_cnpj(text.lower()) == normalized_document(text.lower()) == text
    assert person_type(text) == "legal"


@pytest.mark.parametrize("text", NO_CNPJS)
def test_other_texts_are_no_cnpj(text: str) -> None:
    assert normalized_cnpj(text) is None
    assert normalized_document(text) is None


@given(st.from_regex("[0-9]{9}", fullmatch=True))
def test_every_cpf_base_has_exactly_one_pair_of_check_digits(base: str) -> None:
    accepted = [number for number in range(100) if is_cpf(f"{base}{number:02d}")]
    assert len(accepted) == (0 if len(set(base)) == 1 else 1)


@given(st.from_regex("[0-9A-Z]{12}", fullmatch=True))
def test_every_cnpj_base_has_exactly_one_pair_of_check_digits(base: str) -> None:
    accepted = [number for number in range(100) if normalized_cnpj(f"{base}{number:02d}")]
    assert len(accepted) == (0 if base == "0" * 12 else 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("00000000", True), ("87654321", True), ("1234567", False), ("123456789", False), ("1234567\u0661", False)],
)
def test_an_ispb_is_eight_digits(text: str, expected: bool) -> None:
    assert is_ispb(text) is expected
