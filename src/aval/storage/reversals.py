"""Reversals of orders: what they write, and how they are read."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.purchase import Order, Purchase
from aval.domain.reversal import ItemRefund, Refund, Reversal, ReversalKind
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

# What was given back is guarded by the lock on the purchase, which the caller holds. The numbers are all of it by now.
_WRITE = """
with reversed as (
    insert into reversals (integrator_id, reversal_id, order_id, kind, products_points, shipping_points, items,
        motive_id, motive_description, requested_by, created_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
), purchase as (
    update purchases set status = $12, refunded_points = $13, status_history = $14, event_sequence = $15,
        updated_at = $11
     where integrator_id = $1 and purchase_id = $16
), ordered as (
    insert into order_refunds (integrator_id, order_id, purchase_id, products_points, shipping_points, points_paid,
        refunded_points, refunded_shipping_points, updated_at)
    values ($1, $3, $16, $17, $18, $19, $20, $21, $11)
    on conflict (integrator_id, order_id) do update
       set refunded_points = excluded.refunded_points, refunded_shipping_points = excluded.refunded_shipping_points,
           updated_at = excluded.updated_at
)
insert into item_refunds (integrator_id, item_id, order_id, quantity, unit_points, refunded_quantity, refunded_points)
select $1, r.item_id, $3, r.quantity, r.unit_points, r.refunded_quantity, r.refunded_points
  from unnest($22::uuid[], $23::smallint[], $24::bigint[], $25::smallint[], $26::bigint[])
       as r (item_id, quantity, unit_points, refunded_quantity, refunded_points)
on conflict (integrator_id, item_id) do update
   set refunded_quantity = excluded.refunded_quantity, refunded_points = excluded.refunded_points
"""


async def write_reversal(connection: Connection, reversal: Reversal, after: Purchase) -> None:
    """Write a reversal and the purchase it leaves; the caller holds the purchase's lock and has posted the points."""
    order: Order = next(order for order in after.orders if order.key == reversal.order_key)
    refund = reversal.refund
    await connection.execute(
        _WRITE,
        after.tenant_key,
        reversal.key,
        reversal.order_key,
        refund.kind.value,
        refund.products,
        refund.shipping,
        msgspec.json.encode(refund.items),
        reversal.motive_id,
        reversal.motive_description,
        reversal.requested_by,
        reversal.created_at,
        after.status.value,
        after.refunded_points,
        msgspec.json.encode(after.status_history),
        after.event_sequence,
        after.key,
        order.products_points,
        order.shipping_points,
        order.points_paid,
        order.refunded_points,
        order.refunded_shipping_points,
        *_columns_of_items(order, {item.item_key for item in refund.items}),
    )


def _columns_of_items(order: Order, touched: Collection[UUID]) -> list[list[Any]]:
    items = [
        (item.key, item.quantity, item.unit_points, item.refunded_quantity, item.refunded_points)
        for item in order.items
        if item.key in touched
    ]
    return columns(items) or [[], [], [], [], []]


async def list_reversals(
    connection: Connection, integrator_key: UUID, order_key: UUID, *, offset: int, limit: int
) -> tuple[list[Reversal], int]:
    """Read the reversals of an order, oldest first; and how many there are in all."""
    rows = await connection.fetch(
        "select * from reversals where integrator_id = $1 and order_id = $2 order by created_at, reversal_id"
        " offset $3 limit $4",
        integrator_key,
        order_key,
        offset,
        limit,
    )
    total: int = await connection.fetchval(
        "select count(*) from reversals where integrator_id = $1 and order_id = $2", integrator_key, order_key
    )
    return [_reversal(row) for row in rows], total


def _reversal(row: Row) -> Reversal:
    items: Any = row["items"]
    refund = Refund(
        kind=ReversalKind(row["kind"]),
        products=row["products_points"],
        shipping=row["shipping_points"],
        items=msgspec.convert(items, tuple[ItemRefund, ...]),
    )
    return Reversal(
        key=row["reversal_id"],
        order_key=row["order_id"],
        refund=refund,
        motive_id=row["motive_id"],
        motive_description=row["motive_description"],
        requested_by=row["requested_by"],
        created_at=row["created_at"],
    )
