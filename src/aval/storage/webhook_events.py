"""Webhooks, promised in the transaction of the change: one event, and a callback for every endpoint that wants it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.storage.database import Connection
from aval.storage.rows import columns

# After `happened`, whoever made it.
TELLING = """told as (
    insert into events (integrator_id, event_id, operation_id, operation_kind, sequence, event_type, body,
                        correlation_id, created_at, item_id)
    select integrator_id, event_id, operation_id, operation_kind, sequence, event_type, body, correlation_id, at,
           item_id
      from happened
), called as (
    insert into callbacks (integrator_id, callback_id, event_id, endpoint_id, is_item, due_at, created_at, updated_at)
    select r.integrator_id, gen_random_uuid(), r.event_id, w.endpoint_id, r.item_id is not null, r.at, r.at, r.at
      from happened r join webhook_endpoints w on w.integrator_id = r.integrator_id
     where w.enabled and w.deleted_at is null and r.event_type = any(w.event_types)
)"""
_APPEND = f"""
with happened as (
    select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[],
                         $8::text[], $9::timestamptz[], $10::uuid[])
           as r (integrator_id, event_id, operation_id, operation_kind, sequence, event_type, body, correlation_id, at,
                 item_id)
), {TELLING}
select
"""  # noqa: S608 – constants only


@dataclass(frozen=True, slots=True)
class EventRow:
    """One webhook to be sent; `sequence` was counted in the operation's challenge under its lock.

    Of an item: `operation_key` is its batch, `operation_kind` its own kind.
    """

    integrator_key: UUID
    event_id: UUID
    operation_key: UUID
    operation_kind: str
    sequence: int
    event_type: str
    body: str
    correlation_id: str
    at: datetime
    item_key: UUID | None = None


async def append_events(connection: Connection, events: Iterable[EventRow]) -> None:
    """Promise webhooks in the running transaction, in one statement."""
    rows: list[tuple[Any, ...]] = [
        (
            event.integrator_key,
            event.event_id,
            event.operation_key,
            event.operation_kind,
            event.sequence,
            event.event_type,
            event.body,
            event.correlation_id,
            event.at,
            event.item_key,
        )
        for event in events
    ]
    if rows:
        await connection.execute(_APPEND, *columns(rows))
