"""The audit as a chain of sealed links: what is sealed, and with which key.

Source: promises.md AU2, AU3, D14; docs/adr/0041.
"""

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from aval.domain.keyring import Key, Keyring, Purpose

FORMAT = "aval-audit-v1"
LINK_ROWS_MAX = 1_000  # about 0.5 MB at once
KEY_BYTES = 16  # of an audit_id
MARK_BYTES = 16
KEYED_MARK_BYTES = KEY_BYTES + MARK_BYTES
SEAL_BYTES = 32


class Place(NamedTuple):
    """Where a row lies in the order of sealing; keys in lower case, so that they sort as PostgreSQL sorts them."""

    xact: int
    integrator_id: str
    audit_id: str


BEGINNING = Place(0, str(UUID(int=0)), str(UUID(int=0)))


class ChainedRow(NamedTuple):
    """All of an audit row as PostgreSQL writes it; `at` in seconds since 1970, with six decimals."""

    xact: int
    integrator_id: str
    audit_id: str
    at: str
    actor: str
    action: str
    operation_id: str | None
    details: str
    correlation_id: str

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.xact, self.integrator_id, self.audit_id)


class Link(msgspec.Struct, frozen=True):
    """A sealed run of rows. `marks` has audit_id and mark of each; `sealed_at` is written like `ChainedRow.at`."""

    number: int
    rows_before: int
    row_count: int
    last: Place
    marks: bytes
    former: bytes
    kid: str
    sealed_at: str
    seal: bytes


class Head(NamedTuple):
    """The end of what is known of the chain."""

    number: int
    rows: int
    last: Place
    seal: bytes

    @classmethod
    def of(cls, link: Link) -> "Head":
        """The end after a link."""
        return cls(link.number, link.rows_before + link.row_count, link.last, link.seal)


NO_HEAD = Head(0, 0, BEGINNING, bytes(SEAL_BYTES))


def next_link(rows: Sequence[ChainedRow], head: Head, key: Key, *, sealed_at: str) -> Link:
    """Seal the rows that follow the head, in their order."""
    assert 0 < len(rows) <= LINK_ROWS_MAX
    marks = b"".join(
        UUID(row.audit_id).bytes + mark_of(key, number, row) for number, row in enumerate(rows, head.rows + 1)
    )
    draft = Link(head.number + 1, head.rows, len(rows), rows[-1].place, marks, head.seal, key.kid, sealed_at, b"")
    return msgspec.structs.replace(draft, seal=seal_of(key, draft))


def mark_of(key: Key, number: int, row: ChainedRow) -> bytes:
    """Keyed hash of a row and of its number in the chain; 16 bytes."""
    return _keyed(key, ("row", number, *row))[:MARK_BYTES]


def seal_of(key: Key, link: Link) -> bytes:
    """Keyed hash of everything a link says, and so of everything before it; 32 bytes."""
    digest = hashlib.sha256(link.marks).digest()
    place = (link.number, link.rows_before, link.row_count, *link.last)
    return _keyed(key, ("link", *place, digest, link.former, link.kid, link.sealed_at))


def sum_of(key: Key, head: Head) -> bytes:
    """Keyed hash of where an exported chain ends; 32 bytes."""
    return _keyed(key, ("end", head.number, head.rows, *head.last, head.seal))


def find_key(keyring: Keyring, kid: str) -> Key:
    """The key of a link; raises KeyMissing."""
    return keyring.find(Purpose.EVIDENCE, kid)


def _keyed(key: Key, told: tuple[object, ...]) -> bytes:
    """Over a JSON array: text, numbers and null stand apart in it, so that no two things read alike."""
    return hmac.digest(_key_of_chain(key), msgspec.json.encode(told), hashlib.sha256)


@lru_cache(maxsize=8)
def _key_of_chain(key: Key) -> bytes:
    """The key of evidence signs; this one, made of it, only keys the chain."""
    return hmac.digest(key.secret, FORMAT.encode(), hashlib.sha256)
