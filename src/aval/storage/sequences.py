"""The running number of an operation's webhooks."""

from uuid import UUID

from aval.storage.database import Connection


async def advance_sequence(connection: Connection, integrator_key: UUID, operation_key: UUID) -> int:
    """Count one more webhook of an operation whose challenge is locked; answers its number."""
    sequence: int = await connection.fetchval(
        "update challenges set event_sequence = event_sequence + 1"
        " where integrator_id = $1 and operation_id = $2 returning event_sequence",
        integrator_key,
        operation_key,
    )
    return sequence
