"""Reject the pending purchases of a participant: of a phone that is no longer theirs, or of one who was suspended."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.purchase import Purchase, PurchaseStatus
from aval.domain.transfer import Reason, Status, Transfer, moved_to
from aval.operations.change_purchases import PurchaseChange, change_purchases
from aval.operations.confirm_redemption import ending
from aval.storage.challenges import lock_operations
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.purchases import PurchaseId, find_pending, lock_purchases


async def reject_purchases(
    connection: Connection,
    *,
    tenant_key: UUID,
    participant_key: UUID,
    reason: Reason,
    actor: str,
    correlation_id: str,
    device_key: UUID | None = None,
) -> list[Purchase]:
    """Reject what waits for a token, of one device or any, and give the points back; answers what was rejected.

    The caller holds the participant's row, so that no new one begins, and no lock of a device yet (docs/adr/0034):
    challenges, purchases and the points account are locked here. One whose window is over is rejected for that.
    """
    pending = await find_pending(connection, tenant_key, participant_key, device_key)
    keys = [(tenant_key, key) for key in pending]
    locked = await lock_operations(connection, keys, may_wait=True) if keys else {}
    purchases = await lock_purchases(connection, keys)
    now = await read_clock(connection)
    ended = [
        (transfer, challenge, Reason.APPROVAL_WINDOW_EXPIRED if challenge.is_overdue(now) else reason)
        for transfer, challenge in locked.values()
        if challenge.is_pending
    ]
    return await reject_locked(connection, ended, purchases, now, actor=actor, correlation_id=correlation_id)


async def reject_locked(
    connection: Connection,
    ended: Sequence[tuple[Transfer, Challenge, Reason]],
    purchases: dict[PurchaseId, Purchase],
    now: datetime,
    *,
    actor: str,
    correlation_id: str | None = None,
) -> list[Purchase]:
    """End challenges and reject their purchases, all locked; without a correlation id each has its own origin's."""
    changes: list[PurchaseChange] = []
    for transfer, challenge, reason in ended:
        purchase = purchases[transfer.integrator_key, transfer.key]
        told = correlation_id or purchase.origin_correlation_id
        status = moved_to(challenge.status, Status.REJECTED)
        decision = ending(transfer, challenge, status, now, reason=reason, actor=actor, correlation_id=told)
        changes.append(
            PurchaseChange(
                before=purchase,
                to=PurchaseStatus.REJECTED,
                at=now,
                actor=actor,
                correlation_id=told,
                reason=reason.value,
                audit_details=decision.audit_details,
                decision=decision,
            )
        )
    return [told.purchase for told in await change_purchases(connection, changes)]
