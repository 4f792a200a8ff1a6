"""CSV files as spreadsheets leave them."""

import pytest

from aval.domain import sheet
from aval.domain.sheet import Fault, read_sheet

HEADER = "name,number"


def read(content: str | bytes) -> sheet.Sheet:
    data = content if isinstance(content, bytes) else content.encode()
    return read_sheet(data, required=("name", "number"), optional=("note",))


GOOD = [
    ("name,number\nAna,0012\n", "plain"),
    ("\ufeffname;number\r\nAna;0012\r\n", "byte order mark, semicolons, CRLF"),
    ("sep=;\r\nname;number\r\nAna;0012\r\n", "a line that names the separator"),
    ("name\tnumber\rAna\t0012\r", "tabs and lone CR"),
    ('"Name","NUMBER"\n"Ana","0012"', "quotes, capitals, no last line end"),
    ("name,number,note,,\nAna,0012,,,\n,,,,\n\n", "empty columns and lines"),
    ("number,name\n\u00a00012\u202f,\u00a0Ana \n", "another order, spaces that do not break"),
]


@pytest.mark.parametrize(("content", "_why"), GOOD, ids=[why for _, why in GOOD])
def test_what_spreadsheets_add_around_values_is_taken_away(content: str, _why: str):
    found = read(content)
    assert (found.faults, found.is_complete) == ([], True)
    assert [dict(line.cells) for line in found.lines] == [{"name": "Ana", "number": "0012"}]


def test_lines_are_numbered_as_an_editor_does():
    found = read(f'{HEADER}\n"Ana\nLima",1\n\nBia,2\n')
    assert [(line.number, line.cells["name"]) for line in found.lines] == [(2, "Ana\nLima"), (5, "Bia")]


UNREADABLE = [
    ("", 1, "name", "is missing from the header"),
    ("name\nAna\n", 1, "number", "is missing from the header"),
    (f"{HEADER},name\n", 1, "name", "comes twice in the header"),
    (f"{HEADER},cpf\n", 1, "", "names columns nobody knows, at place 3; known are name, number, note"),
    (f"{HEADER}\nJosé,1\n".encode("latin-1"), 2, "", sheet.NOT_UTF_8),
    (f"{HEADER}\nAna,1\n".encode("utf-16"), 1, "", sheet.UTF_16),
    (f"{HEADER}\nAna,1\n".encode("utf-16-le"), 1, "", sheet.UTF_16),
    (b"PK\x03\x04 a workbook", 1, "", sheet.WORKBOOK),
    (f'{HEADER}\nAna,1\n"Bia,2\nEva,3\n', 3, "", sheet.QUOTE),
    (f'{HEADER}\n"An"a,1\n', 2, "", sheet.QUOTE),
]


@pytest.mark.parametrize(("content", "line", "column", "reason"), UNREADABLE)
def test_a_file_that_cannot_be_read_to_its_end_says_where_and_why(
    content: str | bytes, line: int, column: str, reason: str
):
    found = read(content)
    assert not found.is_complete and found.lines == []
    assert Fault(line, column, reason) in found.faults


BAD_LINES = [
    ("Ana", "number", "is missing"),
    ("Ana, ", "number", "is missing"),
    ("Ana,1,,2", "", "has more values than the header has columns"),
    ("Ana,5.29982E+10", "number", sheet.SCIENTIFIC),
    ('Ana,"5,29982E+10"', "number", sheet.SCIENTIFIC),
    ("Ana,52998224725.0", "number", sheet.DECIMAL),
    ('Ana,"=""0012"""', "number", sheet.FORMULA),
]


@pytest.mark.parametrize(("text", "column", "reason"), BAD_LINES)
def test_a_bad_line_does_not_hide_the_good_ones(text: str, column: str, reason: str):
    found = read(f"{HEADER}\n{text}\nBia,2\n")
    assert (found.faults, found.is_complete) == ([Fault(2, column, reason)], True)
    assert [line.number for line in found.lines] == [3]


def test_a_file_has_a_largest_size_and_a_largest_number_of_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sheet, "LINES_MAX", 2)
    assert read(f"{HEADER}\na,1\nb,2\n").is_complete
    assert read(f"{HEADER}\na,1\nb,2\nc,3\n").faults == [Fault(4, "", "is too long: at most 2 lines")]
    assert read(f"{HEADER}\n,1\n,2\n,3\n").faults == [Fault(4, "", "is too long: at most 2 lines")]  # bad ones, too
    monkeypatch.setattr(sheet, "BYTES_MAX", 4)
    assert not read(f"{HEADER}\na,1\n").is_complete
