"""Try parked settlements again: the worker asks the rail what became of each before anything is sent."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from aval.operations.record_act import Author
from aval.storage.audit import AuditRow, append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.parked import Revived, lock_parked_settlements, revive_settlements


async def revive_settlement(db: Database, *, keys: Sequence[UUID], author: Author) -> int:
    """Make the parked settlements of these operations, items or batches due now; tells how many there were."""
    async with db.transaction() as connection:
        await lock_parked_settlements(connection, keys)
        now = await read_clock(connection)
        revived = await revive_settlements(connection, keys, now)
        await record_revival(connection, "settlement.revived", revived, author=author, at=now)
    return len(revived)


async def record_revival(
    connection: Connection, action: str, revived: Sequence[Revived], *, author: Author, at: datetime
) -> None:
    """Write an audit row for each thing that was revived."""
    await append_audit(
        connection,
        [
            AuditRow(
                integrator_key=each.integrator_key,
                actor=author.name,
                action=action,
                operation_key=each.operation_key,
                correlation_id=author.correlation_id,
                at=at,
                details={
                    "key": each.key,
                    "before": {"state": "parked", "tries": each.tries, "last_error": each.last_error},
                    "after": {"state": "ready"},
                },
            )
            for each in revived
        ],
    )
