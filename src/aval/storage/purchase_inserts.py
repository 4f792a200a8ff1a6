"""Storing purchases, set-wise: one statement writes all that was accepted."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge
from aval.domain.purchase import Purchase, StatusLine
from aval.storage.database import Connection
from aval.storage.rows import recordset


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


class _PurchaseRow(msgspec.Struct, frozen=True):
    """A row of `purchases`, and beside it what its audit record, operation, challenge and message consist of."""

    integrator_id: UUID
    purchase_id: UUID
    participant_id: UUID
    kind: str
    status: str
    policy_version: int
    device_id: UUID | None
    application_id: UUID
    catalog_id: str
    channel_type: str
    vendor_order_id: str | None
    products_points: int
    shipping_points: int
    debited_points: int
    card_points: int
    authorization_code: str
    description: str
    risk_decision: str
    impersonator_user: str | None
    recorded: Mapping[str, Any]
    request_path: str
    idempotency_key: str | None
    request_fingerprint: bytes
    origin_correlation_id: str
    authorized_until: datetime | None
    confirmed_at: datetime | None
    status_history: Sequence[StatusLine]
    at: datetime
    audit_id: UUID
    actor: str
    audit_details: Mapping[str, Any]
    facts: Mapping[str, Any] | None = None  # from here on only under a second factor
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
    message_id: UUID | None = None


class _OrderRow(msgspec.Struct, frozen=True):
    """A row of `orders`."""

    integrator_id: UUID
    order_id: UUID
    purchase_id: UUID
    order_no: int
    vendor_id: str
    status: str
    products_points: int
    shipping_points: int
    points_paid: int
    at: datetime


class _ItemRow(msgspec.Struct, frozen=True):
    """A row of `order_items`, and the purchase it belongs to."""

    integrator_id: UUID
    item_id: UUID
    purchase_id: UUID
    order_id: UUID
    item_no: int
    name: str
    quantity: int
    unit_points: int
    facts: Mapping[str, Any]


# Rows come as JSON texts: of arrays the driver looks at each element, which cost more than PostgreSQL saves by them
# (docs/adr/0042). What belongs to a purchase is written if the purchase was: `is true` keeps that a hashed look-up,
# which a join is not on connections that never hash-join.
_INSERT = """
with input as (
    select * from json_to_recordset($1::json)
           as r (integrator_id uuid, purchase_id uuid, participant_id uuid, kind text, status text,
                 policy_version integer, device_id uuid, application_id uuid, catalog_id text, channel_type text,
                 vendor_order_id text, products_points bigint, shipping_points bigint, debited_points bigint,
                 card_points bigint, authorization_code text, description text, risk_decision text,
                 impersonator_user text, recorded jsonb, request_path text, idempotency_key text,
                 request_fingerprint text, origin_correlation_id text, authorized_until timestamptz,
                 confirmed_at timestamptz, status_history jsonb, at timestamptz, audit_id uuid, actor text,
                 audit_details jsonb, facts jsonb, details_digest text, nonce text, masked_destination text, kid text,
                 alphabets text, expires_at timestamptz, can_resend_at timestamptz, resends_left smallint,
                 resend_cooldown_seconds smallint, approval_deadline timestamptz, message_id uuid)
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
           decode(request_fingerprint, 'base64'), origin_correlation_id, authorized_until, confirmed_at, status_history,
           1, at, at
      from input
    on conflict do nothing
    returning purchase_id
), ordered as (
    insert into orders (integrator_id, order_id, purchase_id, order_no, vendor_id, status, products_points,
                        shipping_points, points_paid, created_at, updated_at)
    select o.*, o.at
      from json_to_recordset($2::json)
           as o (integrator_id uuid, order_id uuid, purchase_id uuid, order_no smallint, vendor_id text, status text,
                 products_points bigint, shipping_points bigint, points_paid bigint, at timestamptz)
     where (o.purchase_id in (select purchase_id from made)) is true
), itemised as (
    insert into order_items (integrator_id, item_id, order_id, item_no, name, quantity, unit_points, facts)
    select t.integrator_id, t.item_id, t.order_id, t.item_no, t.name, t.quantity, t.unit_points, t.facts
      from json_to_recordset($3::json)
           as t (integrator_id uuid, item_id uuid, purchase_id uuid, order_id uuid, item_no smallint, name text,
                 quantity smallint, unit_points bigint, facts jsonb)
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
    select integrator_id, purchase_id, 'purchase', participant_id, application_id, purchase_id,
           decode(request_fingerprint, 'base64'), 0, facts, decode(details_digest, 'base64'), decode(nonce, 'base64'),
           origin_correlation_id, at
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
        recordset(map(_purchase_row, drafts)),
        recordset(row for purchase in purchases for row in _order_rows(purchase)),
        recordset(row for purchase in purchases for row in _item_rows(purchase)),
    )
    return frozenset(row["purchase_id"] for row in rows)


def _order_of_keys(draft: PurchaseDraft) -> tuple[UUID, str, str]:
    purchase = draft.purchase
    return purchase.tenant_key, purchase.request_path, purchase.idempotency_key or ""


def _purchase_row(draft: PurchaseDraft) -> _PurchaseRow:
    purchase = draft.purchase
    return _PurchaseRow(
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
        purchase.status_history,
        purchase.created_at,
        draft.audit_key,
        draft.actor,
        draft.audit_details,
        *_challenge_columns(draft),
    )


def _order_rows(purchase: Purchase) -> Iterator[_OrderRow]:
    for number, order in enumerate(purchase.orders, 1):
        yield _OrderRow(
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


def _item_rows(purchase: Purchase) -> Iterator[_ItemRow]:
    for order in purchase.orders:
        for number, item in enumerate(order.items, 1):
            yield _ItemRow(
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


def _challenge_columns(draft: PurchaseDraft) -> tuple[Any, ...]:
    challenge = draft.challenge
    if challenge is None:
        return ()
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
