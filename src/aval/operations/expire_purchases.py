"""End purchases whose time is over: unapproved at the end of their window, or authorized for longer than allowed.

Found by the worker's sweep, or by whoever comes past the deadline.
"""

from collections.abc import Sequence

from aval.domain.purchase import Purchase, PurchaseStatus
from aval.domain.transfer import Reason
from aval.operations.change_purchases import PurchaseChange, change_purchases
from aval.operations.expire_apart import Sweep, expire_apart
from aval.operations.reject_purchases import reject_locked
from aval.storage.challenges import lock_operations
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.purchases import (
    PurchaseId,
    lock_purchases,
    move_authorization_watermark,
    read_overdue_authorizations,
)

WORKER = "worker"


async def expire_purchases(connection: Connection, keys: Sequence[PurchaseId], *, may_wait: bool) -> list[Purchase]:
    """Reject purchases past their approval window in the running transaction; answers those that were.

    Without `may_wait` what is locked elsewhere is left for the next sweep.
    """
    locked = await lock_operations(connection, keys, may_wait=may_wait)
    purchases = await lock_purchases(connection, list(locked), may_wait=may_wait)
    now = await read_clock(connection)
    overdue = [
        (transfer, challenge, Reason.APPROVAL_WINDOW_EXPIRED)
        for key, (transfer, challenge) in locked.items()
        if challenge.is_overdue(now) and key in purchases
    ]
    return await reject_locked(connection, overdue, purchases, now, actor=WORKER)


async def expire_authorized(connection: Connection, keys: Sequence[PurchaseId], *, may_wait: bool) -> list[Purchase]:
    """Expire purchases past their authorization in the running transaction; answers those that were."""
    purchases = await lock_purchases(connection, keys, may_wait=may_wait)
    now = await read_clock(connection)
    changes = [
        PurchaseChange(
            before=purchase,
            to=PurchaseStatus.EXPIRED,
            at=now,
            actor=WORKER,
            correlation_id=purchase.origin_correlation_id,
        )
        for purchase in purchases.values()
        if purchase.is_expired(now)
    ]
    return [told.purchase for told in await change_purchases(connection, changes)]


async def expire_authorizations(db: Database, *, most: int) -> Sweep:
    """Expire at most `most` purchases past their authorization. Locked and failed ones are met by the next sweep."""

    async def expire(connection: Connection, keys: Sequence[PurchaseId]) -> int:
        return len(await expire_authorized(connection, keys, may_wait=False))

    async with db.connection() as connection:
        overdue = await read_overdue_authorizations(connection, most=most)
    sweep = await expire_apart(db, overdue, expire)
    if len(overdue) < most:
        async with db.connection() as connection:
            await move_authorization_watermark(connection)
    return sweep


async def expire_purchase(db: Database, *, key: PurchaseId) -> None:
    """End one purchase if its time is over, before it is shown. Raises LockNotWon."""
    async with db.transaction() as connection:
        await expire_purchases(connection, [key], may_wait=True)
        await expire_authorized(connection, [key], may_wait=True)
