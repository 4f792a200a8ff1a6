"""Make devices `failed` whose challenges were rejected: the window is over, or the fifth token was wrong."""

from collections.abc import Sequence
from datetime import datetime

from aval.domain.transfer import Reason
from aval.operations.move_phones import PhoneMove, move_phones
from aval.operations.record_act import Author
from aval.storage.challenges import Decision
from aval.storage.database import Connection
from aval.storage.phones import read_registering_phones


async def fail_registrations(
    connection: Connection, decisions: Sequence[Decision], *, reason: Reason, at: datetime
) -> None:
    """Move the devices of registrations and replacements in the transaction that rejected them and holds their locks.

    What is known of each challenge's end goes into the one audit row of its device.
    """
    by_operation = {(d.transfer.integrator_key, d.transfer.key): d for d in decisions}
    moves = []
    for device in await read_registering_phones(connection, list(by_operation)):
        decision = by_operation[device.integrator_key, device.operation_key]
        author = Author(decision.actor, decision.correlation_id)
        moves.append(PhoneMove(device, device.failed(reason, at), author, decision.audit_details))
    await move_phones(connection, moves)
