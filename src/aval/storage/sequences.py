"""The running number of an operation's webhooks; those of items count in their batch."""

from collections.abc import Iterable, Sequence
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


async def count_purchase_events(
    connection: Connection, purchases: Sequence[tuple[UUID, UUID]], at: datetime
) -> dict[tuple[UUID, UUID], int]:
    """Count one more webhook of each purchase, all locked; answers their numbers."""
    rows = await connection.fetch(
        "update purchases p set event_sequence = p.event_sequence + 1, updated_at = $3"
        "  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, purchase_id)"
        " where p.integrator_id = r.integrator_id and p.purchase_id = r.purchase_id"
        " returning p.integrator_id, p.purchase_id, p.event_sequence",
        *(columns(purchases) or ([], [])),
        at,
    )
    return {(row["integrator_id"], row["purchase_id"]): row["event_sequence"] for row in rows}


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
