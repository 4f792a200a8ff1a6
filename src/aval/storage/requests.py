"""Creating transfers, set-wise: one statement reads what is known, one writes what was accepted."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from aval.domain.approval import ApprovalFacts, Limits
from aval.domain.challenge import Challenge, as_seen
from aval.domain.money import Brl
from aval.domain.request import RequestFacts, TransferRequest
from aval.domain.transfer import Kind, Transfer
from aval.storage.database import Connection, Row
from aval.storage.rows import (
    CHALLENGE_COLUMNS,
    OPERATION_COLUMNS,
    STANDING,
    challenge_of,
    columns,
    facts_of,
    transfer_of,
)

FAMILY_OF_LIMITS = {
    Kind.PIX_TRANSFER: "pix",
    Kind.PIX_TRANSFER_BATCH: "pix",
    Kind.TED: "ted",
    Kind.TED_BATCH: "ted",
    Kind.DEVICE: "device",  # which has neither limits nor a fee
}

_READ_FACTS = """
select clock_timestamp() as now,
       cr.credential_id is not null and cr.revoked_at is null and i.active as is_authentic,
       i.version = r.version as is_current, i.ted_hours,
       a.status as account_status, a.balance_centavos, a.pix_fee_centavos, a.ted_fee_centavos, a.limits,
       twin.operation_id as twin_id, twin.account_id as twin_account_id, twin.request_fingerprint as twin_fingerprint,
       twin.batch_id is not null as is_twin_item, e2e.operation_id is not null as is_end_to_end_id_used,
       ap.approver_id, ap.active as is_approver_active, aa.powers, aa.max_amount_centavos,
       co.contact_id, co.masked_destination, co.usable_at,
       coalesce(ch.closed_until > clock_timestamp(), false) and i.mode = 'live' as is_channel_closed
  from unnest($1::uuid[], $2::uuid[], $3::int[], $4::uuid[], $5::text[], $6::uuid[], $7::text[], $8::bytea[],
              $9::text[])
       with ordinality as r (integrator_id, credential_id, version, account_id, kind, request_control_key,
                             end_to_end_id, document_index, method, place)
  join integrators i on i.integrator_id = r.integrator_id
  left join credentials cr on cr.integrator_id = r.integrator_id and cr.credential_id = r.credential_id
  left join accounts a on a.integrator_id = r.integrator_id and a.account_id = r.account_id
  left join operations twin on twin.integrator_id = r.integrator_id and twin.kind = r.kind
       and twin.request_control_key = r.request_control_key
  left join operations e2e on e2e.integrator_id = r.integrator_id and e2e.end_to_end_id = r.end_to_end_id
  left join approvers ap on ap.integrator_id = r.integrator_id and ap.document_index = r.document_index
  left join account_approvers aa on aa.integrator_id = r.integrator_id and aa.account_id = r.account_id
       and aa.approver_id = ap.approver_id
  left join contacts co on co.integrator_id = r.integrator_id and co.approver_id = ap.approver_id
       and co.contact_type = r.method and co.removed_at is null
  left join channel_states ch on ch.channel = r.method
 order by r.place
"""


async def read_request_facts(
    connection: Connection, requests: Sequence[TransferRequest], *, holidays: frozenset[date]
) -> list[RequestFacts]:
    """What is known about each request, in their order; one statement, whatever their number."""
    rows = await connection.fetch(_READ_FACTS, *columns(map(_question, requests)))
    return [_facts_of(request, row, holidays) for request, row in zip(requests, rows, strict=True)]


def _question(request: TransferRequest) -> tuple[Any, ...]:
    principal = request.principal
    return (
        principal.integrator.key,
        principal.credential_key,
        principal.integrator.version,
        request.account_key,
        request.kind.value,
        request.request_control_key,
        request.end_to_end_id,
        request.approver_index,
        request.method.value,
    )


def _facts_of(request: TransferRequest, row: Row, holidays: frozenset[date]) -> RequestFacts:
    family = FAMILY_OF_LIMITS[request.kind]
    fee = row.get(f"{family}_fee_centavos")
    limits: Mapping[str, Any] = (row["limits"] or {}).get(family) or {}
    most = row["max_amount_centavos"]
    return RequestFacts(
        now=row["now"],
        is_authentic=row["is_authentic"],
        is_current=row["is_current"],
        account_status=row["account_status"],
        balance=Brl(row["balance_centavos"] or 0),
        fee=None if fee is None else Brl(fee),
        limits=limits,
        twin_key=row["twin_id"],
        twin_fingerprint=row["twin_fingerprint"] if _may_be_twin(request, row) else b"",
        is_end_to_end_id_used=row["is_end_to_end_id_used"],
        approver_key=row["approver_id"],
        approval=ApprovalFacts(
            account_status=row["account_status"] or "",
            is_approver_active=bool(row["is_approver_active"]),
            powers=frozenset(row["powers"] or ()),
            max_amount=None if most is None else Brl(most),
            limits=Limits.of(limits),
            holidays=holidays,
            has_ted_hours=row["ted_hours"],
        ),
        contact_key=row["contact_id"],
        masked_destination=row["masked_destination"],
        usable_at=row["usable_at"],
        is_channel_closed=row["is_channel_closed"],
    )


def _may_be_twin(request: TransferRequest, row: Row) -> bool:
    """Whether what has the request's key may be the same request: on its account, and no item of a batch."""
    return row["twin_account_id"] == request.account_key and not row["is_twin_item"]


_INSERT = """
with input as (
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[],
                         $8::bytea[], $9::text[], $10::bigint[], $11::bigint[], $12::jsonb[], $13::bytea[],
                         $14::bytea[], $15::text[], $16::timestamptz[], $17::text[], $18::uuid[], $19::text[],
                         $20::text[], $21::text[], $22::timestamptz[], $23::timestamptz[], $24::smallint[],
                         $25::smallint[], $26::timestamptz[], $27::uuid[], $28::uuid[])
           as r (integrator_id, operation_id, kind, account_id, approver_id, credential_id, request_control_key,
                 request_fingerprint, end_to_end_id, amount_centavos, fee_centavos, facts, details_digest, nonce,
                 correlation_id, created_at, method, contact_id, masked_destination, kid, alphabets, expires_at,
                 can_resend_at, resends_left, resend_cooldown_seconds, approval_deadline, message_id, template_id)
), made as (
    insert into operations (integrator_id, operation_id, kind, account_id, approver_id, credential_id,
                            request_control_key, request_fingerprint, end_to_end_id, amount_centavos, fee_centavos,
                            facts, details_digest, nonce, correlation_id, created_at)
    select integrator_id, operation_id, kind, account_id, approver_id, credential_id, request_control_key,
           request_fingerprint, end_to_end_id, amount_centavos, fee_centavos, facts, details_digest, nonce,
           correlation_id, created_at from input
    on conflict do nothing
    returning integrator_id, operation_id
), challenged as (
    insert into challenges (integrator_id, operation_id, status, method, contact_id, masked_destination, kid, alphabets,
                            issued_at, expires_at, can_resend_at, resends_left, resend_cooldown_seconds,
                            approval_deadline, updated_at)
    select integrator_id, operation_id, 'pending_2fa_approval', method, contact_id, masked_destination, kid, alphabets,
           created_at, expires_at, can_resend_at, resends_left, resend_cooldown_seconds, approval_deadline, created_at
      from input join made using (integrator_id, operation_id)
), promised as (
    insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id, channel,
                        correlation_id, due_at, created_at, template_id)
    select integrator_id, message_id, 'token', operation_id, 1, approver_id, contact_id, method, correlation_id,
           created_at, created_at, template_id
      from input join made using (integrator_id, operation_id) where contact_id is not null
)
select operation_id from made
"""


async def insert_transfers(
    connection: Connection, drafts: Iterable[tuple[Transfer, Challenge, UUID, UUID | None]]
) -> frozenset[UUID]:
    """Store transfers with their challenge and first message, in one statement.

    A draft is transfer, challenge, and the keys of the message and of its template (None: the default text). Answers
    the keys that were stored. A missing one met a request with its request_control_key or end_to_end_id that was stored
    meanwhile; nothing of it exists. Drafts are stored in the order of their keys: two batches that met the same keys in
    another order would wait for each other until PostgreSQL noticed.
    """
    in_order = sorted(drafts, key=lambda draft: draft[0].request_control_key.int)
    rows = await connection.fetch(_INSERT, *columns(_columns_of(*draft) for draft in in_order))
    return frozenset(row["operation_id"] for row in rows)


def _columns_of(
    transfer: Transfer, challenge: Challenge, message_key: UUID, template_key: UUID | None
) -> tuple[Any, ...]:
    return (
        transfer.integrator_key,
        transfer.key,
        transfer.kind.value,
        transfer.account_key,
        transfer.approver_key,
        transfer.credential_key,
        transfer.request_control_key,
        transfer.request_fingerprint,
        transfer.end_to_end_id,
        transfer.amount.centavos or None,  # the registration of a device has none
        transfer.fee.centavos,
        facts_of(transfer),
        transfer.details_digest,
        transfer.nonce,
        transfer.correlation_id,
        challenge.issued_at,
        challenge.method.value,
        challenge.contact_key,
        challenge.masked_destination,
        challenge.kid,
        challenge.alphabets,
        challenge.expires_at,
        challenge.can_resend_at,
        challenge.resends_left,
        int(challenge.resend_cooldown.total_seconds()),
        challenge.approval_deadline,
        message_key,
        template_key,
    )


_READ_ONE = f"""
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}, clock_timestamp() as now from operations o {STANDING}
 where o.integrator_id = $1 and o.operation_id = $2
"""


async def read_operation(
    connection: Connection, integrator_key: UUID, operation_key: UUID
) -> tuple[Transfer, Challenge] | None:
    """One operation of an integrator with its challenge as it stands by the database's clock, or None.

    An item shows its batch's until that is approved.
    """
    row = await connection.fetchrow(_READ_ONE, integrator_key, operation_key)
    return None if row is None else (transfer_of(row), as_seen(challenge_of(row), row["now"]))
