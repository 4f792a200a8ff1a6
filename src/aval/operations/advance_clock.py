"""Let time pass for one operation of the sandbox."""

from datetime import timedelta
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal
from aval.operations.expire_window import expire_if_due
from aval.operations.record_act import Author, record_act
from aval.storage.challenges import lock_operations
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.sandbox import shift_challenge


async def advance_clock(
    db: Database, *, integrator_key: UUID, operation_key: UUID, earlier_by: timedelta, author: Author
) -> Challenge | None:
    """End token, cooldown and window that much earlier; None once the operation waits for nothing any more.

    A window that is over by then is over at once (T7): the sweeper does not look back.
    """
    key = (integrator_key, operation_key)
    async with db.transaction() as connection:
        found = (await lock_operations(connection, [key], may_wait=True)).get(key)
        if found is None:
            raise Refusal("qit.not_found")
        if not found[1].is_pending:
            return None
        await shift_challenge(connection, integrator_key, operation_key, earlier_by)
        await record_act(
            connection,
            author,
            "operation.advanced",
            integrator_key=integrator_key,
            key=operation_key,
            at=await read_clock(connection),
            details={"seconds": int(earlier_by.total_seconds())},
        )
        after = await expire_if_due(connection, integrator_key, operation_key)
    return after if after is not None and after.is_pending else None
