"""The one clock that judges and dates: the database's."""

from datetime import datetime

from aval.storage.database import Connection


async def read_clock(connection: Connection) -> datetime:
    """Read the database's clock now, not at the start of the transaction; ask it after the locks are won."""
    now: datetime = await connection.fetchval("select clock_timestamp()")
    return now
