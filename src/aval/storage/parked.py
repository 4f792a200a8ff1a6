"""Work that was given up after too many tries: seen, and made due again, by a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.money import Brl
from aval.storage.database import Connection


@dataclass(frozen=True, slots=True)
class ParkedSettlement:
    """An approved and debited transfer whose fate the rail would not tell."""

    operation_key: UUID
    batch_key: UUID | None
    integrator_key: UUID
    integrator_name: str
    operation: str
    account_key: UUID
    amount: Brl
    rail_status: str | None
    sends: int
    tries: int
    last_error: str | None
    approved_at: datetime
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message no provider took; its destination is masked."""

    message_key: UUID
    integrator_key: UUID
    integrator_name: str
    topic: str
    channel: str
    masked_destination: str
    operation_key: UUID | None
    tries: int
    last_error: str | None
    parked_at: datetime


async def list_parked_settlements(
    connection: Connection, *, integrator_key: UUID | None, limit: int
) -> list[ParkedSettlement]:
    """Read parked settlements, the longest parked first."""
    rows = await connection.fetch(
        "select j.operation_id as operation_key, o.batch_id as batch_key, j.integrator_id as integrator_key,"
        " i.name as integrator_name, o.kind as operation, o.account_id as account_key, o.amount_centavos as amount,"
        " j.rail_status, j.send_count as sends, j.claim_count as tries, j.last_error, j.created_at as approved_at,"
        " j.updated_at as parked_at"
        " from settlement_jobs j join integrators i on i.integrator_id = j.integrator_id"
        " join operations o on o.integrator_id = j.integrator_id and o.operation_id = j.operation_id"
        " where j.state = 'parked' and ($1::uuid is null or j.integrator_id = $1)"
        " order by j.updated_at, j.operation_id limit $2",
        integrator_key,
        limit,
    )
    return [ParkedSettlement(**{**row, "amount": Brl(row["amount"])}) for row in rows]


async def list_parked_messages(
    connection: Connection, *, integrator_key: UUID | None, limit: int
) -> list[ParkedMessage]:
    """Read parked messages, the longest parked first."""
    rows = await connection.fetch(
        "select m.message_id as message_key, m.integrator_id as integrator_key, i.name as integrator_name, m.topic,"
        " m.channel, k.masked_destination, m.operation_id as operation_key, m.claim_count as tries, m.last_error,"
        " m.finished_at as parked_at"
        " from outbox m join integrators i on i.integrator_id = m.integrator_id"
        " join contacts k on k.integrator_id = m.integrator_id and k.contact_id = m.contact_id"
        " where m.state = 'parked' and ($1::uuid is null or m.integrator_id = $1)"
        " order by m.finished_at, m.message_id limit $2",
        integrator_key,
        limit,
    )
    return [ParkedMessage(**row) for row in rows]


@dataclass(frozen=True, slots=True)
class Revived:
    """Something that was parked, and why."""

    integrator_key: UUID
    key: UUID
    operation_key: UUID | None
    tries: int
    last_error: str | None


_LOCK_OPERATIONS = """
select 1 from settlement_jobs j
  join operations o on o.integrator_id = j.integrator_id and o.operation_id = j.operation_id
  join challenges c on c.integrator_id = j.integrator_id and c.operation_id = j.operation_id
 where j.state = 'parked' and (j.operation_id = any($1::uuid[]) or o.batch_id = any($1::uuid[]))
 order by c.integrator_id, c.operation_id for no key update of c
"""
# One claim is left counted, so that the next one is never taken for the first: the rail is asked before it is sent to.
_REVIVE_SETTLEMENTS = """
with parked as (
    select j.integrator_id, j.operation_id, j.item_no, j.claim_count from settlement_jobs j
      join operations o on o.integrator_id = j.integrator_id and o.operation_id = j.operation_id
     where j.state = 'parked' and (j.operation_id = any($1::uuid[]) or o.batch_id = any($1::uuid[]))
     order by j.integrator_id, j.operation_id, j.item_no for no key update of j
)
update settlement_jobs j
   set state = 'ready', claim_count = 1, fence = j.fence + 1, due_at = $2, updated_at = $2
  from parked p
 where j.integrator_id = p.integrator_id and j.operation_id = p.operation_id and j.item_no = p.item_no
   and j.state = 'parked'
returning j.integrator_id as integrator_key, j.operation_id as key, j.operation_id as operation_key,
          p.claim_count as tries, j.last_error
"""


async def lock_parked_settlements(connection: Connection, keys: Sequence[UUID]) -> None:
    """Lock the operations of parked settlements, named by operation, item or batch, before their jobs are."""
    await connection.fetch(_LOCK_OPERATIONS, list(keys))


async def revive_settlements(connection: Connection, keys: Sequence[UUID], at: datetime) -> list[Revived]:
    """Make parked settlements due with all their tries; the caller holds the locks of their operations."""
    return [Revived(**row) for row in await connection.fetch(_REVIVE_SETTLEMENTS, list(keys), at)]


_REVIVE_MESSAGES = """
with parked as (
    select integrator_id, message_id, claim_count from outbox
     where state = 'parked' and message_id = any($1::uuid[]) order by integrator_id, message_id for no key update
)
update outbox m
   set state = 'ready', claim_count = 0, fence = m.fence + 1, due_at = $2, finished_at = null
  from parked p
 where m.integrator_id = p.integrator_id and m.message_id = p.message_id and m.state = 'parked'
returning m.integrator_id as integrator_key, m.message_id as key, m.operation_id as operation_key,
          p.claim_count as tries, m.last_error
"""


async def revive_messages(connection: Connection, keys: Sequence[UUID], at: datetime) -> list[Revived]:
    """Make parked messages due with all their tries."""
    return [Revived(**row) for row in await connection.fetch(_REVIVE_MESSAGES, list(keys), at)]
