"""Creating purchases, set-wise: guards, facts under them, and one statement that writes what was accepted."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.onboarding import OnboardingFacts
from aval.domain.purchase import Purchase
from aval.storage.database import Connection
from aval.storage.onboarding import ONBOARDING_COLUMNS, ONBOARDING_TABLES, onboarding_facts
from aval.storage.rows import columns

ParticipantId = tuple[UUID, UUID]  # campaign's tenant key, participant


class Guarded(msgspec.Struct, frozen=True):
    """A participant whose row is locked, and their points account with it."""

    status: str
    catalog_id: str
    name: str
    document_index: bytes
    profile_sealed: bytes | None
    available: int


# The row in `participants` is the guard (docs/adr/0034): what it guards is nobody else's, so that account and approver
# may be locked with it. Who locks several goes in the order of the keys.
_GUARD = """
select q.integrator_id, q.participant_id, q.status, q.catalog_id, q.profile_sealed, v.name, v.document_index,
       w.available
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)
  join participants q on q.integrator_id = r.integrator_id and q.participant_id = r.participant_id
  join approvers v on v.integrator_id = r.integrator_id and v.approver_id = r.participant_id
  join points_accounts w on w.integrator_id = r.integrator_id and w.participant_id = r.participant_id
 order by q.integrator_id, q.participant_id
"""


async def guard_redeemers(
    connection: Connection, participants: Sequence[ParticipantId], *, has_messages: bool, may_wait: bool
) -> dict[ParticipantId, Guarded]:
    """Lock participants and accounts in key order; with `has_messages` also the rows their messages are counted under.

    Without `may_wait` one that is locked elsewhere is left out, like one that does not exist. Raises LockNotWon.
    """
    locks = " for no key update of q, v, w" if has_messages else " for no key update of q, w"
    query = _GUARD + locks + ("" if may_wait else " skip locked")
    rows = await connection.fetch(query, *columns(sorted(set(participants))))
    return {
        (row["integrator_id"], row["participant_id"]): Guarded(
            row["status"],
            row["catalog_id"],
            row["name"],
            row["document_index"],
            row["profile_sealed"],
            row["available"],
        )
        for row in rows
    }


_LOCK_NUMBERS = """
select n.integrator_id
  from phone_numbers n
 where (n.integrator_id, n.number_index) in (
       select d.integrator_id, d.number_index
         from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)
         join phone_devices d on d.participant_id = r.participant_id and d.integrator_id = r.integrator_id
              and d.status in ('active', 'blocked'))
 order by n.integrator_id, n.number_index
   for no key update of n
"""


async def lock_numbers_in_use(connection: Connection, participants: Collection[ParticipantId]) -> None:
    """Lock the numbers of participants who are guarded; several participants may share one. The call waits."""
    if participants:
        await connection.execute(_LOCK_NUMBERS, *columns(sorted(set(participants))))


class PurchaseQuestion(msgspec.Struct, frozen=True):
    """What a create call asks of the past: its key, and what the participant did today if a limit counts it."""

    tenant_key: UUID
    participant_key: UUID
    path: str
    idempotency_key: str | None
    is_counted: bool = False


class Past(msgspec.Struct, frozen=True):
    """What PostgreSQL knows of it; `now` was read after the locks."""

    now: datetime
    twin_key: UUID | None
    twin_fingerprint: bytes | None
    orders_today: int
    points_today: int
    pending: int
    number_index: bytes | None
    policy_version: int
    campaign_status: str
    onboarding: OnboardingFacts


# A day has 25 hours at most. What is counted as pending has an open window, swept or not.
_READ_PAST = f"""
select clock_timestamp() as now, twin.purchase_id, twin.request_fingerprint, day.orders, day.points, day.pending,
       u.number_index, c.policy_version, c.status as campaign_status,
       {ONBOARDING_COLUMNS}
  from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::boolean[])
       with ordinality as k (integrator_id, participant_id, path, idempotency_key, is_counted, place)
  join campaigns c on c.integrator_id = k.integrator_id
  left join purchases twin on twin.idempotency_key = k.idempotency_key and twin.request_path = k.path
       and twin.integrator_id = k.integrator_id
{ONBOARDING_TABLES}
 cross join lateral (
       select date_trunc('day', clock_timestamp() at time zone c.timezone) at time zone c.timezone as began) today
 cross join lateral (
       select count(*) filter (where p.created_at >= today.began) as orders,
              coalesce(sum(p.debited_points) filter (where p.created_at >= today.began), 0)::bigint as points,
              count(*) filter (where p.status = 'pending_2fa_approval' and exists (
                      select from challenges h
                       where h.integrator_id = p.integrator_id and h.operation_id = p.purchase_id
                         and h.approval_deadline > clock_timestamp())) as pending
         from purchases p
        where k.is_counted and p.participant_id = k.participant_id and (p.integrator_id = k.integrator_id) is true
          and p.created_at > clock_timestamp() - interval '25 hours'
          and p.status not in ('rejected', 'canceled', 'expired')) day
 order by k.place
"""


async def read_past(
    connection: Connection, questions: Sequence[PurchaseQuestion], statuses: Sequence[str]
) -> list[Past]:
    """The clock and the past of each call, in their order, and its participant's onboarding; run after the locks.

    `statuses` are the participants' own, as they were read with their locks.
    """
    rows = await connection.fetch(_READ_PAST, *columns(map(msgspec.structs.astuple, questions)))
    return [
        Past(
            row["now"],
            row["purchase_id"],
            row["request_fingerprint"],
            row["orders"],
            row["points"],
            row["pending"],
            row["number_index"],
            row["policy_version"],
            row["campaign_status"],
            onboarding_facts(row, status),
        )
        for row, status in zip(rows, statuses, strict=True)
    ]


async def is_key_used(connection: Connection, question: PurchaseQuestion) -> bool:
    """Whether the key of a call was used before, so that nobody outside needs to be asked again."""
    found: bool = await connection.fetchval(
        "select exists (select from purchases where idempotency_key = $3 and request_path = $2 and integrator_id = $1)",
        question.tenant_key,
        question.path,
        question.idempotency_key,
    )
    return found


class PurchaseDraft(msgspec.Struct, frozen=True):
    """A purchase to be stored; under a second factor with what its operation and first message consist of."""

    purchase: Purchase
    audit_key: UUID
    actor: str
    audit_details: Mapping[str, Any]
    challenge: Challenge | None = None
    details: Mapping[str, Any] | None = None
    details_digest: bytes = b""
    nonce: bytes = b""
    message_key: UUID | None = None


# What belongs to a purchase is written if the purchase was: `is true` keeps that a hashed look-up, which a join is not
# on connections that never hash-join.
_INSERT = """
with input as (
    select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::integer[], $7::uuid[],
                         $8::uuid[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[],
                         $15::bigint[], $16::text[], $17::text[], $18::text[], $19::text[], $20::jsonb[], $21::text[],
                         $22::text[], $23::bytea[], $24::text[], $25::timestamptz[], $26::timestamptz[], $27::jsonb[],
                         $28::timestamptz[], $29::uuid[], $30::text[], $31::jsonb[], $32::jsonb[], $33::bytea[],
                         $34::bytea[], $35::text[], $36::text[], $37::text[], $38::timestamptz[], $39::timestamptz[],
                         $40::smallint[], $41::smallint[], $42::timestamptz[], $43::uuid[])
           as r (integrator_id, purchase_id, participant_id, kind, status, policy_version, device_id, application_id,
                 catalog_id, channel_type, vendor_order_id, products_points, shipping_points, debited_points,
                 card_points, authorization_code, description, risk_decision, impersonator_user, recorded,
                 request_path, idempotency_key, request_fingerprint, origin_correlation_id, authorized_until,
                 confirmed_at, status_history, at, audit_id, actor, audit_details, facts, details_digest, nonce,
                 masked_destination, kid, alphabets, expires_at, can_resend_at, resends_left, resend_cooldown_seconds,
                 approval_deadline, message_id)
), made as (
    insert into purchases (integrator_id, purchase_id, participant_id, kind, status, policy_version, device_id,
                           application_id, catalog_id, channel_type, vendor_order_id, products_points, shipping_points,
                           debited_points, card_points, authorization_code, description, risk_decision,
                           impersonator_user, recorded, request_path, idempotency_key, request_fingerprint,
                           origin_correlation_id, authorized_until, confirmed_at, status_history, event_sequence,
                           created_at, updated_at)
    select integrator_id, purchase_id, participant_id, kind, status, policy_version, device_id, application_id,
           catalog_id, channel_type, vendor_order_id, products_points, shipping_points, debited_points, card_points,
           authorization_code, description, risk_decision, impersonator_user, recorded, request_path, idempotency_key,
           request_fingerprint, origin_correlation_id, authorized_until, confirmed_at, status_history, 1, at, at
      from input
    on conflict do nothing
    returning purchase_id
), ordered as (
    insert into orders (integrator_id, order_id, purchase_id, order_no, vendor_id, status, products_points,
                        shipping_points, points_paid, created_at, updated_at)
    select o.*, o.at
      from unnest($44::uuid[], $45::uuid[], $46::uuid[], $47::smallint[], $48::text[], $49::text[], $50::bigint[],
                  $51::bigint[], $52::bigint[], $53::timestamptz[])
           as o (integrator_id, order_id, purchase_id, order_no, vendor_id, status, products_points, shipping_points,
                 points_paid, at)
     where (o.purchase_id in (select purchase_id from made)) is true
), itemised as (
    insert into order_items (integrator_id, item_id, order_id, item_no, name, quantity, unit_points, facts)
    select t.integrator_id, t.item_id, t.order_id, t.item_no, t.name, t.quantity, t.unit_points, t.facts
      from unnest($54::uuid[], $55::uuid[], $56::uuid[], $57::uuid[], $58::smallint[], $59::text[], $60::smallint[],
                  $61::bigint[], $62::jsonb[])
           as t (integrator_id, item_id, purchase_id, order_id, item_no, name, quantity, unit_points, facts)
     where (t.purchase_id in (select purchase_id from made)) is true
), stored as (
    select * from input where (purchase_id in (select purchase_id from made)) is true
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    select integrator_id, audit_id, at, actor, 'purchase.' || status, purchase_id, audit_details, origin_correlation_id
      from stored
), operated as (
    insert into operations (integrator_id, operation_id, kind, approver_id, credential_id, request_control_key,
                            request_fingerprint, fee_centavos, facts, details_digest, nonce, correlation_id, created_at)
    select integrator_id, purchase_id, 'purchase', participant_id, application_id, purchase_id, request_fingerprint, 0,
           facts, details_digest, nonce, origin_correlation_id, at
      from stored where message_id is not null
), challenged as (
    insert into challenges (integrator_id, operation_id, status, method, contact_id, masked_destination, kid, alphabets,
                            issued_at, expires_at, can_resend_at, resends_left, resend_cooldown_seconds,
                            approval_deadline, updated_at)
    select integrator_id, purchase_id, 'pending_2fa_approval', 'sms', device_id, masked_destination, kid, alphabets, at,
           expires_at, can_resend_at, resends_left, resend_cooldown_seconds, approval_deadline, at
      from stored where message_id is not null
), promised as (
    insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id, channel,
                        correlation_id, due_at, created_at)
    select integrator_id, message_id, 'token', purchase_id, 1, participant_id, device_id, 'sms', origin_correlation_id,
           at, at
      from stored where message_id is not null
)
select purchase_id from made
"""


async def insert_purchases(connection: Connection, drafts: Sequence[PurchaseDraft]) -> frozenset[UUID]:
    """Store purchases with orders, items and audit, and what a second factor needs, in one statement.

    Answers the keys that were stored. A missing one met a purchase with its Idempotency-Key that was stored meanwhile;
    nothing of it exists. Ledger and events follow in the same transaction.
    """
    drafts = sorted(drafts, key=_order_of_keys)  # another batch with some of the same keys waits in the same order
    purchases = [draft.purchase for draft in drafts]
    rows = await connection.fetch(
        _INSERT,
        *columns([*_purchase_columns(draft), *_challenge_columns(draft)] for draft in drafts),
        *columns(row for purchase in purchases for row in _order_rows(purchase)),
        *columns(row for purchase in purchases for row in _item_rows(purchase)),
    )
    return frozenset(row["purchase_id"] for row in rows)


def _order_of_keys(draft: PurchaseDraft) -> tuple[UUID, str, str]:
    purchase = draft.purchase
    return purchase.tenant_key, purchase.request_path, purchase.idempotency_key or ""


def _purchase_columns(draft: PurchaseDraft) -> tuple[Any, ...]:
    purchase = draft.purchase
    return (
        purchase.tenant_key,
        purchase.key,
        purchase.participant_key,
        purchase.kind,
        purchase.status.value,
        purchase.policy_version,
        purchase.device_key,
        purchase.application_key,
        purchase.catalog_id,
        purchase.channel_type,
        purchase.vendor_order_id,
        purchase.products_points,
        purchase.shipping_points,
        purchase.debited_points,
        purchase.card_points,
        purchase.authorization_code,
        purchase.description,
        purchase.risk_decision,
        purchase.impersonator_user,
        purchase.recorded,
        purchase.request_path,
        purchase.idempotency_key,
        purchase.request_fingerprint,
        purchase.origin_correlation_id,
        purchase.authorized_until,
        purchase.confirmed_at,
        msgspec.json.encode(purchase.status_history),  # in an array of jsonb a list would be a dimension
        purchase.created_at,
        draft.audit_key,
        draft.actor,
        draft.audit_details,
    )


def _order_rows(purchase: Purchase) -> Iterator[tuple[Any, ...]]:
    for number, order in enumerate(purchase.orders, 1):
        yield (
            purchase.tenant_key,
            order.key,
            purchase.key,
            number,
            order.vendor_id,
            order.status.value,
            order.products_points,
            order.shipping_points,
            order.points_paid,
            purchase.created_at,
        )


def _item_rows(purchase: Purchase) -> Iterator[tuple[Any, ...]]:
    for order in purchase.orders:
        for number, item in enumerate(order.items, 1):
            yield (
                purchase.tenant_key,
                item.key,
                purchase.key,
                order.key,
                number,
                item.name,
                item.quantity,
                item.unit_points,
                item.facts,
            )


_NO_CHALLENGE = (None,) * 12


def _challenge_columns(draft: PurchaseDraft) -> tuple[Any, ...]:
    challenge = draft.challenge
    if challenge is None:
        return _NO_CHALLENGE
    return (
        draft.details,
        draft.details_digest,
        draft.nonce,
        challenge.masked_destination,
        challenge.kid,
        challenge.alphabets,
        challenge.expires_at,
        challenge.can_resend_at,
        challenge.resends_left,
        int(challenge.resend_cooldown.total_seconds()),
        challenge.approval_deadline,
        draft.message_key,
    )
