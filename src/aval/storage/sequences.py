"""The running number of an operation's webhooks; those of items count in their batch."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from aval.storage.database import Connection
from aval.storage.rows import columns


async def advance_sequence(connection: Connection, integrator_key: UUID, operation_key: UUID) -> int:
    """Count one more webhook of an operation whose challenge is locked; answers its number."""
    sequence: int = await connection.fetchval(
        "update challenges set event_sequence = event_sequence + 1"
        " where integrator_id = $1 and operation_id = $2 returning event_sequence",
        integrator_key,
        operation_key,
    )
    return sequence


class BatchSequence(NamedTuple):
    """The number of the last webhook of a batch, and when it was counted."""

    integrator_key: UUID
    batch_key: UUID
    sequence: int
    at: datetime


async def count_in_batches(connection: Connection, batches: Iterable[BatchSequence]) -> None:
    """Write how many webhooks batches have sent, their items' included; their challenges are locked."""
    await connection.execute(
        "update challenges c set event_sequence = r.sequence, updated_at = r.at"
        " from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::timestamptz[])"
        "   as r (integrator_id, operation_id, sequence, at)"
        " where c.integrator_id = r.integrator_id and c.operation_id = r.operation_id",
        *columns(batches),
    )
