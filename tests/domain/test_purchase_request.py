"""redemptions.md §4.1: the first check that fails is the one that is told."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from aval.domain.budget import BudgetStop
from aval.domain.caller import Caller, CallerKind
from aval.domain.campaign import Campaign, RiskLimits, TwoFactorPolicy
from aval.domain.errors import Refusal
from aval.domain.onboarding import DeviceFact, Onboarding, OnboardingStatus
from aval.domain.purchase import Order, OrderItem, PurchaseStatus
from aval.domain.purchase_request import (
    CampaignChanged,
    Checked,
    ItemVerdict,
    PurchaseFacts,
    PurchaseRequest,
    RiskDecision,
    basket_refusal,
    is_purchase_twin,
    new_purchase,
    refuse_purchase,
)

NOW = datetime(2026, 3, 4, 18, 15, 11, 250_000, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEVICE = DeviceFact(UUID(int=4), is_active=True, active_from=NOW, undeliverable_at=None, masked_number="*")
READY = Onboarding(OnboardingStatus.COMPLETE, (), is_ready=True)
PENDING = Onboarding(OnboardingStatus.DOCUMENTS_PENDING, ("selfie",), is_ready=False)
STOP = BudgetStop("approver_locked", HOUR)


def a_campaign(policy: TwoFactorPolicy | None = None, **change: Any) -> Campaign:
    texts = {"campaign_id": "c", "client_id": "l", "name": "Clube", "locale": "pt-BR", "timezone": "America/Sao_Paulo"}
    state = {"mode": "live", "status": "active", "catalogs": {}, "vendors": {"sol": "Sol", "mar": "Mar"}}
    policy = policy or TwoFactorPolicy(enabled=True, authorization_ttl_minutes=10)
    return Campaign(**{"key": UUID(int=1), "policy_version": 4, "policy": policy} | texts | state | change)


def a_request(campaign: Campaign | None = None, **change: Any) -> PurchaseRequest:
    item = OrderItem(UUID(int=9), "Fone de ouvido", 2, 4_000, {"sku_id": "F-100"})
    request = PurchaseRequest(
        caller=Caller(CallerKind.APPLICATION, "a", frozenset(), campaign or a_campaign(), UUID(int=5)),
        participant_key=UUID(int=3),
        kind="internal",
        key=UUID(int=2),
        path="/purchases",
        idempotency_key="pedido-1",
        fingerprint=b"same",
        correlation_id="app-1",
        channel_type="MOBILE",
        vendor_order_id=None,
        orders=(Order(UUID(int=8), "sol", 8_000, 500, 8_500, (item,)),),
        products_points=8_000,
        shipping_points=500,
        debited_points=8_500,
        card_points=0,
        recorded={},
    )
    return replace(request, **change)


def facts(**change: Any) -> PurchaseFacts:
    found = PurchaseFacts(
        now=NOW,
        policy_version=4,
        campaign_status="active",
        participant_status="ACTIVE",
        participant_name="Helena",
        profile_sealed=None,
        catalog_id="gold",
        available=8_500,
        twin_key=None,
        twin_fingerprint=None,
        orders_today=0,
        points_today=0,
        pending=0,
        revision=0,
        entry_count=1,
        document_index=b"",
        number_index=None,
        is_blocked=False,
        onboarding=READY,
        device=DEVICE,
    )
    return replace(found, **change)


def told(request: PurchaseRequest, found: PurchaseFacts) -> str | None:
    try:
        refuse_purchase(request, found)
    except Refusal as refusal:
        return refusal.name
    return None


LIMITED = a_campaign(TwoFactorPolicy(enabled=True, risk=RiskLimits(max_points_per_order=1)))
NUMBER_SPENT = (NOW,) * 20

# What can be wrong with a request or its facts, in the order in which it is told.
FAULTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("rdm.order_inconsistent_6", {}, {"participant_status": "BLOCKED"}),
    ("rdm.items_required", {"refusal": Refusal("rdm.items_required")}, {}),
    ("rdm.phone_incorrect", {"checked": Checked(items=ItemVerdict.PHONE_INCORRECT)}, {}),
    ("rdm.risk_denied", {}, {"is_blocked": True}),
    ("rdm.onboarding_required", {}, {"onboarding": PENDING}),
    ("rdm.device_cooling_off", {}, {"device": replace(DEVICE, active_from=NOW + HOUR)}),
    ("rdm.phone_incorrect", {}, {"device": replace(DEVICE, undeliverable_at=NOW)}),
    ("rdm.resend_limit", {}, {"number_sent": NUMBER_SPENT}),
    ("rdm.token_budget", {}, {"budget_stop": STOP}),
    ("rdm.risk_rejected", {}, {"pending": 5}),
    ("rdm.insufficient_points", {}, {"available": 8_499}),
]


@pytest.mark.parametrize("place", range(len(FAULTS)))
def test_of_all_faults_from_one_on_the_first_is_told(place: int) -> None:
    request, found = {}, {}
    for _, in_request, in_facts in reversed(FAULTS[place:]):
        request |= in_request
        found |= in_facts
    assert told(a_request(**request), facts(**found)) == FAULTS[place][0]
    assert told(a_request(**FAULTS[place][1]), facts(**FAULTS[place][2])) == FAULTS[place][0]


def test_nothing_is_looked_at_where_the_campaign_takes_no_redemptions() -> None:
    for status in ("paused", "closed"):
        request = a_request(a_campaign(status=status), refusal=Refusal("rdm.items_required"))
        found = facts(campaign_status=status, participant_status="BLOCKED")
        assert told(request, found) == "rdm.campaign_not_active"


@pytest.mark.parametrize("change", [{"policy_version": 5}, {"campaign_status": "paused"}])
def test_nothing_is_judged_by_a_policy_or_status_that_is_no_longer_in_force(change: dict[str, Any]) -> None:
    with pytest.raises(CampaignChanged):
        refuse_purchase(a_request(refusal=Refusal("rdm.items_required")), facts(**change))


@pytest.mark.parametrize(
    ("checked", "policy", "kind", "name"),
    [
        (Checked(), None, "internal", None),
        (Checked(ItemVerdict.QUANTITY_LIMIT, "F-100"), None, "internal", "rdm.quantity_limit"),
        (Checked(ItemVerdict.ORDER_NOT_COMPLETED), None, "internal", "rdm.order_not_completed"),
        (Checked(ItemVerdict.ORDER_NOT_COMPLETED), TwoFactorPolicy(), "internal", "rdm.plain_order_not_completed"),
        (Checked(ItemVerdict.ORDER_NOT_COMPLETED), TwoFactorPolicy(), "external", "rdm.order_not_completed"),
        (Checked(ItemVerdict.BOLETO_SELF_SERVICE_ONLY), TwoFactorPolicy(), "internal",
         "rdm.plain_boleto_self_service_only"),
        (Checked(risk=RiskDecision.DENY), None, "internal", "rdm.risk_denied"),
        (Checked(risk=RiskDecision.REJECT), None, "internal", "rdm.risk_rejected"),
        (Checked(risk=RiskDecision.EXTERNAL), None, "internal", "rdm.risk_external"),
        (Checked(risk=RiskDecision.SCORE), None, "internal", "rdm.risk_score"),
        (Checked(risk=RiskDecision.UNSPECIFIED), None, "internal", "rdm.risk_unspecified"),
    ],
)  # fmt: skip
def test_each_word_from_outside_has_its_error(
    checked: Checked, policy: TwoFactorPolicy | None, kind: Any, name: str | None
) -> None:
    assert told(a_request(a_campaign(policy), checked=checked, kind=kind), facts()) == name


@pytest.mark.parametrize(
    ("limit", "found", "is_refused"),
    [
        ({"max_points_per_order": 8_500}, {}, False),
        ({"max_points_per_order": 8_499}, {}, True),
        ({"max_points_per_day": 9_000}, {"points_today": 500}, False),
        ({"max_points_per_day": 9_000}, {"points_today": 501}, True),
        ({"max_orders_per_day": 3}, {"orders_today": 2}, False),
        ({"max_orders_per_day": 3}, {"orders_today": 3}, True),
        ({"max_pending_purchases": 2}, {"pending": 1}, False),
        ({"max_pending_purchases": 2}, {"pending": 2}, True),
        ({"max_pending_purchases": None}, {"pending": 99}, False),
    ],
)
def test_a_limit_counts_this_purchase_too(limit: dict[str, Any], found: dict[str, Any], is_refused: bool) -> None:
    policy = TwoFactorPolicy(enabled=True, risk=RiskLimits(**limit))
    assert told(a_request(a_campaign(policy)), facts(**found)) == ("rdm.risk_rejected" if is_refused else None)


def test_without_a_second_factor_limits_hold_and_nothing_waits() -> None:
    unknown = {"onboarding": None, "device": None, "budget_stop": STOP}
    plain = TwoFactorPolicy(risk=RiskLimits(max_pending_purchases=1, max_points_per_order=9_000))
    assert told(a_request(a_campaign(plain)), facts(pending=1, **unknown)) is None
    assert told(a_request(a_campaign(plain), debited_points=9_001), facts(**unknown)) == "rdm.risk_rejected"


def test_in_the_sandbox_a_number_takes_as_many_messages_as_it_likes() -> None:
    request = a_request(a_campaign(mode="sandbox"))
    assert not request.has_budgets
    assert told(request, facts(number_sent=NUMBER_SPENT)) is None


def test_refusals_of_the_second_factor_say_what_is_missing_and_until_when() -> None:
    with pytest.raises(Refusal) as refused:
        refuse_purchase(a_request(), facts(onboarding=PENDING))
    assert refused.value.extra_fields == {"onboarding_status": "documents_pending", "missing": ["selfie"]}
    with pytest.raises(Refusal) as refused:
        refuse_purchase(a_request(), facts(device=replace(DEVICE, active_from=NOW + HOUR)))
    assert refused.value.extra_fields == {"available_at": "2026-03-04T19:15:11.250Z"}


BASKET: dict[str, Any] = {
    "kind": "external", "channel_type": "MOBILE", "vendor_ids": ["sol"], "payments": [("Points", 100)], "total": 100
}  # fmt: skip
BOTH = [("Points", 60), ("ExternalCreditCard", 40)]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({}, None),
        ({"vendor_ids": ["sol", "mar", "sol"]}, None),
        ({"payments": BOTH}, None),
        ({"payments": [("ExternalCreditCard", 100)]}, None),
        ({"channel_type": "FAX", "vendor_ids": []}, "rdm.channel_invalid"),
        ({"channel_type": None}, "rdm.channel_invalid"),
        ({"vendor_ids": [], "payments": []}, "rdm.items_required"),
        ({"vendor_ids": [], "kind": "internal"}, "rdm.order_inconsistent_2"),
        ({"vendor_ids": ["sol", "lua"], "total": 99}, "rdm.vendor_not_linked"),
        ({"has_card_payment": True, "total": 99}, "rdm.payment_combination"),
        ({"payments": BOTH, "kind": "internal"}, "rdm.payment_combination"),
        ({"payments": BOTH, "vendor_ids": ["sol", "mar"]}, "rdm.payment_combination"),
        ({"payments": [("Points", 50), ("Points", 50)]}, "rdm.payment_combination"),
        ({"payments": [("Pix", 100)]}, "rdm.payment_combination"),
        ({"total": 101}, "rdm.payment_mismatch"),
        ({"total": 101, "kind": "internal"}, "rdm.order_inconsistent_4"),
    ],
)
def test_the_first_fault_of_a_basket_is_told(change: dict[str, Any], name: str | None) -> None:
    refusal = basket_refusal(campaign=a_campaign(), **BASKET | change)
    assert (refusal and refusal.name) == name


def test_a_repeat_is_the_same_key_with_the_same_request() -> None:
    request = a_request()
    assert not is_purchase_twin(request, facts())
    assert is_purchase_twin(request, facts(twin_key=UUID(int=7), twin_fingerprint=b"same"))
    with pytest.raises(Refusal) as refused:
        is_purchase_twin(request, facts(twin_key=UUID(int=7), twin_fingerprint=b"other"))
    assert refused.value.name == "rdm.idempotency_conflict"


@pytest.mark.parametrize(
    ("policy", "kind", "status", "device_key"),
    [
        (TwoFactorPolicy(enabled=True), "internal", PurchaseStatus.PENDING_2FA_APPROVAL, DEVICE.key),
        (TwoFactorPolicy(), "internal", PurchaseStatus.CONFIRMED, None),
        (TwoFactorPolicy(), "external", PurchaseStatus.AUTHORIZED, None),
    ],
)
def test_a_new_purchase_begins_where_its_policy_says(
    policy: TwoFactorPolicy, kind: Any, status: PurchaseStatus, device_key: UUID | None
) -> None:
    made = new_purchase(a_request(a_campaign(policy), kind=kind), facts(), "7QH2M4ZX9C1B")
    assert (made.status, made.device_key, made.policy_version) == (status, device_key, 4)
    assert (made.tenant_key, made.participant_key, made.application_key) == (UUID(int=1), UUID(int=3), UUID(int=5))
    assert (made.created_at, made.catalog_id, made.risk_decision) == (NOW, "gold", "approve")
    assert [line.status for line in made.status_history] == [status]


def test_nothing_of_a_request_prints() -> None:
    assert repr(a_request()) == "PurchaseRequest"
