"""The sandbox: its inbox of token messages with all that their text is made of, and its clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from aval.domain.redemption_message import RedemptionMessage
from aval.domain.token_message import TokenMessage
from aval.storage.database import Connection, Row
from aval.storage.token_messages import TOKEN_MESSAGE_COLUMNS, token_messages_of

_LIST = f"""
select {TOKEN_MESSAGE_COLUMNS}, m.message_id, m.contact_id as message_contact, m.state,
       m.created_at as message_created_at
  from outbox m
  join integrators i on i.integrator_id = m.integrator_id
  join operations o on o.integrator_id = m.integrator_id and o.operation_id = m.operation_id
  join challenges c on c.integrator_id = m.integrator_id and c.operation_id = m.operation_id
  left join accounts a on a.integrator_id = m.integrator_id and a.account_id = o.account_id
  join approvers p on p.integrator_id = m.integrator_id and p.approver_id = o.approver_id
  left join templates t on t.integrator_id = m.integrator_id and t.template_id = m.template_id
 where m.integrator_id = $1 and m.topic = 'token' and ($2::uuid is null or m.operation_id = $2)
   and ($3::uuid[] is null or m.contact_id = any($3))
 order by m.created_at desc, m.message_id desc offset $4 limit $5
"""  # noqa: S608 – constants only


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """One token message, queued or sent."""

    key: UUID
    contact_key: UUID
    state: str
    created_at: datetime
    token_message: TokenMessage | RedemptionMessage


async def list_messages(
    connection: Connection,
    integrator_key: UUID,
    *,
    operation_key: UUID | None,
    contact_keys: Sequence[UUID] | None,
    offset: int,
    limit: int,
) -> list[InboxMessage]:
    """Read token messages, newest first; None in a filter is all."""
    contacts = None if contact_keys is None else list(contact_keys)
    rows = await connection.fetch(_LIST, integrator_key, operation_key, contacts, offset, limit)
    told = await token_messages_of(connection, rows)
    return [_message(row, told[row["message_id"]]) for row in rows]


async def find_sandbox_campaign_of(connection: Connection, operation_key: UUID) -> UUID | None:
    """Tell the tenant key of the sandbox campaign an operation belongs to, which only the back office asks."""
    tenant: UUID | None = await connection.fetchval(
        "select o.integrator_id from operations o join integrators i on i.integrator_id = o.integrator_id"
        " where o.operation_id = $1 and i.tenant_type = 'campaign' and i.mode = 'sandbox'",
        operation_key,
    )
    return tenant


async def shift_challenge(
    connection: Connection, integrator_key: UUID, operation_key: UUID, earlier_by: timedelta
) -> None:
    """Move every time of a challenge into the past, the nonce of its device session too; the caller holds its lock."""
    await connection.execute(
        "update device_sessions set nonce_expires_at = nonce_expires_at - $3::interval"
        " where integrator_id = $1 and operation_id = $2 and nonce is not null",
        integrator_key,
        operation_key,
        earlier_by,
    )
    await connection.execute(
        "update challenges set issued_at = issued_at - $3::interval, expires_at = expires_at - $3::interval,"
        " can_resend_at = can_resend_at - $3::interval, approval_deadline = approval_deadline - $3::interval"
        " where integrator_id = $1 and operation_id = $2",
        integrator_key,
        operation_key,
        earlier_by,
    )


def _message(row: Row, told: TokenMessage | RedemptionMessage) -> InboxMessage:
    return InboxMessage(
        key=row["message_id"],
        contact_key=row["message_contact"],
        state=row["state"],
        created_at=row["message_created_at"],
        token_message=told,
    )
