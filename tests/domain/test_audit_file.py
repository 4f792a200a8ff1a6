"""A file of the chain stands by itself: whatever is changed in it or cut off it is found."""

import json
from collections.abc import Callable

import msgspec
import pytest

from aval.domain.audit_chain import NO_HEAD, Head
from aval.domain.audit_check import FaultKind
from aval.domain.audit_file import AuditFileNotReadable, check_audit_file, end_line, head_line, link_lines
from aval.domain.keyring import Key, Keyring, Purpose
from tests.domain.test_audit_chain import KEY, chain, chained

KEYRING = Keyring([KEY])


def file_of(*counts: int) -> list[bytes]:
    links = chain(*counts)
    head = Head.of(links[-1][0]) if links else NO_HEAD
    text = head_line() + b"".join(link_lines(*each) for each in links) + end_line(KEYRING, head)
    return text.splitlines(keepends=True)


@pytest.mark.parametrize("counts", [(), (1,), (3, 2, 4)])
def test_a_file_as_it_was_written_is_whole(counts: tuple[int, ...]) -> None:
    report = check_audit_file(file_of(*counts), KEYRING)
    assert (report.head.number, report.head.rows, report.fault) == (len(counts), sum(counts), None)


def test_every_line_that_is_missing_is_told() -> None:
    lines = file_of(2, 2)
    for number in range(1, len(lines)):
        try:
            assert check_audit_file(lines[:number] + lines[number + 1 :], KEYRING).fault is not None, number
        except AuditFileNotReadable:
            assert number == 1  # rows without their link


def test_every_value_that_is_changed_is_told() -> None:
    lines = file_of(2, 2)
    for number, line in enumerate(lines[1:], 1):
        (part,) = json.loads(line).values()
        for name in range(len(part)) if isinstance(part, list) else part:
            other = json.loads(line)
            (inside,) = other.values()
            inside[name] = _other_than(inside[name])
            changed = [*lines[:number], json.dumps(other).encode(), *lines[number + 1 :]]
            assert check_audit_file(changed, KEYRING).fault is not None, (number, name)


def _other_than(value: object) -> object:
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return [value[0] + 1, *value[1:]]
    return "AAAA" if isinstance(value, str) and value != "AAAA" else "nobody"


def test_the_first_bad_row_is_named_before_the_end() -> None:
    lines = file_of(2, 2)
    lines[5] = lines[5].replace(b"admin:ana", b"admin:eva")
    fault = check_audit_file(lines, KEYRING).fault
    assert fault is not None
    assert (fault.kind, fault.link_no, fault.row_no, fault.audit_id) == (FaultKind.CHANGED, 2, 3, chained(3).audit_id)


def test_a_file_that_was_cut_is_told_wherever_it_was_cut() -> None:
    lines = file_of(2, 2)
    report = check_audit_file(lines[:4], KEYRING)
    assert report.fault is not None
    assert (report.fault.kind, report.fault.row_no) == (FaultKind.FILE_CUT, 3)
    assert check_audit_file([*lines[:4], lines[-1]], KEYRING).fault == report.fault
    stranger = Keyring([Key(Purpose.EVIDENCE, "mine", b"x" * 32, KEY.created_at)])
    forged = [*lines[:4], end_line(stranger, Head.of(chain(2)[0][0]))]
    assert check_audit_file(forged, KEYRING).fault == report.fault
    assert check_audit_file([], KEYRING).fault is not None


def test_more_rows_than_a_link_may_have_are_not_kept_in_memory() -> None:
    lines = file_of(1)
    lines[3:3] = [msgspec.json.encode({"row": chained(number)}) for number in range(2, 3_000)]
    fault = check_audit_file(lines, KEYRING).fault
    assert fault is not None
    assert (fault.kind, fault.row_no) == (FaultKind.ADDED, 2)


@pytest.mark.parametrize(
    ("spoil", "line_no"),
    [
        (lambda lines: lines[1:], 1),
        (lambda lines: [b"", *lines], 1),
        (lambda lines: [b"\xff\xfe", *lines[1:]], 1),
        (lambda lines: [b'{"format": "aval-audit-v9"}', *lines[1:]], 1),
        (lambda lines: [*lines, lines[0]], 7),
        (lambda lines: [*lines, lines[2]], 7),
        (lambda lines: [lines[0], lines[2], *lines[1:]], 2),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 2),
        (lambda lines: [lines[0], b"{}", *lines[1:]], 2),
        (lambda lines: [*lines[:2], b'{"row": [1]}', *lines[2:]], 3),
        (lambda lines: [*lines[:2], lines[1][:-2] + b', "end": null, "more": 1}', *lines[2:]], 3),
    ],
)
def test_what_is_no_file_of_a_chain_is_refused(spoil: Callable[[list[bytes]], list[bytes]], line_no: int) -> None:
    with pytest.raises(AuditFileNotReadable) as refused:
        check_audit_file(spoil(file_of(1, 1)), KEYRING)
    assert refused.value.line_no == line_no
