"""What became of operations a synchronous call waits for."""

from collections.abc import Sequence
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.storage.database import Connection
from aval.storage.rows import CHALLENGE_COLUMNS, challenge_of, columns

_READ = f"""
select c.integrator_id, c.operation_id, {CHALLENGE_COLUMNS}
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, operation_id)
  join challenges c on c.integrator_id = r.integrator_id and c.operation_id = r.operation_id
  join settlement_jobs j on j.integrator_id = r.integrator_id and j.operation_id = r.operation_id and j.item_no = 1
 where c.status <> 'pending' or j.rail_status = 'pending'
"""  # noqa: S608 – columns are constants


async def read_answered(
    connection: Connection, keys: Sequence[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], Challenge]:
    """Those of the operations whose rail has answered, be it that the outcome comes later."""
    rows = await connection.fetch(_READ, *columns(keys))
    return {(row["integrator_id"], row["operation_id"]): challenge_of(row) for row in rows}
