"""Reject what was not approved in time (T7): found by the sweeper, or by whoever comes past the deadline."""

from collections.abc import Sequence
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.operations.confirm_transfer import event_of
from aval.operations.resend_token import expiry
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.sweeps import move_watermark, read_overdue
from aval.storage.webhook_events import append_events

WORKER = "worker"


async def expire_windows(db: Database, *, most: int) -> int:
    """Reject operations past their deadline, at most `most`; answers how many. Locked ones wait for the next sweep."""
    async with db.connection() as connection:
        overdue = await read_overdue(connection, most=most)
    expired = 0
    if overdue:
        async with db.transaction() as connection:
            keys = [(row.integrator_key, row.operation_key) for row in overdue]
            expired = await _expire(connection, keys, may_wait=False)
    if len(overdue) < most:
        async with db.connection() as connection:
            await move_watermark(connection)
    return expired


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
