"""A CSV file as spreadsheets write it, read into named cells; what is wrong is told by line, column and reason.

No reason ever holds a value of the file. Lines are the file's own, the header is line 1.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aval.domain.money import CHARACTERS_MAX

LINES_MAX = 100_000
BYTES_MAX = 64 * 1024 * 1024
SEPARATORS = (";", ",", "\t")
FILE = ""  # the column of a fault that concerns the whole line or file

_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u202f\t"), " ")  # spreadsheets and web pages leave these around values
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+")
_DECIMAL = re.compile(r"[0-9]+[.,]0+")

UTF_16 = "is saved as Unicode text (UTF-16); save it as CSV UTF-8"
WORKBOOK = "is an Excel workbook; save it as CSV UTF-8"
QUOTE = "has a quotation mark that opens and does not close, or stands inside a value; nothing after it was read"
NOT_UTF_8 = "is not UTF-8, perhaps Latin-1; in the spreadsheet choose CSV UTF-8 and save it again"
SCIENTIFIC = "was turned into scientific notation; format the column as text and fill it in again"
DECIMAL = "was turned into a decimal number; format the column as text and fill it in again"
FORMULA = "is a formula; save the values instead"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at one place."""

    line: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """The cells of one line by column; empty ones are absent."""

    number: int
    cells: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sheet:
    """What could be read, and what could not; `is_complete` is false when the reading ended early."""

    lines: list[Line] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    is_complete: bool = True


def read_sheet(content: bytes, *, required: Sequence[str], optional: Sequence[str]) -> Sheet:
    """Read a file whose header names these columns, in any order and case; a fault of the header ends the reading."""
    try:
        text = _text_of(content)
        rows = _rows_of(text)
        number, first = next(rows, (1, []))
        header = [cell.lower().replace(" ", "_") for cell in first]
        while header and not header[-1]:
            header.pop()
        if faults := list(_header_faults(number, header, required, optional)):
            return Sheet([], faults, is_complete=False)
        sheet = Sheet()
        for place, (number, cells) in enumerate(rows):
            if place == LINES_MAX:  # bad lines count as well, each may have many faults
                raise _Unreadable(number, f"is too long: at most {LINES_MAX} lines")
            _take(sheet, number, cells, header, required)
    except _Unreadable as error:
        return Sheet([], [Fault(error.line, FILE, error.reason)], is_complete=False)
    return sheet


class _Unreadable(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason


def _text_of(content: bytes) -> str:
    if len(content) > BYTES_MAX:
        raise _Unreadable(1, f"is too large: at most {BYTES_MAX // 1024 // 1024} MiB")
    if content.startswith(b"PK\x03\x04"):
        raise _Unreadable(1, WORKBOOK)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content[:200]:
        raise _Unreadable(1, UTF_16)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(content.count(b"\n", 0, error.start) + 1, NOT_UTF_8) from None


def _rows_of(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that is not empty with its number, cells trimmed."""
    skipped = 0
    if re.match(r"sep=.\r?\n", text):  # a line of Excel's own, which names the separator
        text, skipped = text.partition("\n")[2], 1
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(SEPARATORS, key=head.count), strict=True)
    number = skipped + 1
    try:
        for cells in reader:
            trimmed = [cell.translate(_SPACES).strip() for cell in cells]
            if any(trimmed):
                yield number, trimmed
            number = skipped + reader.line_num + 1
    except csv.Error:
        raise _Unreadable(number, QUOTE) from None


def _header_faults(
    number: int, header: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> Iterator[Fault]:
    known = (*required, *optional)
    missing = [name for name in required if name not in header]
    for name in missing:
        yield Fault(number, name, "is missing from the header")
    if any(name not in known for name in header):
        places = ", ".join(str(place) for place, name in enumerate(header, 1) if name not in known)
        yield Fault(number, FILE, f"names columns nobody knows, at place {places}; known are {', '.join(known)}")
    for name in known:
        if header.count(name) > 1:
            yield Fault(number, name, "comes twice in the header")


def _take(sheet: Sheet, number: int, cells: list[str], header: Sequence[str], required: Sequence[str]) -> None:
    if any(cells[len(header) :]):
        sheet.faults.append(Fault(number, FILE, "has more values than the header has columns"))
        return
    named = {name: cell for name, cell in zip(header, cells, strict=False) if cell}
    faults = [Fault(number, name, "is missing") for name in required if name not in named]
    faults += [Fault(number, name, reason) for name, cell in named.items() if (reason := _artefact(cell))]
    sheet.faults.extend(faults)
    if not faults:
        sheet.lines.append(Line(number, named))


def _artefact(cell: str) -> str | None:
    if cell.startswith("="):
        return FORMULA
    if _SCIENTIFIC.fullmatch(cell):
        return SCIENTIFIC
    is_amount = len(cell) <= CHARACTERS_MAX
    return DECIMAL if _DECIMAL.fullmatch(cell) and not is_amount else None
