"""Storing purchases, set-wise: one statement writes all that was accepted."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import starmap
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.points import deltas
from aval.domain.purchase import FIRST_ENTRIES, Order, Purchase, StatusLine
from aval.storage.database import Connection
from aval.storage.rows import recordset
from aval.storage.webhook_events import TELLING


class PurchaseDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase to be stored, with what is written of it elsewhere.

    Its audit record and the first line of its ledger have its own key. `revision` and `entry_count` are of the
    participant and account that it was judged by; `last_key` is of its message or, without a second factor, of a second
    line. Under a second factor also what its operation and first message consist of.
    """

    purchase: Purchase
    revision: int
    entry_count: int
    actor: str
    audit_details: Mapping[str, Any]
    event_key: UUID
    event_body: str
    last_key: UUID
    told: Mapping[str, Any]  # what the event tells of it
    challenge: Challenge | None = None
    details: bytes = b""  # canonical, as they are digested
    nonce: bytes = b""


class _PurchaseRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of `purchases`, and beside it what its audit record, operation, challenge and message consist of.

    What is null is left out.
    """

    integrator_id: UUID
    purchase_id: UUID
    participant_id: UUID
    status: str
    at: datetime
    origin_correlation_id: str
    debited_points: int
    application_id: UUID
    request_fingerprint: bytes
    place: int  # of its texts, from 1
    authorization_code: str
    description: str
    event_id: UUID
    last_id: UUID  # of its message, or of the second line of its ledger
    actor: str
    audit_details: Mapping[str, Any]
    revision: int
    entry_count: int
    policy_version: int
    kind: str
    catalog_id: str
    channel_type: str
    products_points: int
    shipping_points: int
    card_points: int
    risk_decision: str
    orders: Sequence[Sequence[Any]]
    recorded: Mapping[str, Any]
    request_path: str
    status_history: Sequence[StatusLine]
    vendor_order_id: str | None = None
    impersonator_user: str | None = None
    idempotency_key: str | None = None
    authorized_until: datetime | None = None
    confirmed_at: datetime | None = None
    device_id: UUID | None = None  # from here on only under a second factor
    details_digest: bytes | None = None
    nonce: bytes | None = None
    masked_destination: str | None = None
    kid: str | None = None
    alphabets: str | None = None
    expires_at: datetime | None = None
    can_resend_at: datetime | None = None
    resends_left: int | None = None
    resend_cooldown_seconds: int | None = None
    approval_deadline: datetime | None = None


def _first_lines() -> str:
    """The ledger lines that a purchase begins with, by its status: nth, type, and what all up to it do to a point."""
    rows = []
    for status, types in FIRST_ENTRIES.items():
        for nth, entry_type in enumerate(types, 1):
            available, reserved, _, debited = map(sum, zip(*(deltas(each, 1) for each in types[:nth]), strict=True))
            is_last = "true" if nth == len(types) else "false"
            rows.append(f"('{status}', {nth}, '{entry_type}', {available}, {reserved}, {debited}, {is_last})")
    return ", ".join(rows)


# Rows come as one JSON text, beside it their two longest texts, which then nobody reads as JSON (docs/adr/0042, 0045).
# What somebody else changed since it was read, or holds now, is left out. What belongs to a purchase is written if the
# purchase was: `is true` keeps that a hashed look-up, which a join is not on connections that never hash-join.
_INSERT = f"""
with input as (
    select * from json_to_recordset($1::json)
           as r (integrator_id uuid, purchase_id uuid, participant_id uuid, status text, at timestamptz,
                 origin_correlation_id text, debited_points bigint, application_id uuid, request_fingerprint text,
                 place integer, authorization_code text, description text, event_id uuid, last_id uuid, actor text,
                 audit_details jsonb, revision integer, entry_count integer, policy_version integer, kind text,
                 catalog_id text, channel_type text, products_points bigint, shipping_points bigint,
                 card_points bigint, risk_decision text, orders json, recorded json, request_path text,
                 status_history json, vendor_order_id text, impersonator_user text, idempotency_key text,
                 authorized_until timestamptz, confirmed_at timestamptz, device_id uuid, details_digest text,
                 nonce text, masked_destination text, kid text, alphabets text, expires_at timestamptz,
                 can_resend_at timestamptz, resends_left smallint, resend_cooldown_seconds smallint,
                 approval_deadline timestamptz)
), asked as materialized (
    select integrator_id, participant_id, purchase_id, policy_version, revision, entry_count from input
), held as (
    select a.purchase_id
      from asked a
      join campaigns c on c.integrator_id = a.integrator_id and c.policy_version = a.policy_version
           and c.status = 'active'
      join participants q on q.integrator_id = a.integrator_id and q.participant_id = a.participant_id
           and q.revision = a.revision
      join points_accounts w on w.integrator_id = a.integrator_id and w.participant_id = a.participant_id
           and w.entry_count = a.entry_count
     order by q.integrator_id, q.participant_id
       for no key update of q, w skip locked
), made as (
    insert into purchases (integrator_id, purchase_id, participant_id, kind, status, policy_version, device_id,
                           application_id, catalog_id, channel_type, vendor_order_id, products_points, shipping_points,
                           debited_points, card_points, authorization_code, description, risk_decision,
                           impersonator_user, orders, recorded, request_path, idempotency_key, request_fingerprint,
                           origin_correlation_id, authorized_until, confirmed_at, status_history, event_sequence,
                           created_at, updated_at)
    select integrator_id, purchase_id, participant_id, kind, status, policy_version, device_id, application_id,
           catalog_id, channel_type, vendor_order_id, products_points, shipping_points, debited_points, card_points,
           authorization_code, description, risk_decision, impersonator_user, orders, recorded, request_path,
           idempotency_key, decode(request_fingerprint, 'base64'), origin_correlation_id, authorized_until,
           confirmed_at, status_history, 1, at, at
      from input where (purchase_id in (select purchase_id from held)) is true
    on conflict do nothing
    returning purchase_id
), stored as (
    select * from input where (purchase_id in (select purchase_id from made)) is true
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    select integrator_id, purchase_id, at, actor, 'purchase.' || status, purchase_id, audit_details,
           origin_correlation_id
      from stored
), operated as (
    insert into operations (integrator_id, operation_id, kind, approver_id, credential_id, request_fingerprint,
                            fee_centavos, facts, details_digest, nonce, correlation_id, created_at)
    select integrator_id, purchase_id, 'purchase', participant_id, application_id,
           decode(request_fingerprint, 'base64'), 0, ($3::text[])[place]::jsonb, decode(details_digest, 'base64'),
           decode(nonce, 'base64'), origin_correlation_id, at
      from stored where details_digest is not null
), challenged as (
    insert into challenges (integrator_id, operation_id, status, method, contact_id, masked_destination, kid, alphabets,
                            issued_at, expires_at, can_resend_at, resends_left, resend_cooldown_seconds,
                            approval_deadline, updated_at)
    select integrator_id, purchase_id, 'pending_2fa_approval', 'sms', device_id, masked_destination, kid, alphabets, at,
           expires_at, can_resend_at, resends_left, resend_cooldown_seconds, approval_deadline, at
      from stored where details_digest is not null
), promised as (
    insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id, channel,
                        correlation_id, due_at, created_at)
    select integrator_id, last_id, 'token', purchase_id, 1, participant_id, device_id, 'sms', origin_correlation_id,
           at, at
      from stored where details_digest is not null
), unposted as (
    update participants q set revision = q.revision + 1
      from stored r
     where q.integrator_id = r.integrator_id and q.participant_id = r.participant_id and r.debited_points = 0
), lines (status, nth, entry_type, available, reserved, debited, is_last) as (
    values {_first_lines()}
), posted as (
    update points_accounts a
       set available = a.available + r.debited_points * l.available, updated_at = r.at,
           reserved = a.reserved + r.debited_points * l.reserved, debited = a.debited + r.debited_points * l.debited,
           entry_count = a.entry_count + l.nth
      from stored r join lines l on l.status = r.status and l.is_last
     where a.integrator_id = r.integrator_id and a.participant_id = r.participant_id and r.debited_points > 0
    returning r.integrator_id, r.participant_id, r.purchase_id, r.status, r.last_id, r.debited_points,
              r.authorization_code, r.description, r.origin_correlation_id, r.at,
              a.available - r.debited_points * l.available as available_before,
              a.reserved - r.debited_points * l.reserved as reserved_before, a.entry_count - l.nth as lines_before
), entered as (
    insert into points_entries (integrator_id, entry_id, participant_id, entry_no, entry_type, points, available_after,
                                reserved_after, purchase_id, authorization_code, description, correlation_id,
                                created_at)
    select m.integrator_id, case l.nth when 1 then m.purchase_id else m.last_id end, m.participant_id,
           m.lines_before + l.nth, l.entry_type, m.debited_points, m.available_before + m.debited_points * l.available,
           m.reserved_before + m.debited_points * l.reserved, m.purchase_id, m.authorization_code, m.description,
           m.origin_correlation_id, m.at
      from posted m join lines l on l.status = m.status
), happened as (
    select integrator_id, event_id, purchase_id as operation_id, 'purchase' as operation_kind, 1 as sequence,
           'purchase.' || status as event_type, ($2::text[])[place] as body,
           origin_correlation_id as correlation_id, at, null::uuid as item_id
      from stored
), {TELLING}
select array_agg(r.purchase_id) as made,
       -- A reserve that was not made is a bug of ours: the statement fails, and nothing of it is kept.
       1 / (count(*) filter (where r.debited_points > 0) = (select count(*) from posted))::integer as whole
  from stored r
"""  # noqa: S608 – constants only


class PurchaseRows(NamedTuple):
    """Purchases of different participants as the statement takes them: rows as JSON, and the two texts of each."""

    rows: bytes
    event_bodies: Sequence[str]
    details: Sequence[str | None]


def rows_of(drafts: Sequence[PurchaseDraft]) -> PurchaseRows:
    """Make rows of drafts, of which there is at least one."""
    drafts = sorted(drafts, key=_order_of_keys)  # another batch with some of the same keys waits in the same order
    return PurchaseRows(
        recordset(starmap(_purchase_row, enumerate(drafts, 1))),
        [draft.event_body for draft in drafts],
        [draft.details.decode() or None for draft in drafts],
    )


async def insert_purchases(connection: Connection, purchases: PurchaseRows) -> frozenset[UUID]:
    """Store purchases with all that belongs to them, in one statement.

    Answers the keys that were stored. Nothing exists of a missing one: its campaign, participant or account is not
    as it was read, or is held by somebody, or its Idempotency-Key was stored meanwhile.
    """
    return frozenset(await connection.fetchval(_INSERT, *purchases) or ())


def _order_of_keys(draft: PurchaseDraft) -> tuple[UUID, str, str]:
    purchase = draft.purchase
    return purchase.tenant_key, purchase.request_path, purchase.idempotency_key or ""


def _purchase_row(place: int, draft: PurchaseDraft) -> _PurchaseRow:
    purchase = draft.purchase
    return _PurchaseRow(
        purchase.tenant_key,
        purchase.key,
        purchase.participant_key,
        purchase.status.value,
        purchase.created_at,
        purchase.origin_correlation_id,
        purchase.debited_points,
        purchase.application_key,
        purchase.request_fingerprint,
        place,
        purchase.authorization_code,
        purchase.description,
        draft.event_key,
        draft.last_key,
        draft.actor,
        draft.audit_details,
        draft.revision,
        draft.entry_count,
        purchase.policy_version,
        purchase.kind,
        purchase.catalog_id,
        purchase.channel_type,
        purchase.products_points,
        purchase.shipping_points,
        purchase.card_points,
        purchase.risk_decision,
        list(map(_ordered, purchase.orders)),
        purchase.recorded,
        purchase.request_path,
        purchase.status_history,
        purchase.vendor_order_id,
        purchase.impersonator_user,
        purchase.idempotency_key,
        purchase.authorized_until,
        purchase.confirmed_at,
        *_challenge_columns(draft),
    )


def _ordered(order: Order) -> tuple[Any, ...]:
    """What of an order never changes: the first members of `Order` and of its items, as they are read again."""
    items = [(item.key, item.name, item.quantity, item.unit_points, item.facts) for item in order.items]
    return order.key, order.vendor_id, order.products_points, order.shipping_points, order.points_paid, items


def _challenge_columns(draft: PurchaseDraft) -> tuple[Any, ...]:
    challenge = draft.challenge
    if challenge is None:
        return ()
    return (
        challenge.contact_key,
        sha256(draft.details).digest(),
        draft.nonce,
        challenge.masked_destination,
        challenge.kid,
        challenge.alphabets,
        challenge.expires_at,
        challenge.can_resend_at,
        challenge.resends_left,
        int(challenge.resend_cooldown.total_seconds()),
        challenge.approval_deadline,
    )
