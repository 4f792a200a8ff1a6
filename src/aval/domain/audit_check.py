"""Reading the chain of the audit from its beginning, and finding the first row that is not as it was sealed."""

import hmac
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from aval.domain.audit_chain import (
    KEY_BYTES,
    KEYED_MARK_BYTES,
    NO_HEAD,
    ChainedRow,
    Head,
    Link,
    find_key,
    mark_of,
    seal_of,
)
from aval.domain.keyring import Key, KeyMissing, Keyring


class FaultKind(StrEnum):
    """What is wrong with a row, or with the link that sealed it."""

    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"
    LINK_CHANGED = "link_changed"
    LINK_MISSING = "link_missing"
    KEY_UNKNOWN = "key_unknown"
    FILE_CUT = "file_cut"


class Fault(NamedTuple):
    """The first bad row: its number in the chain, the link it belongs to, and its key where one is known."""

    kind: FaultKind
    link_no: int
    row_no: int
    audit_id: str | None


class ChainCheck:
    """Takes link after link with the rows that lie in it, and keeps nothing but the head."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.head: Head = NO_HEAD

    def take(self, link: Link, rows: Sequence[ChainedRow]) -> Fault | None:
        """Look at the next link; `rows` lie between the head and its end, one more than it says is enough."""
        first_no = self.head.rows + 1
        if link.number != self.head.number + 1:
            return Fault(FaultKind.LINK_MISSING, self.head.number + 1, first_no, rows[0].audit_id if rows else None)
        try:
            key = find_key(self._keyring, link.kid)
        except KeyMissing:
            return Fault(FaultKind.KEY_UNKNOWN, link.number, first_no, rows[0].audit_id if rows else None)
        listed = _listed(link)
        fault = _first_bad_row(link, listed, rows, first_no, key)
        is_beyond = fault is None or fault.row_no >= first_no + len(listed)
        if is_beyond and not self._is_sealed(link, key):  # its end may be another, so that it was given rows too many
            named = next(iter([*(audit_id for audit_id, _ in listed), *(row.audit_id for row in rows)]), None)
            fault = Fault(FaultKind.LINK_CHANGED, link.number, first_no, named)
        if fault is None:
            self.head = Head.of(link)
        return fault

    def _is_sealed(self, link: Link, key: Key) -> bool:
        follows = (link.rows_before, link.former) == (self.head.rows, self.head.seal)
        is_whole = len(link.marks) == link.row_count * KEYED_MARK_BYTES and link.row_count > 0
        return follows and is_whole and hmac.compare_digest(seal_of(key, link), link.seal)


def _listed(link: Link) -> list[tuple[str, bytes]]:
    """Key and mark of each row as the link has them; what follows the last whole one is nothing."""
    marks = (link.marks[at : at + KEYED_MARK_BYTES] for at in range(0, len(link.marks), KEYED_MARK_BYTES))
    return [(str(UUID(bytes=mark[:KEY_BYTES])), mark[KEY_BYTES:]) for mark in marks if len(mark) == KEYED_MARK_BYTES]


def _first_bad_row(
    link: Link, listed: Sequence[tuple[str, bytes]], rows: Sequence[ChainedRow], first_no: int, key: Key
) -> Fault | None:
    for place, (audit_id, mark) in enumerate(listed):
        row, number = rows[place] if place < len(rows) else None, first_no + place
        if row is None:
            return Fault(FaultKind.MISSING, link.number, number, audit_id)
        if row.audit_id != audit_id:
            is_later_one = any(row.audit_id == other for other, _ in listed)
            kind, named = (FaultKind.MISSING, audit_id) if is_later_one else (FaultKind.ADDED, row.audit_id)
            return Fault(kind, link.number, number, named)
        if not hmac.compare_digest(mark_of(key, number, row), mark):
            return Fault(FaultKind.CHANGED, link.number, number, audit_id)
    if len(rows) > len(listed):
        return Fault(FaultKind.ADDED, link.number, first_no + len(listed), rows[len(listed)].audit_id)
    return None
