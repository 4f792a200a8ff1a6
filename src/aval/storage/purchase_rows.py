"""Rows of `purchases`, `orders` and `order_items` as the domain's values."""

import msgspec

from aval.domain.purchase import Order, Purchase, PurchaseStatus, StatusLine
from aval.storage.database import Row

# Selected wherever a purchase is read, with one of the two below: p purchases, q participants, v approvers.
# Of what is recorded only what is shown is read. Orders come as one JSON text in the order of the members of `Order`,
# which is an array there.
PURCHASE_COLUMNS = """
p.integrator_id as tenant_key, p.purchase_id, p.participant_id, p.kind as purchase_kind, p.status as purchase_status,
p.rejection_reason as purchase_reason, p.policy_version, p.device_id, p.application_id, p.catalog_id, p.channel_type,
p.vendor_order_id, p.products_points, p.shipping_points, p.debited_points, p.card_points, p.refunded_points,
p.authorization_code, p.description, p.risk_decision, p.impersonator_user, p.recorded ->> 'private' as private,
p.request_path, p.idempotency_key as purchase_idempotency_key, p.request_fingerprint as purchase_fingerprint,
p.origin_correlation_id,
p.authorized_until, p.confirmed_at, p.status_history::text as status_history, p.event_sequence as purchase_sequence,
p.created_at as purchase_created_at, p.updated_at as purchase_updated_at,
(select json_agg(json_build_array(d.order_id, d.vendor_id, d.status, d.products_points, d.shipping_points,
        d.points_paid,
        (select json_agg(json_build_array(t.item_id, t.name, t.quantity, t.unit_points, t.facts, t.refunded_quantity,
                t.refunded_points) order by t.item_no)
           from order_items t where t.order_id = d.order_id and t.integrator_id = d.integrator_id),
        d.refunded_points, d.refunded_shipping_points) order by d.order_no)
   from orders d where d.purchase_id = p.purchase_id and d.integrator_id = p.integrator_id)::text as orders
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


def purchase_of(row: Row) -> Purchase:
    """The purchase in a row with PURCHASE_COLUMNS and either PEOPLE_COLUMNS or NO_PEOPLE."""
    return Purchase(
        tenant_key=row["tenant_key"],
        key=row["purchase_id"],
        participant_key=row["participant_id"],
        kind=row["purchase_kind"],
        status=PurchaseStatus(row["purchase_status"]),
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
        orders=_ORDERS.decode(row["orders"]),
        participant_name=row["participant_name"],
        profile_sealed=row["profile_sealed"],
    )
