"""Send a webhook again, whatever became of it before."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.events import renew_callback


async def resend_callback(db: Database, *, integrator_key: UUID, callback_key: UUID, author: Author) -> str:
    """Make a callback due now with all its tries, under the same event id; returns its status."""
    async with db.transaction() as connection:
        now = await read_clock(connection)
        former = await renew_callback(connection, integrator_key, callback_key, now)
        if former is None:
            raise Refusal("qit.not_found")
        await record_act(
            connection,
            author,
            "callback.resent",
            integrator_key=integrator_key,
            key=callback_key,
            at=now,
            details={"before": {"status": former}},
        )
    return "pending"
