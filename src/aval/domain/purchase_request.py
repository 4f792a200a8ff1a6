"""A request for a purchase: what is known when it arrives, and the first check it fails.

Source: redemptions.md §2.3, §4.1.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.budget import BudgetStop
from aval.domain.calendar import wire_datetime
from aval.domain.caller import Caller
from aval.domain.campaign import Campaign, PurchaseKind
from aval.domain.errors import Refusal
from aval.domain.onboarding import DeviceFact, Onboarding
from aval.domain.purchase import Order, Purchase, begun, description_of, first_status
from aval.domain.redemption_call import number_wait, retry_refusal, token_budget_refusal

CHANNELS = frozenset(
    "ONLINE POS CALLCENTER STOREAUTHORIZE STOREONLINE MOBILE STOREOWN RESALE SELFSERVICE SMSINTERACTIVE TELESALES URA "
    "STOREBENEFIT NETBANKING OFFLINE".split()
)
POINTS, CARD = "Points", "ExternalCreditCard"
ACTIVE = "ACTIVE"


class ItemVerdict(StrEnum):
    """The item validator's word on the items of a purchase."""

    OK = "ok"
    BOLETO_SELF_SERVICE_ONLY = "boleto_self_service_only"
    PHONE_INCORRECT = "phone_incorrect"
    ORDER_NOT_COMPLETED = "order_not_completed"
    QUANTITY_LIMIT = "quantity_limit"


class RiskDecision(StrEnum):
    """The risk adapter's word on a purchase."""

    APPROVE = "approve"
    DENY = "deny"
    REJECT = "reject"
    EXTERNAL = "external"
    SCORE = "score"
    UNSPECIFIED = "unspecified"


_RISK_ERRORS = {
    RiskDecision.DENY: "rdm.risk_denied",
    RiskDecision.REJECT: "rdm.risk_rejected",
    RiskDecision.EXTERNAL: "rdm.risk_external",
    RiskDecision.SCORE: "rdm.risk_score",
    RiskDecision.UNSPECIFIED: "rdm.risk_unspecified",
}


class Checked(msgspec.Struct, frozen=True):
    """What was asked outside before the transaction: the items and the risk; `sku_id` is of a limited quantity."""

    items: ItemVerdict = ItemVerdict.OK
    sku_id: str = ""
    risk: RiskDecision = RiskDecision.APPROVE


class PurchaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One create call, decoded; `refusal` is step 5 of the order of checks, which the edge judged by itself."""

    caller: Caller
    participant_key: UUID
    kind: PurchaseKind
    key: UUID
    path: str
    idempotency_key: str | None
    fingerprint: bytes
    correlation_id: str
    channel_type: str
    vendor_order_id: str | None
    orders: tuple[Order, ...]
    products_points: int
    shipping_points: int
    debited_points: int
    card_points: int
    recorded: Mapping[str, Any]
    refusal: Refusal | None = None
    checked: Checked = Checked()

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def participant(self) -> tuple[UUID, UUID]:
        """The participant with their campaign, whose calls run one after the other."""
        return self.caller.tenant.key, self.participant_key

    @property
    def is_two_factor(self) -> bool:
        """Whether a second factor applies (§2.3)."""
        return self.caller.tenant.policy.applies(self.kind, self.debited_points)

    @property
    def has_budgets(self) -> bool:
        """Whether messages and guesses are limited: under a second factor, outside the sandbox."""
        return self.is_two_factor and not self.caller.tenant.is_sandbox


class CampaignChanged(Exception):
    """Another policy or status is in force than the request came under, whose body may have been long in coming."""


class PurchaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL knows about one request as of `now`; `onboarding` under 2FA only.

    All of the participant holds as long as `revision` and `entry_count` are the same; under the guard they stay.
    """

    now: datetime
    policy_version: int
    campaign_status: str
    participant_status: str
    participant_name: str
    profile_sealed: bytes | None
    catalog_id: str
    available: int
    twin_key: UUID | None
    twin_fingerprint: bytes | None
    orders_today: int
    points_today: int
    pending: int
    revision: int  # of the participant
    entry_count: int  # of the account's ledger
    document_index: bytes
    number_index: bytes | None
    is_blocked: bool = False
    onboarding: Onboarding | None = None
    device: DeviceFact | None = None
    number_sent: Sequence[datetime] = ()
    budget_stop: BudgetStop | None = None
    is_digits_budget_spent: bool = False


def basket_refusal(
    kind: PurchaseKind,
    campaign: Campaign,
    channel_type: str | None,
    vendor_ids: Collection[str],
    payments: Sequence[tuple[str, int]],
    total: int,
    *,
    has_card_payment: bool = False,
) -> Refusal | None:
    """Step 5: the first of channel, items, vendors and payments that is wrong; `vendor_ids` are of the items."""
    if channel_type not in CHANNELS:
        return Refusal("rdm.channel_invalid")
    if not vendor_ids:
        return Refusal("rdm.order_inconsistent_2" if kind == "internal" else "rdm.items_required")
    if not campaign.vendors.keys() >= set(vendor_ids):
        return Refusal("rdm.vendor_not_linked")
    types = [type_ for type_, _ in payments]
    if has_card_payment or not _is_combination(kind, types, len(set(vendor_ids))):
        return Refusal("rdm.payment_combination")
    if sum(points for _, points in payments) != total:
        return Refusal("rdm.order_inconsistent_4" if kind == "internal" else "rdm.payment_mismatch")
    return None


def _is_combination(kind: PurchaseKind, types: Sequence[str], vendors: int) -> bool:
    allowed = {POINTS} if kind == "internal" else {POINTS, CARD}
    is_each_once = len(set(types)) == len(types)
    return is_each_once and allowed >= set(types) and (len(types) < 2 or vendors == 1)


def is_purchase_twin(request: PurchaseRequest, facts: PurchaseFacts) -> bool:
    """Whether this repeats a request that was accepted; raises the conflict if only the key is the same."""
    if facts.twin_key is None:
        return False
    if facts.twin_fingerprint != request.fingerprint:
        raise Refusal("rdm.idempotency_conflict")
    return True


def refuse_purchase(request: PurchaseRequest, facts: PurchaseFacts) -> None:
    """Raise the first check that fails, in the order of §4.1 from step 3 on; CampaignChanged if none can be judged."""
    campaign = request.caller.tenant
    if (facts.policy_version, facts.campaign_status) != (campaign.policy_version, campaign.status):
        raise CampaignChanged
    refuse_before_asking(request)
    if facts.participant_status != ACTIVE:
        raise Refusal("rdm.order_inconsistent_6")
    if request.refusal is not None:
        raise request.refusal
    _refuse_checked(request, facts)
    if request.is_two_factor:
        _refuse_second_factor(request, facts)
    _refuse_limits(request, facts)
    if request.debited_points > facts.available:
        raise Refusal("rdm.insufficient_points")


def refuse_before_asking(request: PurchaseRequest) -> None:
    """Step 3: the campaign takes redemptions."""
    if request.caller.tenant.status != "active":
        raise Refusal("rdm.campaign_not_active")


def _refuse_checked(request: PurchaseRequest, facts: PurchaseFacts) -> None:
    """Steps 6 and 7: what the item validator and the risk adapter said, and the operator's block list."""
    checked = request.checked
    if checked.items is ItemVerdict.QUANTITY_LIMIT:
        raise Refusal("rdm.quantity_limit", sku=checked.sku_id)
    if checked.items is not ItemVerdict.OK:
        is_plain = request.kind == "internal" and not request.is_two_factor
        raise Refusal(f"rdm.plain_{checked.items}" if is_plain else f"rdm.{checked.items}")
    decision = RiskDecision.DENY if facts.is_blocked else checked.risk
    if decision is not RiskDecision.APPROVE:
        raise Refusal(_RISK_ERRORS[decision])


def _refuse_second_factor(request: PurchaseRequest, facts: PurchaseFacts) -> None:
    """Step 8: onboarded, cooled off, a phone that takes messages, and no limit or budget of messages spent."""
    onboarding, device = facts.onboarding, facts.device
    assert onboarding is not None
    if not onboarding.is_ready:
        told = {"onboarding_status": onboarding.status.value, "missing": list(onboarding.missing)}
        raise Refusal("rdm.onboarding_required", extra_fields=told)
    assert device is not None
    if facts.now < device.active_from:
        raise Refusal("rdm.device_cooling_off", extra_fields={"available_at": wire_datetime(device.active_from)})
    if device.undeliverable_at is not None:
        raise Refusal("rdm.phone_incorrect")
    wait = number_wait(facts.number_sent, facts.now)
    if request.has_budgets and wait is not None:
        raise retry_refusal("rdm.resend_limit", wait)
    if facts.budget_stop is not None:
        raise token_budget_refusal(facts.budget_stop)


def _refuse_limits(request: PurchaseRequest, facts: PurchaseFacts) -> None:
    """Step 9: what the campaign lets a participant redeem, this purchase included."""
    risk = request.caller.tenant.policy.risk
    counted = (
        (risk.max_points_per_order, request.debited_points),
        (risk.max_points_per_day, facts.points_today + request.debited_points),
        (risk.max_orders_per_day, facts.orders_today + 1),
        (risk.max_pending_purchases, facts.pending + request.is_two_factor),
    )
    if any(most is not None and count > most for most, count in counted):
        raise Refusal("rdm.risk_rejected")


def new_purchase(request: PurchaseRequest, facts: PurchaseFacts, authorization_code: str) -> Purchase:
    """The purchase of a request that passed every check."""
    campaign = request.caller.tenant
    is_two_factor = request.is_two_factor
    assert request.caller.application_key is not None
    purchase = Purchase(
        tenant_key=campaign.key,
        key=request.key,
        participant_key=request.participant_key,
        kind=request.kind,
        status=first_status(request.kind, is_two_factor=is_two_factor),
        policy_version=campaign.policy_version,
        device_key=facts.device.key if is_two_factor and facts.device is not None else None,
        application_key=request.caller.application_key,
        catalog_id=facts.catalog_id,
        channel_type=request.channel_type,
        vendor_order_id=request.vendor_order_id,
        products_points=request.products_points,
        shipping_points=request.shipping_points,
        debited_points=request.debited_points,
        card_points=request.card_points,
        authorization_code=authorization_code,
        description=description_of([item.name for order in request.orders for item in order.items]),
        risk_decision=request.checked.risk.value,
        impersonator_user=request.caller.impersonator_user,
        recorded=request.recorded,
        request_path=request.path,
        idempotency_key=request.idempotency_key,
        request_fingerprint=request.fingerprint,
        origin_correlation_id=request.correlation_id,
        created_at=facts.now,
        updated_at=facts.now,
        orders=request.orders,
        status_history=(),
        participant_name=facts.participant_name,
        profile_sealed=facts.profile_sealed,
    )
    return begun(purchase, authorization_ttl=campaign.policy.authorization_ttl)
