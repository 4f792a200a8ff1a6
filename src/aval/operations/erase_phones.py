"""Forget the numbers of a participant: the devices stay as rows without a number, so that purchases can name them."""

from secrets import token_bytes
from uuid import UUID

from aval.domain.keyring import Keyring
from aval.domain.phone import PhoneStatus
from aval.domain.transfer import Reason
from aval.operations.end_registration import end_challenge
from aval.operations.fresh import sealed
from aval.operations.leave_phone import hold_challenges
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.record_act import Author
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.phones import list_phone_keys, overwrite_number, read_present_phones

INDEX_BYTES = 32
NO_NUMBER = ""
NO_MASK = "+55 ** *****-****"


async def erase_phones(
    connection: Connection, *, tenant_key: UUID, participant_key: UUID, keyring: Keyring, author: Author
) -> None:
    """Remove the device, end a registration, and overwrite numbers, their indexes and masks; nobody gets a notice.

    The guard of the participant is held, and no purchase of theirs is pending.
    """
    present = await read_present_phones(connection, tenant_key, participant_key)
    moves: list[PhoneMove] = []
    for device in present:
        if device.is_in_registration:
            await hold_challenges(connection, device, [device.operation_key])
            moves.append(await end_challenge(connection, device, reason=Reason.DEVICE_CHANGED, author=author))
    now = await read_clock(connection)
    moves += [
        PhoneMove(device, device.moved(PhoneStatus.REMOVED, now), author, {"erased": True})
        for device in present
        if device.is_in_use
    ]
    await move_phones(connection, moves, has_notices=False)
    for key in await list_phone_keys(connection, tenant_key, participant_key):
        await overwrite_number(
            connection,
            tenant_key,
            key,
            number_index=token_bytes(INDEX_BYTES),
            number_sealed=sealed(keyring, NO_NUMBER, associated=f"contacts/{key}"),
            masked_number=NO_MASK,
        )
