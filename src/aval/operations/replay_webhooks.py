"""Send webhooks of a stretch of time again, a bounded batch a transaction."""

from aval.domain.calendar import wire_datetime
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.replays import Place, ReplayFilter, renew_callbacks

BATCH_MAX = 100


async def replay_webhooks(
    db: Database, *, wanted: ReplayFilter, after: Place | None, author: Author
) -> tuple[int, Place | None]:
    """Make the next batch due now under the same event ids; tells how many, and where to go on, None at the end."""
    async with db.transaction() as connection:
        now = await read_clock(connection)
        places = await renew_callbacks(connection, wanted, after=after, most=BATCH_MAX, at=now)
        if places:
            await record_act(
                connection,
                author,
                "callbacks.replayed",
                integrator_key=wanted.integrator_key,
                key=wanted.endpoint_key or wanted.integrator_key,
                at=now,
                details={
                    "before": {"status": wanted.status},
                    "from": wire_datetime(wanted.start_at),
                    "to": wire_datetime(wanted.end_at),
                    "callbacks": [place.callback_key for place in places],
                },
            )
    return len(places), places[-1] if places else None
