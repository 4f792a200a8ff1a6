"""Bodies of purchases, and what a type alone cannot judge of them (redemptions.md §4.1)."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from aval.domain.campaign import POINTS_MAX, Points, PurchaseKind
from aval.domain.errors import schema_refusal
from aval.domain.ids import parse_uuid, part_key, whole_key
from aval.domain.keyring import Keyring
from aval.domain.purchase import Order, OrderItem
from aval.domain.purchase_request import CARD, POINTS, PurchaseRequest, basket_refusal
from aval.domain.text import clean
from aval.http.edge import Call
from aval.http.strict_json import decode
from aval.http.transfer_body import Errors, fingerprint_of
from aval.operations.fresh import fresh_key, sealed

ITEMS_MAX = 100  # spec redemptions.md §4.1, as the next three
NAME_CHARACTERS_MAX = 200
RECORDED_BYTES_MAX = 16 * 1024
VENDOR_ORDER_CHARACTERS_MAX = 64
CODE_CHARACTERS_MAX = 100
URL_CHARACTERS_MAX = 2_048
AGENT_CHARACTERS_MAX = 256
NO_CODE = "0"
_PRIVATE = ("customer", "shipping", "parameters")
NO_FINGERPRINT = bytes(32)  # of a call without a key, which nothing is compared with


class PriceBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The unit price in points; `from` is what it was before, for display."""

    for_: Points = msgspec.field(name="for")
    from_: Points | None = msgspec.field(name="from", default=None)


class VendorBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Who delivers."""

    id: str


class CategoryBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What kind of product it is; recorded only."""

    id: str | None = None
    name: str | None = None


class ItemBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One line of a purchase."""

    name: str
    quantity: Annotated[int, Meta(ge=1, le=999)]
    price: PriceBody
    vendor: VendorBody
    product_id: str | None = None
    sku_id: str | None = None
    vendor_sku_id: str | None = None
    category: CategoryBody | None = None
    image_url: str | None = None


class ShippingBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a vendor asks for shipping."""

    vendor_id: str
    value_points: Points


class PaymentBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the payment."""

    type: str
    value_points: Points


class PurchaseBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A purchase; what is free in form is recorded and told back."""

    channel_type: str | None = None
    items: list[ItemBody] | None = None
    shipping_values: list[ShippingBody] | None = None
    payments: list[PaymentBody] | None = None
    vendor_order_id: str | None = None
    customer: dict[str, Any] | None = None
    shipping: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    conversion_rate: float | int | str | None = None
    cart_type: str | int | None = None
    credit_card_payment: Any = None
    request_control_key: str | None = None


def read_purchase(call: Call, kind: PurchaseKind, path: str, keyring: Keyring) -> PurchaseRequest:
    """The request in a body; raises what the schema finds wrong, and carries what is refused later in the order."""
    body = decode(call.body, PurchaseBody)
    errors = Errors()
    items = body.items or []
    key = whole_key(fresh_key())
    orders = _orders(errors, items, body.shipping_values or [], key)
    products, shipping = sum(o.products_points for o in orders), sum(o.shipping_points for o in orders)
    if items and not 1 <= products + shipping <= POINTS_MAX:
        errors.add("items")
    idempotency_key = _idempotency_key(errors, call, body)
    vendor_order_id = body.vendor_order_id
    if vendor_order_id is not None:
        vendor_order_id = errors.text(vendor_order_id, "vendor_order_id", characters_max=VENDOR_ORDER_CHARACTERS_MAX)
    recorded = _recorded(errors, call, body, key, keyring)
    errors.raise_any()
    payments = _payments(body, products + shipping)
    caller = call.redeemer
    assert caller.participant_key is not None
    debited = sum(points for type_, points in payments if type_ == POINTS)
    card = sum(points for type_, points in payments if type_ == CARD)
    return PurchaseRequest(
        caller=caller,
        participant_key=caller.participant_key,
        kind=kind,
        key=key,
        path=path,
        idempotency_key=idempotency_key,
        fingerprint=_fingerprint(keyring, caller.participant_key, body) if idempotency_key else NO_FINGERPRINT,
        correlation_id=call.correlation_id,
        channel_type=body.channel_type or "",
        vendor_order_id=vendor_order_id,
        orders=_paid(orders, debited, card),
        products_points=products,
        shipping_points=shipping,
        debited_points=debited,
        card_points=card,
        recorded=recorded,
        refusal=basket_refusal(
            kind,
            caller.tenant,
            body.channel_type,
            [order.vendor_id for order in orders],
            payments,
            products + shipping,
            has_card_payment=body.credit_card_payment is not None,
        ),
    )


def _orders(
    errors: Errors, items: Sequence[ItemBody], shipping_values: Sequence[ShippingBody], purchase_key: UUID
) -> tuple[Order, ...]:
    """One order per vendor, in the order the items name them, paid with points; no more orders than items."""
    if len(items) > ITEMS_MAX:
        raise schema_refusal(("items", "invalid_value"))
    by_vendor: dict[str, list[OrderItem]] = {}
    for number, item in enumerate(items):
        errors.place = f"items[{number}]."
        key = part_key(purchase_key, ITEMS_MAX + 1 + number)
        by_vendor.setdefault(item.vendor.id, []).append(_item(errors, item, key))
    errors.place = ""
    shipping: dict[str, int] = {}
    for number, each in enumerate(shipping_values):
        if each.vendor_id in shipping or (items and each.vendor_id not in by_vendor):
            errors.add(f"shipping_values[{number}].vendor_id")
        shipping[each.vendor_id] = each.value_points
    return tuple(
        Order(
            key=part_key(purchase_key, number),
            vendor_id=vendor_id,
            products_points=(products := sum(line.points for line in lines)),
            shipping_points=(delivery := shipping.get(vendor_id, 0)),
            points_paid=products + delivery,
            items=tuple(lines),
        )
        for number, (vendor_id, lines) in enumerate(by_vendor.items(), 1)
    )


def _item(errors: Errors, item: ItemBody, key: UUID) -> OrderItem:
    item.name = errors.text(item.name, "name", characters_max=NAME_CHARACTERS_MAX)
    facts: dict[str, Any] = {}
    for name in ("product_id", "sku_id", "vendor_sku_id"):
        facts[name] = _code(errors, getattr(item, name), name)
        setattr(item, name, facts[name])
    category = item.category or CategoryBody()
    facts["category"] = {"id": _code(errors, category.id, "category.id")}
    if category.name is not None:
        facts["category"]["name"] = errors.text(category.name, "category.name", characters_max=NAME_CHARACTERS_MAX)
    if item.image_url is not None:
        facts["image_url"] = errors.text(item.image_url, "image_url", characters_max=URL_CHARACTERS_MAX)
    if item.price.from_ is not None:
        facts["price_from"] = item.price.from_
    return OrderItem(key, item.name, item.quantity, item.price.for_, facts)


def _code(errors: Errors, text: str | None, field: str) -> str:
    """What a catalogue calls a product; null is absent."""
    if text is None or text == NO_CODE:
        return NO_CODE
    return errors.text(text, field, characters_max=CODE_CHARACTERS_MAX)


def _payments(body: PurchaseBody, total: int) -> list[tuple[str, int]]:
    if body.payments is None:
        return [(POINTS, total)]
    return [(payment.type, payment.value_points) for payment in body.payments]


def _paid(orders: tuple[Order, ...], debited: int, card: int) -> tuple[Order, ...]:
    """What of each order is paid with points: of a single order all but what a card pays, else all or nothing."""
    if not card:
        return orders
    return tuple(
        msgspec.structs.replace(order, points_paid=max(order.value_points - card, 0) if debited else 0)
        for order in orders
    )


def _idempotency_key(errors: Errors, call: Call, body: PurchaseBody) -> str | None:
    """The key of the header or its synonym in the body; both must be the same, in the one spelling that is kept."""
    sent = call.headers.get("idempotency-key")
    if body.request_control_key is None:
        return sent
    key = parse_uuid(body.request_control_key)
    if key is None or sent not in (None, str(key)):
        errors.add("request_control_key")
    return str(key)


def _recorded(errors: Errors, call: Call, body: PurchaseBody, key: UUID, keyring: Keyring) -> Mapping[str, Any]:
    """What is stored and not judged; what may tell of a person is sealed."""
    recorded: dict[str, Any] = {}
    for name in ("conversion_rate", "cart_type"):
        value = getattr(body, name)
        if isinstance(value, str):
            value = errors.text(value, name, characters_max=CODE_CHARACTERS_MAX)
        if value is not None:
            recorded[name] = value
    private = _private(errors, body)
    told = msgspec.json.encode(private)
    if len(told) + _described_bytes(body.items or ()) > RECORDED_BYTES_MAX:
        errors.add(next(iter(private), "items"), "too_large")
    elif private:
        private_sealed = sealed(keyring, told.decode(), associated=f"purchases/{key}")
        recorded["private"] = b64encode(private_sealed).decode()
    if call.client_address is not None:
        recorded["client_address"] = call.client_address
    agent = clean(call.headers.get("user-agent", "")[:AGENT_CHARACTERS_MAX])
    return recorded | {"user_agent": agent} if agent else recorded


def _private(errors: Errors, body: PurchaseBody) -> dict[str, Any]:
    """The members that are free in form but for invisible characters, as far as they are given."""
    given = {name: value for name in _PRIVATE if (value := getattr(body, name)) is not None}
    for name, value in given.items():
        if any(clean(text) is None for text in _texts(value)):
            errors.add(name)
    return given


def _texts(value: object) -> Iterator[str]:
    """Every text in what is free in form, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _described_bytes(items: Sequence[ItemBody]) -> int:
    """How long what describes the items is together."""
    texts = [text for item in items for text in (item.image_url, item.category and item.category.name) if text]
    return sum(len(text.encode()) for text in texts)


def _fingerprint(keyring: Keyring, participant_key: UUID, body: PurchaseBody) -> bytes:
    """What tells this body from another; the key itself is no part of it, the participant is."""
    body.request_control_key = None
    return fingerprint_of(keyring, participant_key.bytes, msgspec.json.encode(body, order="sorted"))
