"""Verify the audit against its chain, or write both down for those who verify without the database."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from aval.domain.audit_chain import NO_HEAD, Head
from aval.domain.audit_check import ChainCheck, Fault
from aval.domain.audit_file import end_line, head_line, link_lines
from aval.domain.keyring import Keyring
from aval.storage.audit_chain import Tail, read_by_index, read_chain, read_tail
from aval.storage.database import Database


class AuditReport(NamedTuple):
    """How far the chain holds, the first bad row if there is one, and what is not sealed yet."""

    head: Head
    fault: Fault | None
    tail: Tail


async def verify_audit(db: Database, *, keyring: Keyring) -> AuditReport:
    """Read the chain from its beginning, a few thousand rows at a time; stops at the first bad one."""
    check = ChainCheck(keyring)
    async for link, rows in read_chain(db):
        fault = check.take(link, rows)
        if fault is not None:
            return AuditReport(check.head, fault, Tail(0, 0.0))
    async with db.transaction() as connection:
        await read_by_index(connection)
        return AuditReport(check.head, None, await read_tail(connection, check.head.last))


async def export_audit(db: Database, *, keyring: Keyring) -> AsyncIterator[bytes]:
    """The lines of a file that `aval verify` reads: what is sealed, as it is now, good or bad."""
    head = NO_HEAD
    yield head_line()
    async for link, rows in read_chain(db):
        yield link_lines(link, rows)
        head = Head.of(link)
    yield end_line(keyring, head)
