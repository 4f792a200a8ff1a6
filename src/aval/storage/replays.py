"""Webhooks of a stretch of time: how their delivery went, and making many of them due again in bounded batches."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from aval.storage.database import Connection

COUNTED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class ReplayFilter:
    """Which callbacks: events of [start, end), and what their delivery came to; None = every endpoint or status."""

    integrator_key: UUID
    start_at: datetime
    end_at: datetime
    endpoint_key: UUID | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackLog:
    """How one webhook to one endpoint went; `next_try_at` only while it is pending."""

    callback_key: UUID
    event_key: UUID
    event_type: str
    operation_key: UUID
    endpoint_key: UUID
    url: str  # without its query, which may hold a secret
    callback_status: str
    tries: int
    last_status: int | None
    last_error: str | None
    event_at: datetime
    last_try_at: datetime
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replay stands: after this event's callback."""

    event_at: datetime
    callback_key: UUID


# The stretch is the first thing that narrows: events by time, then their callbacks by event.
_WANTED = """
  from events e
  join callbacks c on c.integrator_id = e.integrator_id and c.event_id = e.event_id
  join webhook_endpoints w on w.integrator_id = c.integrator_id and w.endpoint_id = c.endpoint_id
 where e.integrator_id = $1 and e.created_at >= $2 and e.created_at < $3
   and ($4::uuid is null or c.endpoint_id = $4) and ($5::text is null or c.status = $5)
"""


def _values(wanted: ReplayFilter) -> tuple[object, ...]:
    return wanted.integrator_key, wanted.start_at, wanted.end_at, wanted.endpoint_key, wanted.status


async def list_callback_log(connection: Connection, wanted: ReplayFilter, *, limit: int) -> list[CallbackLog]:
    """Read how webhooks went, the latest event first."""
    rows = await connection.fetch(
        "select c.callback_id as callback_key, e.event_id as event_key, e.event_type, e.operation_id as operation_key,"  # noqa: S608
        " c.endpoint_id as endpoint_key, split_part(w.url, '?', 1) as url, c.status as callback_status,"
        " c.claim_count as tries, c.last_status, c.last_error, e.created_at as event_at, c.updated_at as last_try_at,"
        f" case when c.status = 'pending' then c.due_at end as next_try_at {_WANTED}"
        " order by e.created_at desc, c.callback_id desc limit $6",
        *_values(wanted),
        limit,
    )
    return [CallbackLog(**row) for row in rows]


async def count_replayable(connection: Connection, wanted: ReplayFilter) -> tuple[int, int]:
    """Count callbacks that would be sent again, and those whose endpoint is switched off or gone; to COUNTED_MAX."""
    row = await connection.fetchrow(
        "select count(*) filter (where is_live) as live, count(*) as every from"  # noqa: S608
        f" (select w.enabled and w.deleted_at is null as is_live {_WANTED} limit $6) c",
        *_values(wanted),
        COUNTED_MAX,
    )
    assert row is not None
    return row["live"], row["every"] - row["live"]


_RENEW = f"""
with page as (
    select c.integrator_id, c.callback_id, e.created_at as event_at {_WANTED}
       and w.enabled and w.deleted_at is null
       and ($6::timestamptz is null or (e.created_at, c.callback_id) > ($6, $7::uuid))
     order by e.created_at, c.callback_id limit $8 for no key update of c skip locked
), renewed as (
    update callbacks c
       set status = 'pending', claim_count = 0, fence = c.fence + 1, updated_at = $9::timestamptz,
           due_at = $9::timestamptz + p.place * interval '1 microsecond'
      from (select *, row_number() over (order by event_at, callback_id) as place from page) p
     where c.integrator_id = p.integrator_id and c.callback_id = p.callback_id
)
select event_at, callback_id from page order by event_at, callback_id
"""


async def renew_callbacks(
    connection: Connection, wanted: ReplayFilter, *, after: Place | None, most: int, at: datetime
) -> list[Place]:
    """Make one batch of callbacks due again, with all their tries and in the order of their events.

    One that a worker is finishing at this moment is on its way already and left out.
    """
    start_at = wanted.start_at if after is None else after.event_at
    rows = await connection.fetch(
        _RENEW,
        *_values(replace(wanted, start_at=start_at)),
        None if after is None else after.event_at,
        None if after is None else after.callback_key,
        most,
        at,
    )
    return [Place(row["event_at"], row["callback_id"]) for row in rows]
