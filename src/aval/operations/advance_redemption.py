"""Let time pass for one operation of a sandbox campaign: a purchase, or the registration of a phone."""

from datetime import timedelta
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal
from aval.domain.phone import PhoneDevice
from aval.domain.transfer import Kind, Reason, Status, moved_to
from aval.operations.confirm_redemption import ending
from aval.operations.expire_purchases import expire_purchases
from aval.operations.fail_registrations import fail_registrations
from aval.operations.record_act import Author, record_act
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.participants import guard_participants
from aval.storage.phones import find_phone, read_registering_phones
from aval.storage.sandbox import shift_challenge


async def advance_redemption(
    db: Database, *, tenant_key: UUID, operation_key: UUID, earlier_by: timedelta, author: Author
) -> Challenge | None:
    """End token, cooldown and window that much earlier; None once the operation waits for nothing any more.

    A device in registration is named by its own id or by the operation its messages name. Raises Refusal, LockNotWon.
    """
    async with db.transaction() as connection:
        device = await _guarded_device(connection, tenant_key, operation_key)
        key = (tenant_key, operation_key if device is None else device.operation_key)
        found = (await lock_operations(connection, [key], may_wait=True)).get(key)
        if found is None or not found[0].kind.is_redemption:
            raise Refusal("rdm.resource_not_found", extra_fields={"resource": "operation"})
        if not found[1].is_pending:
            return None
        await shift_challenge(connection, *key, earlier_by)
        await record_act(
            connection,
            author,
            "operation.advanced",
            integrator_key=tenant_key,
            key=key[1],
            at=await read_clock(connection),
            details={"seconds": int(earlier_by.total_seconds())},
        )
        return await _standing(connection, key, author)


async def _guarded_device(connection: Connection, tenant_key: UUID, operation_key: UUID) -> PhoneDevice | None:
    device = await find_phone(connection, tenant_key, operation_key)
    if device is None:
        waiting = await read_registering_phones(connection, [(tenant_key, operation_key)])
        device = waiting[0] if waiting else None
    if device is None:
        return None
    await guard_participants(connection, [(tenant_key, device.participant_key)])
    return await find_phone(connection, tenant_key, device.key)


async def _standing(connection: Connection, key: tuple[UUID, UUID], author: Author) -> Challenge | None:
    """What is left of the challenge; a window that is over by then is over at once."""
    transfer, challenge = (await lock_operations(connection, [key], may_wait=True))[key]
    now = await read_clock(connection)
    if not challenge.is_overdue(now):
        return challenge
    if transfer.kind is Kind.PURCHASE:
        await expire_purchases(connection, [key], may_wait=True)
        return None
    reason = Reason.APPROVAL_WINDOW_EXPIRED
    decision = ending(
        transfer,
        challenge,
        moved_to(challenge.status, Status.REJECTED),
        now,
        reason=reason,
        actor=author.name,
        correlation_id=author.correlation_id,
    )
    await write_decisions(connection, [decision])
    await fail_registrations(connection, [decision], reason=reason, at=now)
    return None
