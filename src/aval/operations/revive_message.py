"""Try parked messages again: a token that is dead by then is not sent, a notice is."""

from collections.abc import Sequence
from uuid import UUID

from aval.operations.record_act import Author
from aval.operations.revive_settlement import record_revival
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.parked import revive_messages


async def revive_message(db: Database, *, keys: Sequence[UUID], author: Author) -> int:
    """Make these parked messages due now; tells how many there were."""
    async with db.transaction() as connection:
        now = await read_clock(connection)
        revived = await revive_messages(connection, keys, now)
        await record_revival(connection, "message.revived", revived, author=author, at=now)
    return len(revived)
