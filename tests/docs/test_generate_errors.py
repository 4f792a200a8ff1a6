from collections import Counter

import pytest

from aval.domain.errors import CATALOGUE, ErrorEntry
from docs.generate_errors import PAGE, render


def test_the_page_of_errors_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(CATALOGUE)


def test_every_error_has_one_row() -> None:
    rows = [line.split(" | ")[0].removeprefix("| ") for line in render(CATALOGUE).splitlines()]
    expected = Counter(entry.code for entry in set(CATALOGUE.values()))
    assert {code: rows.count(code) for code in expected} == expected


def test_a_family_without_a_title_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        render({"new.error": ErrorEntry(code="NEW000001", title="t", description="d", translation="t")})
