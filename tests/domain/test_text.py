import sys
import unicodedata

import pytest

from aval.domain.text import clean, has_emoji

HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Nota 1207 ", "Nota 1207"),
        ("João Lima – 2ª via ½", "João Lima – 2ª via ½"),
        ("\u00a0x", "\u00a0x"),
        ("东京 Ω 🙂", "东京 Ω 🙂"),
        ("a  b", "a  b"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_outer_spaces_are_trimmed_and_the_rest_is_kept(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    "text",
    ["a\x00b", "a\nb", "\ta", "a\r\n", "a\x7f", "a\x85", "a\u202eb", "a\u2066b", "a\u200bb", "a\u200db", "\ufeffa"]
    + ["a\ud800", "a\udfff", "a\u00adb", "a\u2028b", "a\ufe0f", "a\u034fb", "\u3164", "a\U000e0041"],
)
def test_hidden_characters_are_refused(text: str) -> None:
    assert clean(text) is None


def test_no_character_of_a_hidden_category_passes() -> None:
    passing = [
        hex(point)
        for point in range(sys.maxunicode + 1)
        if unicodedata.category(chr(point)) in HIDDEN_CATEGORIES and clean(f"a{chr(point)}b") is not None
    ]
    assert passing == []


def test_no_letter_digit_or_sign_in_use_is_refused() -> None:
    refused = [
        unicodedata.name(chr(point))
        for point in range(sys.maxunicode + 1)
        if unicodedata.category(chr(point))[0] in "LNPSZ"
        and unicodedata.category(chr(point)) not in HIDDEN_CATEGORIES
        and clean(f"a{chr(point)}b") is None
    ]
    assert {name.split()[0] for name in refused} == {"HANGUL", "HALFWIDTH"}
    assert all("FILLER" in name for name in refused)


@pytest.mark.parametrize("text", ["🙂", "Nota ❤", "✅ pago", "1\u20e3", "🇧🇷", "⌚", "⭐", "🀄", "🫠"])
def test_pictures_are_emoji(text: str) -> None:
    assert has_emoji(text)


@pytest.mark.parametrize("text", ["Nota 1207", "R$ 10,50 #1 *", "© 2026 ® ™", "João – ½ € → ≤", "东京"])
def test_letters_and_signs_are_not_emoji(text: str) -> None:
    assert not has_emoji(text)
