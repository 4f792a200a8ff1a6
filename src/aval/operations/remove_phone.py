"""A participant takes a device away: the active one, or a registration that is not done yet."""

from uuid import UUID

from aval.domain.phone import PhoneStatus, wrong_status
from aval.domain.transfer import Reason
from aval.operations.ask_documents_again import ask_documents_again
from aval.operations.end_registration import end_challenge
from aval.operations.leave_phone import hold_challenges, leave_phone
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.phone_call import no_device
from aval.operations.record_act import Author
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.participants import guard_participants
from aval.storage.phones import find_phone, read_present_phones


async def remove_phone(
    db: Database, *, tenant_key: UUID, participant_key: UUID, device_key: UUID, author: Author
) -> None:
    """End a registration, or remove the active device with all that hangs on it; nothing while one is blocked.

    Raises Refusal, LockNotWon.
    """
    async with db.transaction() as connection:
        await guard_participants(connection, [(tenant_key, participant_key)])
        device = await find_phone(connection, tenant_key, device_key)
        if device is None or device.participant_key != participant_key:
            raise no_device()
        present = await read_present_phones(connection, tenant_key, participant_key)
        blocked = next((phone for phone in present if phone.status is PhoneStatus.BLOCKED), None)
        if blocked is not None or not (device.is_in_use or device.is_in_registration):
            raise wrong_status(blocked or device)
        registering = [phone for phone in present if phone.is_in_registration]
        await hold_challenges(connection, device, [phone.operation_key for phone in registering])
        moves = [
            await end_challenge(connection, phone, reason=Reason.DEVICE_CHANGED, author=author) for phone in registering
        ]
        if device.is_in_use:
            rejected = await leave_phone(connection, device, author=author)
            removed = device.moved(PhoneStatus.REMOVED, await read_clock(connection))
            moves.append(PhoneMove(device, removed, author, {"purchases_rejected": rejected}))
        await move_phones(connection, moves)
        if device.is_in_use:
            await ask_documents_again(
                connection,
                tenant_key=device.integrator_key,
                participant_key=device.participant_key,
                actor=author.name,
                correlation_id=author.correlation_id,
            )
