"""Reject what was not approved in time (T7): found by the sweeper, or by whoever comes past the deadline."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.operations.confirm_transfer import event_of
from aval.operations.resend_token import expiry
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database, DatabaseUnavailable, LockNotWon
from aval.storage.sweeps import move_watermark, read_overdue
from aval.storage.webhook_events import append_events

WORKER = "worker"


class Sweep(NamedTuple):
    """How many operations one sweep rejected, and how many it could not write."""

    expired: int
    failed: int


async def expire_windows(db: Database, *, most: int) -> Sweep:
    """Reject operations past their deadline, at most `most`. Locked and failed ones are met by the next sweep."""
    async with db.connection() as connection:
        overdue = await read_overdue(connection, most=most)
    sweep = await _expire_apart(db, [(row.integrator_key, row.operation_key) for row in overdue])
    if len(overdue) < most:
        async with db.connection() as connection:
            await move_watermark(connection)
    return sweep


async def _expire_apart(db: Database, keys: Sequence[tuple[UUID, UUID]]) -> Sweep:
    """All in one transaction, or the halves each in its own, so that one bad row never keeps the others waiting."""
    if not keys:
        return Sweep(0, 0)
    try:
        async with db.transaction() as connection:
            return Sweep(await _expire(connection, keys, may_wait=False), 0)
    except (DatabaseUnavailable, LockNotWon):
        raise
    except Exception:  # noqa: BLE001 – told as a number; what failed stays as it was
        if len(keys) == 1:
            return Sweep(0, 1)
    half = len(keys) // 2
    first, second = await _expire_apart(db, keys[:half]), await _expire_apart(db, keys[half:])
    return Sweep(first.expired + second.expired, first.failed + second.failed)


async def expire_if_due(connection: Connection, integrator_key: UUID, operation_key: UUID) -> Challenge | None:
    """Apply T7 to one operation in the running transaction if its time is over; answers it as it is then."""
    key = (integrator_key, operation_key)
    await _expire(connection, [key], may_wait=True)
    found = (await lock_operations(connection, [key], may_wait=True)).get(key)
    return None if found is None else found[1]


async def _expire(connection: Connection, keys: Sequence[tuple[UUID, UUID]], *, may_wait: bool) -> int:
    locked = await lock_operations(connection, keys, may_wait=may_wait)
    now = await read_clock(connection)
    decisions = [
        expiry(transfer, challenge, now, actor=WORKER, correlation_id=transfer.correlation_id)
        for transfer, challenge in locked.values()
        if challenge.is_overdue(now)
    ]
    if decisions:
        await write_decisions(connection, decisions)
        await append_events(connection, [event_of(decision) for decision in decisions])
    return len(decisions)
