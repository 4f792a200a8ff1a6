"""What calls on purchases answer: the types for the OpenAPI document, and the view with what is sealed opened."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from aval.domain.challenge import Challenge
from aval.domain.keyring import KeyMissing, Keyring
from aval.domain.purchase import Purchase
from aval.domain.redemption_view import QUEUED, Shown, purchase_view
from aval.http.redemptions.order_answers import OrderAnswer
from aval.http.redemptions.phone_answers import ApprovalAnswer


class PaymentAnswer(msgspec.Struct):
    """A part of the payment."""

    type: Literal["Points", "ExternalCreditCard"]
    value_points: int


class HistoryLine(msgspec.Struct, kw_only=True):
    """One change of the status."""

    status: str
    at: str
    reason: str | UnsetType = UNSET


class PurchaseAnswer(msgspec.Struct, kw_only=True):
    """A purchase; `approval` while it waits for a token."""

    id: str
    kind: Literal["internal", "external"]
    status: Literal[
        "pending_2fa_approval",
        "authorized",
        "confirmed",
        "rejected",
        "canceled",
        "expired",
        "partially_reversed",
        "reversed",
    ]
    rejection_reason: str | UnsetType = UNSET
    participant_id: str
    catalog_id: str
    channel_type: str
    vendor_order_id: str | UnsetType = UNSET
    date: str
    value_points: int
    shipping_value_points: int
    total_points: int
    debited_points: int
    authorization_code: str
    policy_version: int
    payments: list[PaymentAnswer]
    orders: list[OrderAnswer]
    customer: dict[str, Any] | None
    shipping: dict[str, Any] | None
    impersonator_user: str | UnsetType = UNSET
    origin_correlation_id: str
    status_history: list[HistoryLine]
    authorized_until: str | UnsetType = UNSET
    confirmed_at: str | UnsetType = UNSET
    approval: ApprovalAnswer | UnsetType = UNSET
    created_at: str
    updated_at: str


class PurchaseListing(msgspec.Struct):
    """Purchases, newest first."""

    items: list[PurchaseAnswer]
    offset: int
    limit: int
    total: int


def told_purchase(
    purchase: Purchase,
    keyring: Keyring,
    challenge: Challenge | None = None,
    delivery: str = QUEUED,
    told: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The view of a purchase; customer and shipping are what was sent, else the participant's.

    `told` is what its event told, if that was made just now.
    """
    private = _opened(keyring, _sealed_private(purchase), f"purchases/{purchase.key}")
    profile: Mapping[str, Any] = {}
    if not ("customer" in private and "shipping" in private):
        profile = _opened(keyring, purchase.profile_sealed, f"participants/{purchase.participant_key}")
    customer = private.get("customer")
    if customer is None:
        is_erased = purchase.profile_sealed is None  # then the name tells the id once more
        name = None if is_erased else purchase.participant_name
        customer = {"id": purchase.participant_key, "name": name, "emails": profile.get("emails", [])}
    shipping = private.get("shipping", profile.get("address"))
    return purchase_view(purchase, Shown(customer, shipping, challenge, delivery, told))


def _sealed_private(purchase: Purchase) -> bytes | None:
    text = purchase.recorded.get("private")
    return None if text is None else b64decode(text)


def _opened(keyring: Keyring, sealed: bytes | None, associated: str) -> Mapping[str, Any]:
    """What a seal holds; nothing if there is none, or its key is gone."""
    if sealed is None:
        return {}
    try:
        opened: Mapping[str, Any] = msgspec.json.decode(keyring.opened(sealed, associated=associated))
    except KeyMissing:
        return {}
    return opened
