import pytest

from aval.domain import gsm7


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("João Conceição", "Joao Conceicao"),
        ("Müller & Cia", "Muller & Cia"),
        ("Straße", "Straße"),
        ("ＭＡＲＩＡ", "MARIA"),
        ("ﬁm", "fim"),
        ("José\u0301", "Jose"),
        ("王 – 😀", ". . ."),
        ("{[~^|\\]}€`", ".........."),
        ("nº 3ª", "no 3a"),
    ],
)
def test_accents_are_dropped_and_the_rest_becomes_full_stops(text: str, folded: str) -> None:
    assert gsm7.folded(text) == folded
    assert gsm7.is_basic(folded)


def test_the_basic_set_has_127_characters_and_none_of_the_extension() -> None:
    assert len(gsm7.BASIC) == 127  # 128 septets, one of which is the escape
    assert not any(gsm7.is_basic(character) for character in "^{}\\[~]|€\f\x1bçáã")
