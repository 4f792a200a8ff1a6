"""A purchase: points redeemed at one or more vendors, the states it moves through, and what its token is bound to.

Source: redemptions.md §4, §5.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.calendar import wire_datetime
from aval.domain.campaign import PurchaseKind
from aval.domain.points import EntryType
from aval.domain.transfer import canonical

DETAILS_VERSION = 1
DESCRIPTION_CHARACTERS_MAX = 140


class PurchaseStatus(StrEnum):
    """The wire's states of a purchase."""

    PENDING_2FA_APPROVAL = "pending_2fa_approval"
    AUTHORIZED = "authorized"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELED = "canceled"
    EXPIRED = "expired"
    PARTIALLY_REVERSED = "partially_reversed"
    REVERSED = "reversed"


class OrderStatus(StrEnum):
    """The wire's states of an order."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELED = "canceled"
    PARTIALLY_REVERSED = "partially_reversed"
    REVERSED = "reversed"


_PENDING, _AUTHORIZED = PurchaseStatus.PENDING_2FA_APPROVAL, PurchaseStatus.AUTHORIZED
_CONFIRMED, _REJECTED = PurchaseStatus.CONFIRMED, PurchaseStatus.REJECTED
_CANCELED, _EXPIRED = PurchaseStatus.CANCELED, PurchaseStatus.EXPIRED
_PARTIAL, _REVERSED = PurchaseStatus.PARTIALLY_REVERSED, PurchaseStatus.REVERSED

# From each state, where it may go and what the ledger then says; a reversal writes its own line.
TRANSITIONS: Mapping[PurchaseStatus, Mapping[PurchaseStatus, EntryType | None]] = {
    _PENDING: {
        _CONFIRMED: EntryType.DEBIT,
        _AUTHORIZED: None,
        _REJECTED: EntryType.RELEASE,
        _CANCELED: EntryType.RELEASE,
    },
    _AUTHORIZED: {_CONFIRMED: EntryType.DEBIT, _CANCELED: EntryType.RELEASE, _EXPIRED: EntryType.RELEASE},
    _CONFIRMED: {_PARTIAL: None, _REVERSED: None},
    _PARTIAL: {_REVERSED: None},
    _REJECTED: {},
    _CANCELED: {},
    _EXPIRED: {},
    _REVERSED: {},
}
# What a new purchase writes, by the state it begins in.
FIRST_ENTRIES: Mapping[PurchaseStatus, tuple[EntryType, ...]] = {
    _PENDING: (EntryType.RESERVE,),
    _AUTHORIZED: (EntryType.RESERVE,),
    _CONFIRMED: (EntryType.RESERVE, EntryType.DEBIT),
}
CONFIRMED_STATES = frozenset({_CONFIRMED, _PARTIAL, _REVERSED})
_ORDER_STATES = {
    _PENDING: OrderStatus.PENDING,
    _AUTHORIZED: OrderStatus.PENDING,
    _CONFIRMED: OrderStatus.CONFIRMED,
    _REJECTED: OrderStatus.CANCELED,
    _CANCELED: OrderStatus.CANCELED,
    _EXPIRED: OrderStatus.CANCELED,
}


class StatusLine(msgspec.Struct, frozen=True):
    """One change of a purchase's status, as it is told."""

    status: str
    at: str
    reason: str | msgspec.UnsetType = msgspec.UNSET


class OrderItem(msgspec.Struct, frozen=True, array_like=True):
    """One line of an order; `facts` are the ids of the product and what is only recorded."""

    key: UUID
    name: str
    quantity: int
    unit_points: int
    facts: Mapping[str, Any]
    refunded_quantity: int = 0
    refunded_points: int = 0

    @property
    def points(self) -> int:
        """What the line costs."""
        return self.quantity * self.unit_points


class Order(msgspec.Struct, frozen=True, array_like=True):
    """What one vendor delivers. The state, and what was given back, follow what was ordered, which alone is stored."""

    key: UUID
    vendor_id: str
    products_points: int
    shipping_points: int
    points_paid: int
    items: tuple[OrderItem, ...]
    status: OrderStatus = OrderStatus.PENDING
    refunded_points: int = 0  # products and shipping
    refunded_shipping_points: int = 0

    @property
    def value_points(self) -> int:
        """Products and shipping together."""
        return self.products_points + self.shipping_points


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase as it is (table `purchases`; what was given back: `order_refunds`), and whose it is, to be shown."""

    tenant_key: UUID
    key: UUID
    participant_key: UUID
    kind: PurchaseKind
    status: PurchaseStatus
    policy_version: int
    device_key: UUID | None  # where its tokens travel; None without a second factor
    application_key: UUID
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
    created_at: datetime
    updated_at: datetime
    orders: tuple[Order, ...]
    status_history: tuple[StatusLine, ...]
    rejection_reason: str | None = None
    refunded_points: int = 0
    authorized_until: datetime | None = None
    confirmed_at: datetime | None = None
    event_sequence: int = 0
    participant_name: str = ""
    profile_sealed: bytes | None = None  # of the participant; None once the person is erased

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def id(self) -> tuple[UUID, UUID]:
        """Its key with its campaign's."""
        return self.tenant_key, self.key

    @property
    def total_points(self) -> int:
        """What it costs, whoever pays."""
        return self.products_points + self.shipping_points

    @property
    def is_pending(self) -> bool:
        """Whether the stored status waits for a token."""
        return self.status is PurchaseStatus.PENDING_2FA_APPROVAL

    @property
    def created_status(self) -> int:
        """The HTTP status its creation was answered with."""
        return 201 if self.device_key is None else 202

    def is_expired(self, now: datetime) -> bool:
        """Whether its authorization is over though nobody has said so yet."""
        return (
            self.status is PurchaseStatus.AUTHORIZED
            and self.authorized_until is not None
            and now >= self.authorized_until
        )


def first_status(kind: PurchaseKind, *, is_two_factor: bool) -> PurchaseStatus:
    """The state a new purchase begins in."""
    if is_two_factor:
        return PurchaseStatus.PENDING_2FA_APPROVAL
    return PurchaseStatus.CONFIRMED if kind == "internal" else PurchaseStatus.AUTHORIZED


def approved_status(kind: PurchaseKind) -> PurchaseStatus:
    """The state a right token leads to."""
    return first_status(kind, is_two_factor=False)


def begun(purchase: Purchase, *, authorization_ttl: timedelta | None) -> Purchase:
    """A new purchase with what its first status brings: history, times, the state of its orders, its first event."""
    status, at = purchase.status, purchase.created_at
    return replace(
        purchase,
        status_history=(_line(status, at, None),),
        confirmed_at=at if status is PurchaseStatus.CONFIRMED else None,
        authorized_until=_until(status, at, authorization_ttl),
        orders=standing_orders(purchase.orders, status),
        event_sequence=1,
    )


def moved(
    purchase: Purchase,
    to: PurchaseStatus,
    at: datetime,
    *,
    reason: str | None = None,
    authorization_ttl: timedelta | None = None,
) -> Purchase:
    """The only writer of a status: the purchase after the move, its event counted; outside the table it is a bug."""
    assert to in TRANSITIONS[purchase.status], (purchase.status, to)
    assert (to is PurchaseStatus.REJECTED) == (reason is not None)
    return replace(
        purchase,
        status=to,
        rejection_reason=reason,
        status_history=(*purchase.status_history, _line(to, at, reason)),
        confirmed_at=at if to is PurchaseStatus.CONFIRMED else purchase.confirmed_at,
        authorized_until=_until(to, at, authorization_ttl) or purchase.authorized_until,
        orders=standing_orders(purchase.orders, to),
        event_sequence=purchase.event_sequence + 1,
        updated_at=at,
    )


def _line(status: PurchaseStatus, at: datetime, reason: str | None) -> StatusLine:
    return StatusLine(status.value, wire_datetime(at), reason or msgspec.UNSET)


def _until(status: PurchaseStatus, at: datetime, ttl: timedelta | None) -> datetime | None:
    return at + ttl if status is PurchaseStatus.AUTHORIZED and ttl is not None else None


def standing_orders(orders: tuple[Order, ...], status: PurchaseStatus) -> tuple[Order, ...]:
    """Orders as they stand in a purchase of this status, all alike; a reversed one's each by its own reversals."""
    of_orders = _ORDER_STATES.get(status)
    if of_orders is None or orders[0].status is of_orders:
        return orders
    return tuple(replace(order, status=of_orders) for order in orders)


def description_of(names: Sequence[str]) -> str:
    """What the statement says of a purchase."""
    more = f" e mais {len(names) - 1}" if len(names) > 1 else ""
    text = f"Resgate: {names[0]}"
    return text[: DESCRIPTION_CHARACTERS_MAX - len(more)] + more


def details_of(purchase: Purchase, vendors: Mapping[str, str]) -> dict[str, Any]:
    """What its tokens are bound to and its message tells, kept in `operations.facts` (redemptions.md §4.3.1).

    `points`, `vendors` (names) and `policy_version` are what the message needs.
    """
    items = [
        {
            "vendor_id": order.vendor_id,
            "name": item.name,
            "quantity": item.quantity,
            "unit_points": item.unit_points,
            "product_id": item.facts["product_id"],
            "sku_id": item.facts["sku_id"],
            "vendor_sku_id": item.facts["vendor_sku_id"],
        }
        for order in purchase.orders
        for item in order.items
    ]
    return {
        "version": DETAILS_VERSION,
        "operation": "purchase",
        "operation_key": str(purchase.key),
        "participant_id": str(purchase.participant_key),
        "device_id": str(purchase.device_key),
        "points": purchase.debited_points,
        "vendor_ids": [order.vendor_id for order in purchase.orders],
        "vendors": [vendors[order.vendor_id] for order in purchase.orders],
        "items_digest": hashlib.sha256(canonical(items)).hexdigest(),
        "policy_version": purchase.policy_version,
    }


def details_digest(details: Mapping[str, Any]) -> bytes:
    """SHA-256 of the canonical details; 32 bytes."""
    return hashlib.sha256(canonical(details)).digest()
