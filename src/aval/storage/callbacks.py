"""Webhooks on their way: claimed with a lease and a rising fence, one endpoint never in front of another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from aval.storage.database import Connection
from aval.storage.rows import columns


@dataclass(frozen=True, slots=True)
class PromisedCallback:
    """A leased webhook with its endpoint."""

    integrator_key: UUID
    callback_key: UUID
    event_id: UUID
    endpoint_key: UUID
    url: str
    body: str = field(repr=False)
    correlation_id: str
    headers_sealed: bytes | None = field(repr=False)
    secret_sealed: bytes = field(repr=False)
    former_secret_sealed: bytes | None = field(repr=False)
    claim_count: int
    fence: int
    is_wanted: bool  # the endpoint is still there and switched on
    now: datetime


# An endpoint has a few callbacks in progress at a time, so that a slow one delays no other. Those that tell of items
# of batches and the others take turns. Endpoints are found one by one along the index: a long queue is not read.
_CLAIM = """
with recursive asked as (
    select clock_timestamp() as now
), endpoints as (
    (select endpoint_id from callbacks where status = 'pending' order by endpoint_id limit 1)
    union all
    select (select c.endpoint_id from callbacks c where c.status = 'pending' and c.endpoint_id > e.endpoint_id
             order by c.endpoint_id limit 1)
      from endpoints e where e.endpoint_id is not null
), free_places as (
    select e.endpoint_id, $3 - coalesce(b.in_progress, 0) as places
      from endpoints e
      left join unnest($4::uuid[], $5::integer[]) as b (endpoint_id, in_progress) on b.endpoint_id = e.endpoint_id
     where e.endpoint_id is not null and $3 > coalesce(b.in_progress, 0)
), due as (
    select d.integrator_id, d.callback_id
      from free_places p
     cross join lateral (
        select w.*, row_number() over (order by w.turn, w.due_at) as place
          from (values (false), (true)) as k (is_item)
         cross join lateral (
            select c.integrator_id, c.callback_id, c.due_at, row_number() over (order by c.due_at) as turn
              from callbacks c
             where c.status = 'pending' and c.endpoint_id = p.endpoint_id and c.is_item = k.is_item
               and c.due_at <= (select now from asked)
             order by c.due_at limit p.places) w
         order by place limit p.places) d
     order by d.place, d.due_at limit $1
), free as (
    select c.integrator_id, c.callback_id from callbacks c join due using (integrator_id, callback_id)
     where c.status = 'pending' and c.due_at <= clock_timestamp() for update of c skip locked
), claimed as (
    update callbacks c
       set due_at = clock_timestamp() + $2, fence = c.fence + 1, claim_count = least(c.claim_count + 1, 32767)
      from free where c.integrator_id = free.integrator_id and c.callback_id = free.callback_id
    returning c.*
)
select c.integrator_id, c.callback_id, c.event_id, c.endpoint_id, w.url, e.body, e.correlation_id, w.headers_sealed,
       w.secret_sealed,
       case when w.former_secret_until > clock_timestamp() then w.former_secret_sealed end as former_secret_sealed,
       c.claim_count, c.fence, w.enabled and w.deleted_at is null as is_wanted, clock_timestamp() as now
  from claimed c
  join events e on e.integrator_id = c.integrator_id and e.event_id = c.event_id
  join webhook_endpoints w on w.integrator_id = c.integrator_id and w.endpoint_id = c.endpoint_id
"""


async def claim_callbacks(
    connection: Connection,
    *,
    most: int,
    lease: timedelta,
    per_endpoint: int,
    in_progress: Mapping[UUID, int] = MappingProxyType({}),
) -> list[PromisedCallback]:
    """Lease webhooks that are due, at most `per_endpoint` of one endpoint, those in progress included."""
    busy = dict(in_progress)
    rows = await connection.fetch(_CLAIM, most, lease, per_endpoint, list(busy), list(busy.values()))
    return [PromisedCallback(*row.values()) for row in rows]


class CallbackResult(NamedTuple):
    """How one try ended: `pending` to be tried again at `due_at`, or `sent` or `failed`."""

    integrator_key: UUID
    callback_key: UUID
    fence: int
    status: str
    due_at: datetime
    last_status: int | None
    last_error: str | None


_FINISH = """
update callbacks c
   set status = r.status, due_at = r.due_at, last_status = r.last_status, last_error = r.last_error,
       updated_at = clock_timestamp()
  from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::timestamptz[], $6::smallint[], $7::text[])
       as r (integrator_id, callback_id, fence, status, due_at, last_status, last_error)
 where c.integrator_id = r.integrator_id and c.callback_id = r.callback_id and c.fence = r.fence
   and c.status = 'pending'
returning c.callback_id
"""


async def finish_callbacks(connection: Connection, results: Iterable[CallbackResult]) -> frozenset[UUID]:
    """Record tries whose lease is still ours; answers which were."""
    rows = await connection.fetch(_FINISH, *columns(results))
    return frozenset(row["callback_id"] for row in rows)


async def disable_endpoint(connection: Connection, integrator_key: UUID, endpoint_key: UUID) -> None:
    """Switch an endpoint off whose receiver said 410 Gone."""
    await connection.execute(
        "update webhook_endpoints set enabled = false, updated_at = clock_timestamp()"
        " where integrator_id = $1 and endpoint_id = $2",
        integrator_key,
        endpoint_key,
    )
