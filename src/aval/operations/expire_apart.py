"""Write what a sweep found: all in one transaction, or apart, so that one bad row never keeps the others waiting."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

from aval.storage.database import Connection, Database, DatabaseUnavailable, LockNotWon

Row = TypeVar("Row")


class Sweep(NamedTuple):
    """How many rows one sweep ended, and how many it could not write."""

    expired: int
    failed: int


async def expire_apart(
    db: Database, rows: Sequence[Row], expire: Callable[[Connection, Sequence[Row]], Awaitable[int]]
) -> Sweep:
    """Write all in one transaction, or the halves each in its own if it fails."""
    if not rows:
        return Sweep(0, 0)
    try:
        async with db.transaction() as connection:
            return Sweep(await expire(connection, rows), 0)
    except (DatabaseUnavailable, LockNotWon):
        raise
    except Exception:  # noqa: BLE001 – told as a number; what failed stays as it was
        if len(rows) == 1:
            return Sweep(0, 1)
    half = len(rows) // 2
    first, second = await expire_apart(db, rows[:half], expire), await expire_apart(db, rows[half:], expire)
    return Sweep(first.expired + second.expired, first.failed + second.failed)
