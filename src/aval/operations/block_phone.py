"""The operator blocks a lost or suspicious phone, and lets it go again."""

from uuid import UUID

from aval.domain.phone import PhoneStatus, wrong_status
from aval.domain.transfer import Reason
from aval.operations.end_registration import end_challenge
from aval.operations.leave_phone import hold_challenges, leave_phone
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.record_act import Author
from aval.operations.reset_phone import guarded_by_operator
from aval.operations.tell_onboarded import tell_onboarded
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.phones import ShownPhone, read_present_phones, read_shown_phone


async def block_phone(db: Database, *, device_key: UUID, reason: str, author: Author) -> ShownPhone:
    """Block the active device: its pending purchases end, and a registration in progress fails.

    Raises Refusal, LockNotWon.
    """
    async with db.transaction() as connection:
        device = await guarded_by_operator(connection, device_key)
        if device.status is not PhoneStatus.ACTIVE:
            raise wrong_status(device)
        present = await read_present_phones(connection, device.integrator_key, device.participant_key)
        registering = [phone for phone in present if phone.is_in_registration]
        await hold_challenges(connection, device, [phone.operation_key for phone in registering])
        moves = [
            await end_challenge(connection, phone, reason=Reason.DEVICE_CHANGED, author=author) for phone in registering
        ]
        rejected = await leave_phone(connection, device, author=author)
        after = device.moved(PhoneStatus.BLOCKED, await read_clock(connection))
        moves.append(PhoneMove(device, after, author, {"reason": reason, "purchases_rejected": rejected}))
        await move_phones(connection, moves)
        await tell_onboarded(
            connection,
            tenant_key=device.integrator_key,
            participant_key=device.participant_key,
            correlation_id=author.correlation_id,
        )
        shown = await read_shown_phone(connection, device.integrator_key, device_key)
    assert shown is not None
    return shown


async def unblock_phone(db: Database, *, device_key: UUID, reason: str, author: Author) -> ShownPhone:
    """Let a blocked device be used again, with no new cool-down. Raises Refusal, LockNotWon."""
    async with db.transaction() as connection:
        device = await guarded_by_operator(connection, device_key)
        if device.status is not PhoneStatus.BLOCKED:
            raise wrong_status(device)
        after = device.moved(PhoneStatus.ACTIVE, await read_clock(connection))
        await move_phones(connection, [PhoneMove(device, after, author, {"reason": reason})])
        await tell_onboarded(
            connection,
            tenant_key=device.integrator_key,
            participant_key=device.participant_key,
            correlation_id=author.correlation_id,
        )
        shown = await read_shown_phone(connection, device.integrator_key, device_key)
    assert shown is not None
    return shown
