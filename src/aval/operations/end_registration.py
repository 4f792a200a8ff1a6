"""End the registration of a security device that something else overtakes; its token is void from then on."""

from aval.domain.phone import PhoneDevice, failure_of
from aval.domain.transfer import Reason, Status, moved_to
from aval.operations.confirm_redemption import ending
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.record_act import Author
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection


async def end_registration(connection: Connection, device: PhoneDevice, *, reason: Reason, author: Author) -> None:
    """Reject what the device waits for and make it `failed`, in the running transaction that holds its guard.

    One whose window was over before has failed by that.
    """
    await move_phones(connection, [await end_challenge(connection, device, reason=reason, author=author)])


async def end_challenge(connection: Connection, device: PhoneDevice, *, reason: Reason, author: Author) -> PhoneMove:
    """Lock and reject the challenge of a registration; answers the move that is still to be written.

    The sweep takes the guard, too, so a device that is in registration waits for its token.
    """
    operation = (device.integrator_key, device.operation_key)
    found = (await lock_operations(connection, [operation], may_wait=True)).get(operation)
    assert found is not None
    transfer, challenge = found
    now = await read_clock(connection)
    reason = failure_of(challenge, reason, now)
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
    return PhoneMove(device, device.failed(reason, now), author, decision.audit_details)
