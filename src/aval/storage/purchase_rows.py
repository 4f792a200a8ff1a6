"""Rows of `purchases`, with what was given back of their orders, as the domain's values."""

import msgspec

from aval.domain.purchase import Order, Purchase, PurchaseStatus, StatusLine, standing_orders
from aval.domain.reversal import OrderRefunds, reversed_orders
from aval.storage.database import Row

# Selected wherever a purchase is read, with one of the two below: p purchases, q participants, v approvers.
# Of what is recorded only what is shown is read. What was ordered is an array in the order of the members of `Order`.
PURCHASE_COLUMNS = """
p.integrator_id as tenant_key, p.purchase_id, p.participant_id, p.kind as purchase_kind, p.status as purchase_status,
p.rejection_reason as purchase_reason, p.policy_version, p.device_id, p.application_id, p.catalog_id, p.channel_type,
p.vendor_order_id, p.products_points, p.shipping_points, p.debited_points, p.card_points, p.refunded_points,
p.authorization_code, p.description, p.risk_decision, p.impersonator_user, p.recorded ->> 'private' as private,
p.request_path, p.idempotency_key as purchase_idempotency_key, p.request_fingerprint as purchase_fingerprint,
p.origin_correlation_id,
p.authorized_until, p.confirmed_at, p.status_history::text as status_history, p.event_sequence as purchase_sequence,
p.created_at as purchase_created_at, p.updated_at as purchase_updated_at,
p.orders::text as orders,
case when p.refunded_points > 0 then (
     select json_agg(json_build_object('order_key', d.order_id, 'points', d.refunded_points,
                     'shipping_points', d.refunded_shipping_points, 'items', coalesce((
            select json_agg(json_build_object('item_key', t.item_id, 'quantity', t.refunded_quantity,
                            'points', t.refunded_points))
              from item_refunds t where t.order_id = d.order_id and t.integrator_id = d.integrator_id), '[]')))
       from order_refunds d where d.purchase_id = p.purchase_id and d.integrator_id = p.integrator_id)
     end::text as refunds
"""
# What is shown of a purchase beside itself; the worker, which only moves purchases, may not read it.
PEOPLE_COLUMNS = ", v.name as participant_name, q.profile_sealed"
NO_PEOPLE = ", '' as participant_name, null::bytea as profile_sealed"
PURCHASE_PEOPLE = """
 cross join lateral (
       select profile_sealed from participants
        where integrator_id = p.integrator_id and participant_id = p.participant_id offset 0) q
 cross join lateral (
       select name from approvers where integrator_id = p.integrator_id and approver_id = p.participant_id offset 0) v
"""

_HISTORY = msgspec.json.Decoder(tuple[StatusLine, ...])
_ORDERS = msgspec.json.Decoder(tuple[Order, ...])
_REFUNDS = msgspec.json.Decoder(tuple[OrderRefunds, ...])


def purchase_of(row: Row) -> Purchase:
    """The purchase in a row with PURCHASE_COLUMNS and either PEOPLE_COLUMNS or NO_PEOPLE."""
    status, orders = PurchaseStatus(row["purchase_status"]), _ORDERS.decode(row["orders"])
    refunds = row["refunds"]  # None until something was given back
    return Purchase(
        tenant_key=row["tenant_key"],
        key=row["purchase_id"],
        participant_key=row["participant_id"],
        kind=row["purchase_kind"],
        status=status,
        rejection_reason=row["purchase_reason"],
        policy_version=row["policy_version"],
        device_key=row["device_id"],
        application_key=row["application_id"],
        catalog_id=row["catalog_id"],
        channel_type=row["channel_type"],
        vendor_order_id=row["vendor_order_id"],
        products_points=row["products_points"],
        shipping_points=row["shipping_points"],
        debited_points=row["debited_points"],
        card_points=row["card_points"],
        refunded_points=row["refunded_points"],
        authorization_code=row["authorization_code"],
        description=row["description"],
        risk_decision=row["risk_decision"],
        impersonator_user=row["impersonator_user"],
        recorded={} if row["private"] is None else {"private": row["private"]},
        request_path=row["request_path"],
        idempotency_key=row["purchase_idempotency_key"],
        request_fingerprint=row["purchase_fingerprint"],
        origin_correlation_id=row["origin_correlation_id"],
        authorized_until=row["authorized_until"],
        confirmed_at=row["confirmed_at"],
        status_history=_HISTORY.decode(row["status_history"]),
        event_sequence=row["purchase_sequence"],
        created_at=row["purchase_created_at"],
        updated_at=row["purchase_updated_at"],
        orders=standing_orders(orders, status)
        if refunds is None
        else reversed_orders(orders, _REFUNDS.decode(refunds)),
        participant_name=row["participant_name"],
        profile_sealed=row["profile_sealed"],
    )
