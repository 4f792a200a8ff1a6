"""What ends with a device that is replaced, removed, blocked or reset: its pending purchases, in one transaction."""

from collections.abc import Iterable
from uuid import UUID

from aval.domain.phone import PhoneDevice
from aval.domain.transfer import Reason
from aval.operations.record_act import Author
from aval.operations.reject_purchases import reject_purchases
from aval.storage.challenges import lock_operations
from aval.storage.database import Connection
from aval.storage.purchases import find_pending


async def hold_challenges(connection: Connection, device: PhoneDevice, others: Iterable[UUID] = ()) -> None:
    """Lock the challenges of purchases that wait for a token of the device, and of other operations, in key order.

    All at once, for a worker that tells of failed messages holds several, too. The guard of the participant is held.
    """
    pending = await find_pending(connection, device.integrator_key, device.participant_key, device.key)
    keys = {(device.integrator_key, key) for key in (*pending, *others)}
    if keys:
        await lock_operations(connection, sorted(keys), may_wait=True)


async def leave_phone(connection: Connection, device: PhoneDevice, *, author: Author) -> int:
    """Reject purchases that wait for a token of this device and give their points back; answers how many.

    The guard of the participant and their challenges are held, no lock of a number or device yet.
    """
    rejected = await reject_purchases(
        connection,
        tenant_key=device.integrator_key,
        participant_key=device.participant_key,
        reason=Reason.DEVICE_CHANGED,
        actor=author.name,
        correlation_id=author.correlation_id,
        device_key=device.key,
    )
    return len(rejected)
