"""Seal the audit: link after link, in the order in which transactions began, once all of those have ended."""

from aval.domain.audit_chain import LINK_ROWS_MAX, next_link
from aval.domain.keyring import Keyring, Purpose
from aval.storage.audit_chain import (
    is_behind,
    keep_link,
    read_by_index,
    read_clock_text,
    read_head,
    read_unsealed,
    try_lock_chain,
)
from aval.storage.database import Database


class ChainOutOfReach(Exception):
    """Transactions count from lower than what is sealed: this database was restored, and `aval migrate` has to run."""


async def seal_audit(db: Database, *, keyring: Keyring, most: int = LINK_ROWS_MAX) -> bool:
    """Seal the next link, of at most `most` rows; answers whether there are more. Any number may run, one does it.

    Raises ChainOutOfReach.
    """
    async with db.transaction() as connection:
        if not await try_lock_chain(connection):
            return False
        await read_by_index(connection)
        head = await read_head(connection)
        if await is_behind(connection, head.last):
            raise ChainOutOfReach
        rows = await read_unsealed(connection, head.last, most=most)
        if rows:
            sealed_at = await read_clock_text(connection)
            await keep_link(connection, next_link(rows, head, keyring.current(Purpose.EVIDENCE), sealed_at=sealed_at))
    return len(rows) == most
