"""How purchases, orders and approvals of redemptions are told on the wire.

Source: redemptions.md §4.1, §5, §9.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.challenge import Challenge
from aval.domain.purchase import Order, OrderItem, Purchase
from aval.domain.token import TOKEN_SYMBOLS

QUEUED = "queued"
# What became of the message of the live generation, by the state of its row in the outbox.
DELIVERIES: Mapping[str | None, str] = {
    None: QUEUED,
    "ready": QUEUED,
    "delivered": "sent",
    "failed": "failed",
    "parked": "failed",
    "void": "failed",
}


class Shown(msgspec.Struct, frozen=True):
    """What is shown of a purchase beside itself: whose it is and where it goes, and how its approval stands."""

    customer: Mapping[str, Any] | None = None
    shipping: Mapping[str, Any] | None = None
    challenge: Challenge | None = None
    delivery: str = QUEUED
    told: Mapping[str, Any] | None = None  # what its event told, if that was made just now

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


def approval_of(challenge: Challenge, device_key: UUID, delivery: str = QUEUED) -> dict[str, Any]:
    """The `approval` object of a pending purchase or device; `device_key` is where the token travels."""
    return {
        "method": challenge.method.value,
        "device_id": device_key,
        "masked_destination": challenge.masked_destination,
        "token_length": TOKEN_SYMBOLS,
        "generation": challenge.generation,
        "attempts_remaining": challenge.attempts_remaining,
        "expires_at": wire_datetime(challenge.expires_at),
        "can_resend_at": wire_datetime(challenge.can_resend_at) if challenge.resends_left else None,
        "approval_deadline": wire_datetime(challenge.approval_deadline),
        "delivery": delivery,
    }


def purchase_view(purchase: Purchase, shown: Shown) -> dict[str, Any]:
    """A purchase as every answer tells it; `approval` while it waits for one."""
    view = dict(shown.told or purchase_event_data(purchase))
    view["customer"] = shown.customer
    view["shipping"] = shown.shipping
    if purchase.is_pending and shown.challenge is not None:
        assert purchase.device_key is not None
        view["approval"] = approval_of(shown.challenge, purchase.device_key, shown.delivery)
    return view


def purchase_event_data(purchase: Purchase) -> dict[str, Any]:
    """`data` of a purchase's events: no approval, no customer data (redemptions.md §9)."""
    view: dict[str, Any] = {"id": purchase.key, "kind": purchase.kind, "status": purchase.status.value}
    if purchase.rejection_reason is not None:
        view["rejection_reason"] = purchase.rejection_reason
    view |= {
        "participant_id": purchase.participant_key,
        "catalog_id": purchase.catalog_id,
        "channel_type": purchase.channel_type,
    }
    if purchase.vendor_order_id is not None:
        view["vendor_order_id"] = purchase.vendor_order_id
    created_at = wire_datetime(purchase.created_at)
    view |= {
        "date": created_at,
        "value_points": purchase.products_points,
        "shipping_value_points": purchase.shipping_points,
        "total_points": purchase.total_points,
        "debited_points": purchase.debited_points,
        "authorization_code": purchase.authorization_code,
        "policy_version": purchase.policy_version,
        "payments": payments_view(purchase),
        "orders": [order_view(purchase, order) for order in purchase.orders],
        **({} if purchase.impersonator_user is None else {"impersonator_user": purchase.impersonator_user}),
        "origin_correlation_id": purchase.origin_correlation_id,
        "status_history": purchase.status_history,
        "created_at": created_at,
        "updated_at": created_at if purchase.updated_at is purchase.created_at else wire_datetime(purchase.updated_at),
    }
    _add_time(view, "authorized_until", purchase.authorized_until)
    _add_time(view, "confirmed_at", purchase.confirmed_at)
    return view


def payments_view(purchase: Purchase) -> list[dict[str, Any]]:
    """How it is paid: with points, by a card that the partner charges, or both."""
    payments = [{"type": "Points", "value_points": purchase.debited_points}]
    card = {"type": "ExternalCreditCard", "value_points": purchase.card_points}
    if purchase.card_points and purchase.debited_points:
        return [*payments, card]
    return [card] if purchase.card_points else payments


def order_view(purchase: Purchase, order: Order) -> dict[str, Any]:
    """An order as answers and its own page tell it."""
    view: dict[str, Any] = {"id": order.key, "purchase_id": purchase.key, "vendor_id": order.vendor_id}
    if purchase.vendor_order_id is not None:
        view["vendor_order_id"] = purchase.vendor_order_id
    return view | {
        "status": order.status.value,
        "products_value_points": order.products_points,
        "shipping_value_points": order.shipping_points,
        "value_points": order.value_points,
        "points_paid": order.points_paid,
        "refunded_points": order.refunded_points,
        "refunded_shipping_points": order.refunded_shipping_points,
        "items": [_item_view(item) for item in order.items],
    }


def _item_view(item: OrderItem) -> dict[str, Any]:
    return {
        "id": item.key,
        "product_id": item.facts["product_id"],
        "sku_id": item.facts["sku_id"],
        "vendor_sku_id": item.facts["vendor_sku_id"],
        "name": item.name,
        "category": item.facts.get("category"),
        "quantity": item.quantity,
        "unit_points": item.unit_points,
        "refunded_quantity": item.refunded_quantity,
        "refunded_points": item.refunded_points,
    }


def snapshot_view(purchase: Purchase) -> dict[str, Any]:
    """`purchase_data` of RDM000082: what the purchase is now, in brief."""
    view: dict[str, Any] = {"id": purchase.key, "status": purchase.status.value}
    if purchase.rejection_reason is not None:
        view["rejection_reason"] = purchase.rejection_reason
    return view | {
        "total_points": purchase.total_points,
        "debited_points": purchase.debited_points,
        "created_at": wire_datetime(purchase.created_at),
    }


def _add_time(view: dict[str, Any], name: str, at: datetime | None) -> None:
    if at is not None:
        view[name] = wire_datetime(at)
