"""Resending: what is known of the channel, and the next generation with its promised message."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.transfer import Method, Transfer
from aval.storage.database import Connection
from aval.storage.requests import FAMILY_OF_LIMITS


@dataclass(frozen=True, slots=True)
class ResendFacts:
    """The approver's contact of the type, the channel's state and the account's limits."""

    contact_key: UUID | None
    masked_destination: str | None
    usable_at: datetime | None
    is_channel_closed: bool
    limits: Mapping[str, Any]


async def read_resend_facts(connection: Connection, transfer: Transfer, method: Method) -> ResendFacts:
    """What a resend over this channel depends on."""
    row = await connection.fetchrow(
        "select co.contact_id, co.masked_destination, co.usable_at, a.limits,"
        " coalesce(ch.closed_until > clock_timestamp(), false) and i.mode = 'live' as is_channel_closed"
        " from accounts a join integrators i on i.integrator_id = a.integrator_id"
        " left join contacts co on co.integrator_id = a.integrator_id and co.approver_id = $3 and co.contact_type = $4"
        " and co.removed_at is null left join channel_states ch on ch.channel = $4"
        " where a.integrator_id = $1 and a.account_id = $2",
        transfer.integrator_key,
        transfer.account_key,
        transfer.approver_key,
        method.value,
    )
    assert row is not None
    return ResendFacts(
        contact_key=row["contact_id"],
        masked_destination=row["masked_destination"],
        usable_at=row["usable_at"],
        is_channel_closed=row["is_channel_closed"],
        limits=(row["limits"] or {}).get(FAMILY_OF_LIMITS[transfer.kind]) or {},
    )


_WRITE = """
with moved as (
    update challenges
       set generation = $3, alphabets = $4, method = $5, contact_id = $6, masked_destination = $7, issued_at = $8,
           expires_at = $9, can_resend_at = $10, resends_left = $11, updated_at = $8
     where integrator_id = $1 and operation_id = $2 and status = 'pending_2fa_approval' and generation = $3 - 1
    returning 1
), promised as (
    insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id, channel,
                        correlation_id, due_at, created_at, template_id)
    values ($1, $12, 'token', $2, $3, $13, $6, $5, $14, $8, $8, $18)
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    values ($1, $15, $8, $16, 'token.resent', $2, $17, $14)
)
select count(*) from moved
"""


async def write_resend(
    connection: Connection,
    transfer: Transfer,
    after: Challenge,
    *,
    message_key: UUID,
    template_key: UUID | None,
    audit_key: UUID,
    actor: str,
    correlation_id: str,
) -> None:
    """Make the next generation live, promise its message and audit it, in one statement under the row's lock."""
    moved = await connection.fetchval(
        _WRITE,
        transfer.integrator_key,
        transfer.key,
        after.generation,
        after.alphabets,
        after.method.value,
        after.contact_key,
        after.masked_destination,
        after.issued_at,
        after.expires_at,
        after.can_resend_at,
        after.resends_left,
        message_key,
        transfer.approver_key,
        correlation_id,
        audit_key,
        actor,
        {"generation": after.generation, "method": after.method.value},
        template_key,
    )
    assert moved == 1
