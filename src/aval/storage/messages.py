"""Promised messages to approvers: claimed with a lease and a rising fence, kept as the record of what was sent."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from aval.domain.money import Locale
from aval.domain.redemption_message import RedemptionMessage
from aval.domain.template import ChannelName
from aval.domain.token_message import TokenMessage
from aval.storage.database import Connection, Row
from aval.storage.rows import columns
from aval.storage.token_messages import TOKEN_MESSAGE_COLUMNS, token_messages_of


@dataclass(frozen=True, slots=True)
class PromisedMessage:
    """A leased message with all it needs to be rendered; a notice carries no token message."""

    integrator_key: UUID
    message_key: UUID
    topic: str  # token, notice
    channel: ChannelName
    payload: Mapping[str, Any]
    correlation_id: str
    claim_count: int
    fence: int
    now: datetime
    contact_key: UUID
    destination_sealed: bytes = field(repr=False)
    approver_name: str
    integrator_name: str
    locale: Locale
    is_sandbox: bool
    token_message: TokenMessage | RedemptionMessage | None = None
    is_contact_removed: bool = False


_CLAIM = f"""
with due as (
    select integrator_id, message_id from outbox
     where state = 'ready' and due_at <= clock_timestamp()
     order by due_at limit $1 for update skip locked
), claimed as (
    update outbox m set due_at = clock_timestamp() + $2, fence = m.fence + 1,
           claim_count = least(m.claim_count + 1, 32767)
      from due where m.integrator_id = due.integrator_id and m.message_id = due.message_id
    returning m.*
)
select m.integrator_id as of_integrator, m.message_id, m.topic, m.payload, m.claim_count, m.fence,
       m.correlation_id as message_correlation_id, m.contact_id as message_contact_id, clock_timestamp() as now,
       k.destination_sealed, k.removed_at is not null as is_contact_removed, i.mode, {TOKEN_MESSAGE_COLUMNS}
  from claimed m
  join integrators i on i.integrator_id = m.integrator_id
  join contacts k on k.integrator_id = m.integrator_id and k.contact_id = m.contact_id
  join approvers p on p.integrator_id = m.integrator_id and p.approver_id = m.approver_id
  left join operations o on o.integrator_id = m.integrator_id and o.operation_id = m.operation_id
  left join challenges c on c.integrator_id = m.integrator_id and c.operation_id = m.operation_id
  left join accounts a on a.integrator_id = o.integrator_id and a.account_id = o.account_id
  left join templates t on t.integrator_id = m.integrator_id and t.template_id = m.template_id
"""


async def claim_messages(connection: Connection, *, most: int, lease: timedelta) -> list[PromisedMessage]:
    """Lease messages that are due, oldest first."""
    rows = await connection.fetch(_CLAIM, most, lease)
    told = await token_messages_of(connection, [row for row in rows if row["operation_id"] is not None])
    return [_message_of(row, told.get(row["message_id"])) for row in rows]


def _message_of(row: Row, token_message: TokenMessage | RedemptionMessage | None) -> PromisedMessage:
    return PromisedMessage(
        integrator_key=row["of_integrator"],
        message_key=row["message_id"],
        topic=row["topic"],
        channel=row["channel"],
        payload=row["payload"],
        correlation_id=row["message_correlation_id"],
        claim_count=row["claim_count"],
        fence=row["fence"],
        now=row["now"],
        contact_key=row["message_contact_id"],
        destination_sealed=row["destination_sealed"],
        approver_name=row["approver_name"],
        integrator_name=row["integrator_name"],
        locale=row["locale"],
        is_sandbox=row["mode"] == "sandbox",
        token_message=token_message,
        is_contact_removed=row["is_contact_removed"],
    )


class MessageResult(NamedTuple):
    """How one try ended: a final state, or `ready` to be tried again at `due_at`."""

    integrator_key: UUID
    message_key: UUID
    fence: int
    state: str  # delivered, failed, void, parked, ready
    due_at: datetime
    last_error: str | None


_FINISH = """
update outbox m
   set state = r.state, due_at = r.due_at, last_error = r.last_error,
       finished_at = case when r.state <> 'ready' then clock_timestamp() end
  from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::text[], $5::timestamptz[], $6::text[])
       as r (integrator_id, message_id, fence, state, due_at, last_error)
 where m.integrator_id = r.integrator_id and m.message_id = r.message_id and m.fence = r.fence and m.state = 'ready'
returning m.message_id
"""


async def finish_messages(connection: Connection, results: Iterable[MessageResult]) -> frozenset[UUID]:
    """Record tries of messages whose lease is still ours; answers which were."""
    rows = await connection.fetch(_FINISH, *columns(results))
    return frozenset(row["message_id"] for row in rows)


async def count_channel(connection: Connection, channel: str, *, failures: int, most: int, pause: timedelta) -> None:
    """Count consecutive failures of a channel (0 = it worked); at `most` it closes for `pause`, for all processes."""
    await connection.execute(
        "update channel_states set consecutive_failures = case when $2 = 0 then 0 else consecutive_failures + $2 end,"
        " closed_until = case when $2 > 0 and consecutive_failures + $2 >= $3 then clock_timestamp() + $4::interval"
        " when $2 = 0 then null else closed_until end"
        " where channel = $1 and (consecutive_failures > 0 or $2 > 0)",
        channel,
        failures,
        most,
        pause,
    )
