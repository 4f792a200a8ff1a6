"""The operator takes a lost phone away; a new number that was proven already takes its place."""

from datetime import timedelta
from uuid import UUID

from aval.domain.phone import PhoneDevice, PhoneStatus, wrong_status
from aval.domain.transfer import Reason
from aval.operations.ask_documents_again import ask_documents_again
from aval.operations.confirm_phone import is_number_free, policy_of_phone
from aval.operations.end_registration import end_challenge
from aval.operations.leave_phone import hold_challenges, leave_phone
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.phone_call import no_device
from aval.operations.record_act import Author
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.participants import guard_participants
from aval.storage.phones import ShownPhone, find_phone, find_tenant_of_phone, read_present_phones, read_shown_phone
from aval.storage.redemption_calls import lock_numbers


async def reset_phone(db: Database, *, device_key: UUID, reason: str, author: Author) -> ShownPhone:
    """Remove the active or blocked device; its pending purchases end and approved documents are asked for again.

    A replacement that waits for its token is complete, with its cool-down. Raises Refusal, LockNotWon.
    """
    async with db.transaction() as connection:
        device = await guarded_by_operator(connection, device_key)
        if not device.is_in_use:
            raise wrong_status(device)
        present = await read_present_phones(connection, device.integrator_key, device.participant_key)
        waiting = next((phone for phone in present if phone.status is PhoneStatus.PENDING_REPLACEMENT), None)
        await hold_challenges(connection, device, [] if waiting is None else [waiting.operation_key])
        ended = None
        if waiting is not None:
            ended = await end_challenge(connection, waiting, reason=Reason.DEVICE_CHANGED, author=author)
        rejected = await leave_phone(connection, device, author=author)
        now = await read_clock(connection)
        details = {"reason": reason, "purchases_rejected": rejected, "reset": True}
        moves = [PhoneMove(device, device.moved(PhoneStatus.REMOVED, now), author, details)]
        if ended is not None:
            moves.append(await _completed(connection, ended))
        await move_phones(connection, moves)
        await ask_documents_again(
            connection,
            tenant_key=device.integrator_key,
            participant_key=device.participant_key,
            actor=author.name,
            correlation_id=author.correlation_id,
        )
        shown = await read_shown_phone(connection, device.integrator_key, device_key)
    assert shown is not None
    return shown


async def _completed(connection: Connection, ended: PhoneMove) -> PhoneMove:
    """The waiting device as the participant's, unless its window was over or others took its number meanwhile."""
    waiting = ended.before
    policy = await policy_of_phone(connection, waiting)
    await lock_numbers(connection, [(waiting.integrator_key, waiting.key)])
    is_free = await is_number_free(connection, waiting, policy)
    if not is_free or ended.after.failure_reason == Reason.APPROVAL_WINDOW_EXPIRED:
        return ended
    cooldown = timedelta(hours=policy.device_change_cooldown_hours)
    after = waiting.activated(ended.after.updated_at, cooldown=cooldown)
    return PhoneMove(waiting, after, ended.author, ended.details)


async def guarded_by_operator(connection: Connection, device_key: UUID) -> PhoneDevice:
    """Find a device in whatever campaign, take the guard of its participant, and read it as it is then."""
    tenant_key = await find_tenant_of_phone(connection, device_key)
    device = None if tenant_key is None else await find_phone(connection, tenant_key, device_key)
    if device is None:
        raise no_device()
    await guard_participants(connection, [(device.integrator_key, device.participant_key)])
    device = await find_phone(connection, device.integrator_key, device_key)
    assert device is not None
    return device
