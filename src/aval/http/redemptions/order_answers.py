"""What calls on orders answer, as types for the OpenAPI document; the answers themselves come from the domain."""

from typing import Any, Literal

import msgspec


class OrderItemAnswer(msgspec.Struct, kw_only=True):
    """One line of an order."""

    id: str
    product_id: str
    sku_id: str
    vendor_sku_id: str
    name: str
    category: dict[str, Any] | None
    quantity: int
    unit_points: int
    refunded_quantity: int
    refunded_points: int


class OrderAnswer(msgspec.Struct, kw_only=True):
    """What one vendor delivers of a purchase; `refunded_points` counts products and shipping."""

    id: str
    purchase_id: str
    vendor_id: str
    vendor_order_id: str | msgspec.UnsetType = msgspec.UNSET
    status: Literal["pending", "confirmed", "canceled", "partially_reversed", "reversed"]
    products_value_points: int
    shipping_value_points: int
    value_points: int
    points_paid: int
    refunded_points: int
    refunded_shipping_points: int
    items: list[OrderItemAnswer]


class ItemRefundAnswer(msgspec.Struct):
    """What a reversal gave back of one item."""

    order_item_id: str
    quantity: int
    points: int


class ReversalAnswer(msgspec.Struct, kw_only=True):
    """A reversal; `points` are those of products."""

    id: str
    order_id: str
    kind: Literal["total", "quantity", "value", "shipping"]
    points: int
    shipping_points: int
    total: int
    items: list[ItemRefundAnswer]
    motive_id: int
    motive_description: str | None
    requested_by: str
    created_at: str


class MotiveAnswer(msgspec.Struct):
    """A reason for a reversal."""

    id: int
    name: str


class ReversalListing(msgspec.Struct):
    """Reversals of an order, oldest first."""

    items: list[ReversalAnswer]
    offset: int
    limit: int
    total: int


class MotiveListing(msgspec.Struct):
    """The motives there are."""

    items: list[MotiveAnswer]
    offset: int
    limit: int
    total: int
