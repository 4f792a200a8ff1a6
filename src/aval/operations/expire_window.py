"""Reject what was not approved in time (T7): found by the sweeper, or by whoever comes past the deadline."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.transfer import REDEMPTION_KINDS, TRANSFER_KINDS, Kind, Reason, Status, moved_to
from aval.operations.confirm_redemption import ending
from aval.operations.confirm_transfer import event_of
from aval.operations.expire_apart import Sweep, expire_apart
from aval.operations.expire_purchases import expire_purchases
from aval.operations.fail_registrations import fail_registrations
from aval.operations.resend_token import expiry
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.participants import hold_participants
from aval.storage.sweeps import Overdue, move_watermark, read_overdue
from aval.storage.webhook_events import append_events

WORKER = "worker"


async def expire_windows(db: Database, *, most: int) -> Sweep:
    """Reject operations past their deadline, at most `most`. Locked and failed ones are met by the next sweep."""
    async with db.connection() as connection:
        overdue = await read_overdue(connection, most=most)
    sweeps = [
        await expire_apart(db, [row for row in overdue if row.kind in kinds], expire) for kinds, expire in _BY_KIND
    ]
    if len(overdue) < most:
        async with db.connection() as connection:
            await move_watermark(connection)
    return Sweep(sum(sweep.expired for sweep in sweeps), sum(sweep.failed for sweep in sweeps))


async def _expire_transfers(connection: Connection, overdue: Sequence[Overdue]) -> int:
    return await _expire(connection, list(map(_key_of, overdue)), may_wait=False)


async def _expire_purchases(connection: Connection, overdue: Sequence[Overdue]) -> int:
    return len(await expire_purchases(connection, list(map(_key_of, overdue)), may_wait=False))


async def _expire_registrations(connection: Connection, overdue: Sequence[Overdue]) -> int:
    """Registrations of phones, under the guards of their participants (docs/adr/0034)."""
    await hold_participants(connection, [(row.integrator_key, row.approver_key) for row in overdue])
    locked = await lock_operations(connection, list(map(_key_of, overdue)), may_wait=False)
    now = await read_clock(connection)
    reason = Reason.APPROVAL_WINDOW_EXPIRED
    decisions = [
        ending(
            *(transfer, challenge, moved_to(challenge.status, Status.REJECTED), now),
            reason=reason,
            actor=WORKER,
            correlation_id=transfer.correlation_id,
        )
        for transfer, challenge in locked.values()
        if challenge.is_overdue(now)
    ]
    if decisions:
        await write_decisions(connection, decisions)
        await fail_registrations(connection, decisions, reason=reason, at=now)
    return len(decisions)


def _key_of(row: Overdue) -> tuple[UUID, UUID]:
    return row.integrator_key, row.operation_key


_BY_KIND: tuple[tuple[frozenset[Kind], Callable[[Connection, Sequence[Overdue]], Awaitable[int]]], ...] = (
    (frozenset(TRANSFER_KINDS), _expire_transfers),
    (frozenset({Kind.PURCHASE}), _expire_purchases),
    (REDEMPTION_KINDS - {Kind.PURCHASE}, _expire_registrations),
)


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
