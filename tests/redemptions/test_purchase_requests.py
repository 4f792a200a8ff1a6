"""What a request for a purchase is held against, and in which order (redemptions.md §4.1)."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.purchase_request import ItemVerdict, PurchaseRequest, RiskDecision
from aval.operations.request_purchase import PurchaseRules
from aval.storage import purchase_inserts
from tests.buyers import ENABLED, Buyer, a_purchase, an_item
from tests.factories import Client, make_keyring
from tests.redemption_stage import RedemptionStage, reason_of

HUGE = 999_999_999_999
SUB_4 = [{"type": 4, "message": "Valor do pedido é diferente do valor dos pagamentos.", "parameters": []}]


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions, has_phone=False, policy={})


async def nothing_is_left(buyer: Buyer, available: int = 20_000) -> None:
    """No purchase, no reserve, no message."""
    assert await buyer.balance() == (available, 0)
    for table in ("purchases", "events"):
        where = "integrator_id = $1" + (" and event_type like 'purchase.%'" if table == "events" else "")
        assert await buyer.stage.value(f"select count(*) from {table} where {where}", buyer.campaign.key) == 0
    asked = "select count(*) from operations where integrator_id = $1 and kind = 'purchase'"
    assert await buyer.stage.value(asked, buyer.campaign.key) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"items": [an_item(name="")]},
        {"items": [an_item(name="a" * 201)]},
        {"items": [an_item(name="a\u202eb")]},
        {"items": [an_item(quantity=0)]},
        {"items": [an_item(quantity=1000)]},
        {"items": [an_item(quantity=1.0)]},
        {"items": [an_item(quantity="1")]},
        {"items": [an_item(price={})]},
        {"items": [an_item(price={"for": 1.5})]},
        {"items": [an_item(price={"for": -1})]},
        {"items": [an_item(price={"for": HUGE + 1})]},
        {"items": [an_item(vendor={})]},
        {"items": [an_item(sku_id="")]},
        {"items": [an_item(category={"id": "1", "x": 1})]},
        {"items": [an_item(0)]},
        {"items": [an_item(HUGE, quantity=2)]},
        {"items": [an_item()] * 101},
        {"items": {}},
        {"shipping_values": [{"vendor_id": "viagens", "value_points": 1}]},
        {"shipping_values": [{"vendor_id": "loja-sol", "value_points": 1}] * 2},
        {"payments": [{"type": "Points"}]},
        {"payments": [{"type": "Points", "value_points": 8000, "number": "+5511999990000"}]},
        {"vendor_order_id": "x" * 65},
        {"request_control_key": "not-a-uuid"},
        {"request_control_key": "6b0d549b-6f03-175a-9600-a35a099950d8"},
        {"customer": {"a": "x" * 16_384}},
        {"customer": "Helena"},
        {"device_id": "x"},
        {"number": "+5511999990000"},
        {"channel_type": 1},
    ],
)
async def test_a_body_that_is_none_changes_nothing(buyer: Buyer, change: dict[str, Any]) -> None:
    reply = await buyer.buy(a_purchase(**change))
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert reply.json["extra_fields"]["errors"]
    await nothing_is_left(buyer)


@pytest.mark.parametrize(
    ("change", "internal", "external"),
    [
        ({"channel_type": None}, ("314", "channel_invalid"), ("314", "channel_invalid")),
        ({"channel_type": "mobile"}, ("314", "channel_invalid"), ("314", "channel_invalid")),
        ({"items": None}, ("322", "order_inconsistent"), ("11", "items_required")),
        ({"items": []}, ("322", "order_inconsistent"), ("11", "items_required")),
        ({"items": [an_item(vendor="ninguem")]}, ("283", "vendor_not_linked"), ("283", "vendor_not_linked")),
        ({"credit_card_payment": {}}, ("343", "payment_combination"), ("343", "payment_combination")),
        (
            {"payments": [{"type": "ExternalCreditCard", "value_points": 8_000}]},
            ("343", "payment_combination"),
            None,
        ),
        (
            {"payments": [{"type": "Cash", "value_points": 8_000}]},
            ("343", "payment_combination"),
            ("343", "payment_combination"),
        ),
        (
            {"payments": [{"type": "Points", "value_points": 4_000}] * 2},
            ("343", "payment_combination"),
            ("343", "payment_combination"),
        ),
        (
            {"payments": [{"type": "Points", "value_points": 7_999}]},
            ("322", "order_inconsistent"),
            ("11", "payment_mismatch"),
        ),
        (
            {
                "items": [an_item(4_000), an_item(4_000, "viagens")],
                "payments": [
                    {"type": "Points", "value_points": 4_000},
                    {"type": "ExternalCreditCard", "value_points": 4_000},
                ],
            },
            ("343", "payment_combination"),
            ("343", "payment_combination"),
        ),
    ],
)
async def test_channel_items_vendors_and_payments_are_refused_with_codes_of_their_own(
    buyer: Buyer, change: dict[str, Any], internal: tuple[str, str], external: tuple[str, str] | None
) -> None:
    body = {name: value for name, value in (a_purchase() | change).items() if value is not None}
    for path, wanted in (("/purchases", internal), ("/purchases/authorize", external)):
        if wanted is not None:
            reply = await buyer.buy(body, path=path)
            assert (reply.status, reply.code, reason_of(reply)) == (422, *wanted)
            await nothing_is_left(buyer)


async def test_an_inconsistent_order_names_its_fault(buyer: Buyer) -> None:
    reply = await buyer.buy(a_purchase(payments=[{"type": "Points", "value_points": 1}]))
    assert (reply.json["sub"], reply.json["sub_message"]) == (SUB_4, SUB_4[0]["message"] + " (#322-4)")


async def test_a_paused_campaign_takes_no_purchase_and_lets_those_in_flight_end(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    made = await buyer.bought()
    path = f"/campaigns/{buyer.campaign.campaign_id}"
    reply = await redemptions.call("PATCH", path, {"status": "paused"}, headers=await redemptions.operator())
    assert reply.status == 200, reply.body
    refused = await buyer.buy(a_purchase(channel_type="?"))
    assert (refused.status, refused.code) == (422, "RDM000914")
    assert (await buyer.validate(made)).status == 201


async def test_a_suspended_participant_redeems_nothing(buyer: Buyer) -> None:
    path = f"/participants/{buyer.person.key}"
    await buyer.stage.call("PUT", path, {"status": "INACTIVE"}, headers=await buyer.stage.operator())
    refused = await buyer.buy(a_purchase(channel_type="?"))
    assert (refused.status, refused.code, refused.json["sub"][0]["type"]) == (422, "322", 6)
    await nothing_is_left(buyer)


@pytest.mark.parametrize(
    ("policy", "missing", "status"),
    [
        ({"enabled": True, "document_policy": "none"}, ["device"], "not_started"),
        ({"enabled": True}, ["device", "identity", "selfie"], "not_started"),
    ],
)
async def test_who_is_not_onboarded_redeems_nothing_under_a_second_factor(
    redemptions: RedemptionStage, policy: dict[str, Any], missing: list[str], status: str
) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False, policy=policy)
    refused = await buyer.buy()
    assert (refused.status, refused.code) == (422, "RDM000911")
    assert refused.json["extra_fields"] == {
        "reason": "onboarding_required",
        "onboarding_status": status,
        "missing": missing,
    }
    await nothing_is_left(buyer)


async def test_a_changed_phone_cools_off_and_one_that_takes_no_messages_is_refused(buyer: Buyer) -> None:
    buyer = await Buyer.make(buyer.stage)
    await buyer.owner.activate()
    refused = await buyer.buy()
    assert (refused.status, refused.code) == (422, "RDM000919")
    assert refused.json["extra_fields"]["available_at"].endswith("Z")
    await nothing_is_left(buyer)
    await buyer.stage.execute(
        "update phone_devices set active_from = clock_timestamp(), undeliverable_at = clock_timestamp()"
        " where participant_id = $1",
        buyer.person.key,
    )
    refused = await buyer.buy()
    assert (refused.status, refused.code, reason_of(refused)) == (422, "11", "phone_incorrect")
    await nothing_is_left(buyer)


async def test_too_few_points_are_told_last(buyer: Buyer) -> None:
    refused = await buyer.buy(a_purchase(20_001))
    assert (refused.status, refused.code) == (422, "332")
    assert refused.json["sub_message"].startswith("Verifique o seu saldo")
    await nothing_is_left(buyer)
    assert (await buyer.buy(a_purchase(20_000))).status == 201


@pytest.mark.parametrize(
    ("risk", "before", "points"),
    [
        ({"max_points_per_order": 4_999}, [], 5_000),
        ({"max_points_per_day": 7_000}, [2_000, 1], 5_000),
        ({"max_orders_per_day": 2}, [1, 1], 1),
    ],
)
async def test_limits_of_a_campaign_hold_with_and_without_a_second_factor(
    redemptions: RedemptionStage, risk: dict[str, int], before: list[int], points: int
) -> None:
    for policy in ({}, ENABLED):
        buyer = await Buyer.make(redemptions, policy={**policy, "risk": risk})
        for each in before:
            await buyer.bought(a_purchase(each))
        refused = await buyer.buy(a_purchase(points))
        assert (refused.status, refused.code) == (422, "326")
        if policy and before:
            for purchase in (await buyer.ask("GET", "/purchases/me")).json["items"]:
                await buyer.cancel(purchase)
            assert (await buyer.buy(a_purchase(points))).status == 202  # what was canceled does not count


async def test_a_day_begins_at_midnight_of_the_campaign(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, policy={"risk": {"max_orders_per_day": 1}}, timezone="Asia/Tokyo")
    made = await buyer.bought(a_purchase(1))
    began = "date_trunc('day', clock_timestamp() at time zone 'Asia/Tokyo') at time zone 'Asia/Tokyo'"
    await buyer.stage.execute(f"update purchases set created_at = {began} where purchase_id = $1::uuid", made["id"])
    assert (await buyer.buy(a_purchase(1))).code == "326"
    await buyer.stage.execute(
        f"update purchases set created_at = {began} - interval '1 millisecond' where purchase_id = $1::uuid",
        made["id"],
    )
    assert (await buyer.buy(a_purchase(1))).status == 201


async def test_pending_purchases_are_limited_while_their_windows_are_open(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, policy={**ENABLED, "risk": {"max_pending_purchases": 2}})
    first, second = [await buyer.bought(a_purchase(1)) for _ in range(2)]
    assert (await buyer.buy(a_purchase(1))).code == "326"
    await buyer.validate(first)
    await buyer.bought(a_purchase(1))
    assert (await buyer.buy(a_purchase(1))).code == "326"
    await buyer.shift(second, timedelta(hours=1))
    await buyer.bought(a_purchase(1))


async def test_a_number_takes_twenty_messages_a_day_in_a_live_campaign(redemptions: RedemptionStage) -> None:
    for mode, most in (("live", 20), ("sandbox", None)):
        policy = {**ENABLED, "risk": {"max_pending_purchases": None}}
        buyer = await Buyer.make(redemptions, mode=mode, policy=policy)
        made = await buyer.bought(a_purchase(1))
        await buyer.stage.execute(
            "insert into outbox (integrator_id, message_id, topic, operation_id, generation, approver_id, contact_id,"
            " channel, correlation_id, state, due_at, created_at, finished_at) select m.integrator_id,"
            " gen_random_uuid(), 'token', m.operation_id, n, m.approver_id, m.contact_id, 'sms', 'x', 'void',"
            " m.due_at, m.created_at - interval '11 minutes', m.due_at"
            " from outbox m, generate_series(2, 19) n where m.operation_id = $1::uuid",
            made["id"],
        )
        await buyer.stage.execute(
            "insert into comparisons (integrator_id, operation_id, comparison_no, generation, verdict, alphabet,"
            " approver_id, is_budgeted, judged_at) select integrator_id, operation_id, 1, 1, 'right', 'crockford32',"
            " approver_id, true, created_at + interval '1 millisecond' from operations where operation_id = $1::uuid",
            made["id"],
        )
        await buyer.shift(made, timedelta(seconds=30))
        refused, resent = await buyer.buy(a_purchase(1)), await buyer.resend(made)
        if most is None:
            assert (refused.status, resent.status) == (202, 202)
            continue
        for reply in (refused, resent):
            assert (reply.status, reply.code) == (429, "RDM000904")
            assert int(reply.headers["retry-after"]) > 80_000
        assert await buyer.balance() == (19_999, 1)


async def test_budgets_of_guesses_pause_a_live_participant_and_nobody_in_the_sandbox(
    redemptions: RedemptionStage,
) -> None:
    live, sandbox = await Buyer.make(redemptions, mode="live"), await Buyer.make(redemptions)
    for buyer, is_paused in ((live, True), (sandbox, False)):
        first = [await buyer.bought(a_purchase(1)) for _ in range(3)]
        for purchase in first[:2]:
            for _ in range(5):
                await buyer.wrong(purchase)
        await buyer.shift(first[2], timedelta(seconds=30))
        replies = [await buyer.buy(a_purchase(1)), await buyer.validate(first[2]), await buyer.resend(first[2])]
        if not is_paused:
            assert [reply.status for reply in replies] == [202, 201, 404]
            continue
        for reply in replies:
            assert (reply.status, reply.code, reason_of(reply)) == (429, "RDM000929", "approver_locked")
            assert int(reply.headers["retry-after"]) > 80_000
        assert (await buyer.read(first[2]))["approval"]["attempts_remaining"] == 5
        assert await buyer.balance() == (19_999, 1)


class Oracle:
    """An item validator and a risk adapter that answer as they are told, and remember what they were asked."""

    def __init__(self, items: Any = ItemVerdict.OK, risk: Any = RiskDecision.APPROVE) -> None:
        self.items, self.risk = items, risk
        self.asked: list[PurchaseRequest] = []

    async def validate(self, request: PurchaseRequest) -> tuple[ItemVerdict, str]:
        self.asked.append(request)
        if isinstance(self.items, Exception):
            raise self.items
        return self.items, "F-100"

    async def decide(self, request: PurchaseRequest) -> RiskDecision:
        if isinstance(self.risk, Exception):
            raise self.risk
        return RiskDecision(self.risk)


def ask(buyer: Buyer, monkeypatch: pytest.MonkeyPatch, oracle: Oracle) -> None:
    desk: Any = buyer.stage.parts.redemption_desk
    monkeypatch.setattr(desk, "_hooks", replace(desk._hooks, validator=oracle, risk=oracle))


@pytest.mark.parametrize(
    ("verdict", "plain", "other"),
    [
        (ItemVerdict.BOLETO_SELF_SERVICE_ONLY, "86", "11"),
        (ItemVerdict.PHONE_INCORRECT, "87", "11"),
        (ItemVerdict.ORDER_NOT_COMPLETED, "97", "11"),
        (ItemVerdict.QUANTITY_LIMIT, "342", "342"),
        (OSError(), "97", "11"),
    ],
)
async def test_the_item_validator_refuses_with_the_code_of_the_kind_of_purchase(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, verdict: Any, plain: str, other: str
) -> None:
    buyers = [await Buyer.make(redemptions, has_phone=False, policy={}), await Buyer.make(redemptions)]
    ask(buyers[0], monkeypatch, Oracle(verdict, RiskDecision.DENY))
    replies = [
        (await buyers[0].buy(), plain),
        (await buyers[0].buy(path="/purchases/authorize"), other),
        (await buyers[1].buy(), other),
    ]
    for reply, code in replies:
        assert (reply.status, reply.code) == (422, code)
    if verdict is ItemVerdict.QUANTITY_LIMIT:
        assert [fault["message"] for fault in replies[0][0].json["sub"]][1] == "F-100"
    for buyer in buyers:
        await nothing_is_left(buyer)


@pytest.mark.parametrize(
    ("decision", "code"),
    [
        (RiskDecision.DENY, "325"),
        (RiskDecision.REJECT, "326"),
        (RiskDecision.EXTERNAL, "328"),
        (RiskDecision.SCORE, "329"),
        (RiskDecision.UNSPECIFIED, "330"),
        (OSError(), "330"),
    ],
)
async def test_the_risk_adapter_refuses_before_anything_of_the_second_factor_is_looked_at(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, decision: Any, code: str
) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False)
    ask(buyer, monkeypatch, Oracle(risk=decision))
    refused = await buyer.buy()
    assert (refused.status, refused.code) == (422, code)
    await nothing_is_left(buyer)


async def test_nobody_outside_is_asked_about_what_is_refused_anyway_or_was_decided(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer, oracle = await Buyer.make(redemptions), Oracle()
    ask(buyer, monkeypatch, oracle)
    await buyer.buy(a_purchase(channel_type="?"))
    assert oracle.asked == []
    for _ in range(2):
        assert (await buyer.buy(idempotency_key="k-1")).status == 202
    (asked,) = oracle.asked
    assert asked.recorded["client_address"] == "127.0.0.1"
    path = f"/campaigns/{buyer.campaign.campaign_id}"
    await redemptions.call("PATCH", path, {"status": "paused"}, headers=await redemptions.operator())
    assert (await buyer.buy()).code == "RDM000914"
    assert len(oracle.asked) == 1


@pytest.mark.parametrize("what", ["document", "number"])
async def test_whoever_is_on_the_block_list_is_denied(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False)
    number = f"+55119{uuid4().int % 10**8:08d}"
    await buyer.owner.activate(number)
    keyring = make_keyring()
    text = number if what == "number" else f"cpf:{buyer.person.document_number}"
    desk: Any = redemptions.parts.redemption_desk
    monkeypatch.setattr(desk, "_rules", PurchaseRules(blocked=frozenset({keyring.index_of(text)})))
    refused = await buyer.buy()
    assert (refused.status, refused.code, refused.json["sub_message"]) == (
        422,
        "325",
        "Entre em contato com a central de atendimento para confirmar algumas informações.",
    )
    await nothing_is_left(buyer)


async def test_a_purchase_whose_reserve_is_not_made_is_not_kept(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However that might come about: alone and with neighbours, under a second factor and without."""
    buyers = [
        await Buyer.make(redemptions, has_phone=has_phone, policy=ENABLED if has_phone else {})
        for has_phone in (True, False)
    ]
    spoiled = purchase_inserts._INSERT.replace("r.debited_points > 0\n    returning", "false\n    returning")
    assert spoiled != purchase_inserts._INSERT
    monkeypatch.setattr(purchase_inserts, "_INSERT", spoiled)
    client = Client(redemptions.app)
    calls = [
        client("POST", "/purchases", a_purchase(10), **{n.lower(): t for n, t in each.headers.items()})
        for each in buyers
    ]
    assert [reply.status for reply in await asyncio.gather(*calls)] == [500, 500]
    for buyer in buyers:
        await nothing_is_left(buyer)
