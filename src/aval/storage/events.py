"""Events as an integrator reads them, and their callbacks: one per target."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from aval.storage.database import Connection

CallbackStatus = Literal["pending", "sent", "failed"]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What a list of events is narrowed to; None = all."""

    start_at: datetime
    end_at: datetime
    event_type: str | None = None
    callback_status: str | None = None
    origin_key: UUID | None = None  # a batch finds its items' events too


@dataclass(frozen=True, slots=True)
class Callback:
    """One event on its way to one target."""

    key: UUID
    status: CallbackStatus


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an operation or to an item of a batch, and who was told."""

    key: UUID
    event_type: str
    origin_kind: str
    origin_key: UUID  # the operation, or the item of a batch
    callbacks: list[Callback]


async def list_events(
    connection: Connection, integrator_key: UUID, wanted: EventFilter, *, offset: int, limit: int
) -> list[Event]:
    """Read events of a stretch of time, both ends included, oldest first; with all callbacks of each."""
    rows = await connection.fetch(
        "select e.event_id, e.event_type, e.operation_kind, coalesce(e.item_id, e.operation_id) as origin_id,"
        " (select coalesce(jsonb_agg(jsonb_build_object('key', c.callback_id, 'status', c.status)"
        "   order by c.created_at, c.callback_id), '[]') from callbacks c"
        "   where c.integrator_id = $1 and c.event_id = e.event_id) as callbacks"
        " from events e where e.integrator_id = $1 and e.created_at between $2 and $3"
        " and ($4::text is null or e.event_type = $4) and ($5::uuid is null or e.operation_id = $5 or e.item_id = $5)"
        " and ($6::text is null or exists (select from callbacks c"
        "   where c.integrator_id = $1 and c.event_id = e.event_id and c.status = $6))"
        " order by e.created_at, e.operation_id, e.sequence offset $7 limit $8",
        integrator_key,
        wanted.start_at,
        wanted.end_at,
        wanted.event_type,
        wanted.origin_key,
        wanted.callback_status,
        offset,
        limit,
    )
    return [
        Event(
            key=row["event_id"],
            event_type=row["event_type"],
            origin_kind=row["operation_kind"],
            origin_key=row["origin_id"],
            callbacks=[_callback(value) for value in row["callbacks"]],
        )
        for row in rows
    ]


async def renew_callback(connection: Connection, integrator_key: UUID, callback_key: UUID, at: datetime) -> str | None:
    """Make a callback due again with all its tries; tell the status it had, None if it is unknown."""
    former: str | None = await connection.fetchval(
        "with former as (select status from callbacks where integrator_id = $1 and callback_id = $2"
        "   for no key update),"
        " renewed as (update callbacks set status = 'pending', claim_count = 0, fence = fence + 1, due_at = $3,"
        "   updated_at = $3 where integrator_id = $1 and callback_id = $2 and exists (select from former))"
        " select status from former",
        integrator_key,
        callback_key,
        at,
    )
    return former


def _callback(value: dict[str, Any]) -> Callback:
    return Callback(key=UUID(value["key"]), status=value["status"])
