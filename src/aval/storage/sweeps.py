"""Finding operations whose approval window is over, from a watermark on (docs/adr/0011).

Deadlines lie at least five minutes after creation and only the sandbox moves one (applying T7 itself when it is past),
so no operation can appear behind the watermark.
"""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from aval.domain.transfer import Kind
from aval.storage.database import Connection

MARGIN = timedelta(minutes=1)  # a transaction that created an operation has long committed by then


class Overdue(NamedTuple):
    """An operation past its deadline that nobody has rejected yet."""

    integrator_key: UUID
    operation_key: UUID
    kind: Kind
    approver_key: UUID


async def read_overdue(connection: Connection, *, most: int) -> list[Overdue]:
    """Operations that wait for approval past their deadline, the longest overdue first."""
    rows = await connection.fetch(
        "select c.integrator_id, c.operation_id, o.kind, o.approver_id from challenges c"
        " join operations o on o.integrator_id = c.integrator_id and o.operation_id = c.operation_id"
        " where c.approval_deadline > coalesce("
        "   (select swept_until from sweeps where name = 'approval_windows'), '-infinity')"
        " and c.approval_deadline <= clock_timestamp() and c.status = 'pending_2fa_approval'"
        " order by c.approval_deadline limit $1",
        most,
    )
    return [Overdue(row[0], row[1], Kind(row[2]), row[3]) for row in rows]


async def move_watermark(connection: Connection) -> None:
    """Remember that all is swept up to a little before now, or up to the first operation that still waits."""
    await connection.execute(
        "insert into sweeps (name, swept_until)"
        " select 'approval_windows', least(clock_timestamp() - $1::interval, ("
        "   select min(c.approval_deadline) - interval '1 microsecond' from challenges c"
        "    where c.approval_deadline > coalesce("
        "      (select swept_until from sweeps where name = 'approval_windows'), '-infinity')"
        "      and c.approval_deadline <= clock_timestamp() and c.status = 'pending_2fa_approval'))"
        " on conflict (name) do update set swept_until = greatest(sweeps.swept_until, excluded.swept_until)",
        MARGIN,
    )
