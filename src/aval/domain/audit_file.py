"""The chain as a file of JSON lines, checked without a database: a head, each link followed by its rows, an end."""

import hmac
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from aval.domain.audit_chain import FORMAT, LINK_ROWS_MAX, ChainedRow, Head, Link, find_key, sum_of
from aval.domain.audit_check import ChainCheck, Fault, FaultKind
from aval.domain.keyring import KeyMissing, Keyring, Purpose

LINE_BYTES_MAX = 4 * 1024 * 1024


class AuditFileNotReadable(Exception):
    """It is not what `aval verify --export` wrote; `line_no` is where this shows."""

    def __init__(self, line_no: int) -> None:
        super().__init__(line_no)
        self.line_no = line_no


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the file ends, under the key of that day, so that a cut one is told."""

    kid: str
    sum: bytes


class Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One line: exactly one of these."""

    format: str | None = None
    link: Link | None = None
    row: ChainedRow | None = None
    end: End | None = None


class ChainReport(NamedTuple):
    """How far the chain holds, and the first bad row if there is one."""

    head: Head
    fault: Fault | None


_decode = msgspec.json.Decoder(Line).decode


def head_line() -> bytes:
    """The first line."""
    return _line(Line(format=FORMAT))


def link_lines(link: Link, rows: Sequence[ChainedRow]) -> bytes:
    """A link and its rows."""
    return b"".join([_line(Line(link=link)), *(_line(Line(row=row)) for row in rows)])


def end_line(keyring: Keyring, head: Head) -> bytes:
    """The last line."""
    key = keyring.current(Purpose.EVIDENCE)
    return _line(Line(end=End(key.kid, sum_of(key, head))))


def _line(line: Line) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def check_audit_file(lines: Iterable[bytes], keyring: Keyring) -> ChainReport:
    """Read the chain of a file; stops at the first bad row. Raises AuditFileNotReadable."""
    check, is_whole = ChainCheck(keyring), False
    for link, rows, end in _links(lines):
        if end is not None:
            is_whole = _is_end(end, keyring, check.head)
        fault = check.take(link, rows) if link is not None else None
        if fault is not None:
            return ChainReport(check.head, fault)
    cut = Fault(FaultKind.FILE_CUT, check.head.number + 1, check.head.rows + 1, None)
    return ChainReport(check.head, None if is_whole else cut)


def _is_end(end: End, keyring: Keyring, head: Head) -> bool:
    try:
        return hmac.compare_digest(sum_of(find_key(keyring, end.kid), head), end.sum)
    except KeyMissing:
        return False


def _links(lines: Iterable[bytes]) -> Iterator[tuple[Link | None, Sequence[ChainedRow], End | None]]:
    """Each link with its rows, of those too many only the first; then the end, if there is one."""
    link: Link | None = None
    rows: list[ChainedRow] = []
    for line_no, line in _read(lines):
        if line.row is not None:
            if link is None:
                raise AuditFileNotReadable(line_no)
            rows += [line.row] if len(rows) <= LINK_ROWS_MAX else []
            continue
        if link is not None:
            yield link, rows, None
        link, rows = line.link, []
        if line.end is not None:
            yield None, (), line.end
    if link is not None:
        yield link, rows, None


def _read(lines: Iterable[bytes]) -> Iterator[tuple[int, Line]]:
    """Every line but the first; nothing may come before it, and nothing after the end."""
    is_ended = False
    for line_no, text in enumerate(lines, 1):
        try:
            line = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise AuditFileNotReadable(line_no) from None
        told = [part for part in (line.format, line.link, line.row, line.end) if part is not None]
        is_head = line.format == FORMAT
        if len(told) != 1 or is_ended or is_head != (line_no == 1):
            raise AuditFileNotReadable(line_no)
        is_ended = line.end is not None
        if not is_head:
            yield line_no, line
