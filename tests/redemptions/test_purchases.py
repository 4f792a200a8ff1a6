"""The life of a purchase (redemptions.md §4): its table of states, its ledger, and what is told of it."""

from datetime import timedelta
from typing import Any

import pytest

from aval.domain.purchase import details_digest
from tests.buyers import ENABLED, Buyer, a_purchase, an_item
from tests.factories import Reply
from tests.redemption_stage import RedemptionStage, reason_of

HOUR = timedelta(hours=1)


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions)


async def test_a_purchase_waits_for_the_token_of_the_registered_phone_and_debits_by_it(buyer: Buyer) -> None:
    body = {
        "channel_type": "MOBILE",
        "items": [
            {
                "name": "Fone de ouvido",
                "quantity": 2,
                "price": {"from": 4500, "for": 4000},
                "vendor": {"id": "loja-sol"},
                "sku_id": "F-100",
            }
        ],
        "shipping_values": [{"vendor_id": "loja-sol", "value_points": 500}],
        "payments": [{"type": "Points", "value_points": 8500}],
    }
    made = await buyer.buy(body, x_correlation_id="app-7f31")
    told = made.json
    assert (made.status, told["status"], told["kind"]) == (202, "pending_2fa_approval", "internal")
    assert (told["value_points"], told["shipping_value_points"], told["total_points"]) == (8000, 500, 8500)
    assert (told["debited_points"], told["catalog_id"], told["origin_correlation_id"]) == (8500, "gold", "app-7f31")
    assert told["payments"] == [{"type": "Points", "value_points": 8500}]
    assert len(told["authorization_code"]) == 12
    (order,) = told["orders"]
    assert (order["status"], order["value_points"], order["points_paid"]) == ("pending", 8500, 8500)
    (item,) = order["items"]
    assert (item["product_id"], item["sku_id"], item["unit_points"]) == ("0", "F-100", 4000)
    approval = told["approval"]
    assert (approval["method"], approval["device_id"]) == ("sms", buyer.device["id"])
    assert approval["masked_destination"] == buyer.device["masked_number"]
    assert (approval["generation"], approval["attempts_remaining"], approval["delivery"]) == (1, 5, "queued")
    assert await buyer.balance() == (11_500, 8_500)
    done = await buyer.validate(made)
    assert (done.status, done.json["status"]) == (201, "confirmed")
    assert "approval" not in done.json and done.json["confirmed_at"] == done.json["updated_at"]
    assert done.json["orders"][0]["status"] == "confirmed"
    assert await buyer.balance() == (11_500, 0)
    assert await buyer.ledger(made) == ["reserve", "debit"]
    assert await buyer.told(made) == ["pending_2fa_approval", "confirmed"]
    assert (await buyer.read(made)) == done.json
    assert (await buyer.validate(made)).code == "RDM000086"


@pytest.mark.parametrize(("path", "status"), [("/purchases", "confirmed"), ("/purchases/authorize", "authorized")])
async def test_without_a_second_factor_nothing_is_asked_and_nothing_sent(
    redemptions: RedemptionStage, path: str, status: str
) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False, policy={})
    made = await buyer.buy(path=path)
    assert (made.status, made.json["status"]) == (201, status)
    assert "approval" not in made.json
    assert await buyer.told(made) == [status]
    assert await buyer.ledger(made) == (["reserve", "debit"] if status == "confirmed" else ["reserve"])
    for table in ("operations", "challenges", "outbox"):
        assert (
            await redemptions.value(f"select count(*) from {table} where integrator_id = $1", buyer.campaign.key) == 0
        )
    assert (await buyer.ask("PUT", f"/purchases/{made.json['id']}/validate_token", {"token": "123456"})).code == (
        "RDM000086"
    )
    assert (await buyer.resend(made)).code == "RDM000086"
    assert (await buyer.read(made))["status"] == status


@pytest.mark.parametrize(
    ("policy", "points", "kind", "is_asked"),
    [
        ({"applies_to": ["external"]}, 5_000, "internal", False),
        ({"applies_to": ["external"]}, 5_000, "external", True),
        ({"min_points": 5_000}, 4_999, "internal", False),
        ({"min_points": 5_000}, 5_000, "internal", True),
    ],
)
async def test_a_second_factor_applies_by_kind_and_points(
    redemptions: RedemptionStage, policy: dict[str, Any], points: int, kind: str, is_asked: bool
) -> None:
    buyer = await Buyer.make(redemptions, policy={"enabled": True, "document_policy": "none", **policy})
    path = "/purchases" if kind == "internal" else "/purchases/authorize"
    made = await buyer.buy(a_purchase(points), path=path)
    assert made.status == (202 if is_asked else 201)
    assert ("approval" in made.json) == is_asked


async def test_an_external_purchase_is_authorized_by_its_token_and_confirmed_by_its_application(buyer: Buyer) -> None:
    made = await buyer.authorize(a_purchase(vendor_order_id="VG-99120"))
    assert (made["status"], made["vendor_order_id"]) == ("pending_2fa_approval", "VG-99120")
    assert (await buyer.confirm(made)).json["extra_fields"]["status"] == "pending_2fa_approval"
    authorized = await buyer.validate(made)
    assert (authorized.status, authorized.json["status"]) == (201, "authorized")
    assert authorized.json["orders"][0]["status"] == "pending"
    assert await buyer.balance() == (12_000, 8_000)
    confirmed = await buyer.confirm(made)
    assert (confirmed.status, confirmed.json["status"]) == (200, "confirmed")
    again = await buyer.confirm(made)
    assert (again.status, again.body) == (200, confirmed.body)
    assert await buyer.balance() == (12_000, 0)
    assert await buyer.ledger(made) == ["reserve", "debit"]
    assert await buyer.told(made) == ["pending_2fa_approval", "authorized", "confirmed"]
    refused = await buyer.cancel(made, headers=buyer.of_application)
    assert (refused.code, refused.json["extra_fields"]) == (
        "RDM000912",
        {"reason": "wrong_status", "status": "confirmed"},
    )


async def test_points_and_a_card_of_the_partner_pay_an_external_purchase(buyer: Buyer) -> None:
    payments = [{"type": "Points", "value_points": 15_000}, {"type": "ExternalCreditCard", "value_points": 7_000}]
    made = await buyer.authorize(a_purchase(22_000, payments=payments))
    assert (made["total_points"], made["debited_points"], made["payments"]) == (22_000, 15_000, payments)
    assert made["orders"][0]["points_paid"] == 15_000
    assert await buyer.balance() == (5_000, 15_000)


@pytest.mark.parametrize("mode", ["sandbox", "live"])
@pytest.mark.parametrize("policy", [{}, ENABLED], ids=["plain", "two factors"])
async def test_what_a_card_pays_alone_needs_no_token_and_writes_no_ledger(
    redemptions: RedemptionStage, policy: dict[str, Any], mode: str
) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False, policy=policy, mode=mode, points=0)
    payments = [{"type": "ExternalCreditCard", "value_points": 9_000}]
    items = [an_item(4_000), an_item(5_000, "viagens"), an_item(0, "viagens")]
    body = a_purchase(items=items, payments=payments)
    replies = [await buyer.buy(body, path="/purchases/authorize", idempotency_key=key) for key in ("1", "1", "2")]
    assert [reply.status for reply in replies] == [201] * 3
    made, again, other = (reply.json for reply in replies)
    assert made == again and made["id"] != other["id"]
    assert (made["status"], made["debited_points"]) == ("authorized", 0)
    assert [order["points_paid"] for order in made["orders"]] == [0, 0]
    assert (await buyer.confirm(made)).status == 200
    assert (await buyer.cancel(other, headers=buyer.of_application)).status == 200
    assert [order["status"] for each in (made, other) for order in (await buyer.read(each))["orders"]] == [
        *("confirmed", "confirmed"),
        *("canceled", "canceled"),
    ]
    assert (await buyer.told(made), await buyer.told(other)) == (
        ["authorized", "confirmed"],
        ["authorized", "canceled"],
    )
    assert await buyer.ledger(made) == await buyer.ledger(other) == []
    assert await buyer.balance() == (0, 0)
    path = f"/orders/{made['orders'][0]['id']}/reversals"
    body = {"executeTotalRefund": True, "refundType": 1, "refundMotiveId": 5}
    nothing = await redemptions.call("POST", path, body, headers=await redemptions.operator("reversals.write"))
    assert (nothing.status, nothing.code) == (422, "RDM000915")


async def test_free_items_are_bought_and_given_back_with_the_rest(buyer: Buyer) -> None:
    """An order of free items alone is confirmed, and has nothing to give back."""
    made = await buyer.bought(a_purchase(items=[an_item(0), an_item(0, quantity=3), an_item(10, "viagens")]))
    assert (await buyer.validate(made)).status == 201
    free, paid = (await buyer.read(made))["orders"]
    assert [(order["value_points"], order["points_paid"], order["status"]) for order in (free, paid)] == [
        (0, 0, "confirmed"),
        (10, 10, "confirmed"),
    ]
    operator = await buyer.stage.operator("reversals.write")
    body = {"executeTotalRefund": True, "refundType": 1, "refundMotiveId": 5}
    replies = [
        await buyer.stage.call("POST", f"/orders/{order['id']}/reversals", body, headers=operator)
        for order in (free, paid)
    ]
    assert [(reply.status, reply.code) for reply in replies] == [(422, "RDM000915"), (201, None)]
    after = await buyer.read(made)
    assert (after["status"], [order["status"] for order in after["orders"]]) == ("reversed", ["confirmed", "reversed"])
    assert await buyer.balance() == (20_000, 0)


@pytest.mark.parametrize("policy", [{}, ENABLED], ids=["plain", "two factors"])
async def test_a_hundred_items_of_a_hundred_vendors_have_keys_of_their_own(
    redemptions: RedemptionStage, policy: dict[str, Any]
) -> None:
    vendors = {f"loja-{number}": f"Loja {number}" for number in range(100)}
    buyer = await Buyer.make(redemptions, policy=policy, has_phone=bool(policy), vendors=vendors)
    shipping = [{"vendor_id": vendor, "value_points": 1} for vendor in vendors]
    items = [an_item(number, vendor) for number, vendor in enumerate(vendors)]
    made = await buyer.bought(a_purchase(items=items, shipping_values=shipping))
    if policy:
        assert (await buyer.validate(made)).status == 201
    read = await buyer.read(made)
    keys = [made["id"], *(each["id"] for order in read["orders"] for each in (order, *order["items"]))]
    assert len(set(keys)) == len(keys) == 201
    assert [order["vendor_id"] for order in read["orders"]] == list(vendors)
    assert [order["value_points"] for order in read["orders"]] == list(range(1, 101))
    last = read["orders"][-1]["id"]
    told = await buyer.ask("GET", f"/orders/{last}")
    assert (told.json["purchase_id"], told.json["vendor_id"]) == (made["id"], "loja-99")


async def test_a_purchase_has_one_order_for_each_vendor_in_the_order_of_its_items(buyer: Buyer) -> None:
    items = [an_item(100, "viagens"), an_item(200), an_item(300, "viagens", quantity=2)]
    made = await buyer.bought(a_purchase(items=items, shipping_values=[{"vendor_id": "loja-sol", "value_points": 50}]))
    assert [(order["vendor_id"], order["value_points"], len(order["items"])) for order in made["orders"]] == [
        ("viagens", 700, 2),
        ("loja-sol", 250, 1),
    ]
    assert made["total_points"] == 950


async def test_five_wrong_tokens_reject_the_purchase_and_give_the_points_back(buyer: Buyer) -> None:
    made = await buyer.bought()
    for left in (4, 3, 2, 1):
        reply = await buyer.wrong(made)
        assert (reply.status, reply.code, reply.json["extra_fields"]) == (
            400,
            "RDM000084",
            {"reason": "incorrect_token", "attempts_remaining": left},
        )
    last = await buyer.wrong(made)
    assert (last.status, last.code) == (400, "RDM000082")
    assert last.json["extra_fields"] == {
        "reason": "attempts_exceeded",
        "purchase_data": {
            "id": made["id"],
            "status": "rejected",
            "rejection_reason": "attempts_exceeded",
            "total_points": 8_000,
            "debited_points": 8_000,
            "created_at": made["created_at"],
        },
    }
    assert await buyer.balance() == (20_000, 0)
    for later in (await buyer.validate(made), await buyer.wrong(made), await buyer.resend(made)):
        assert (later.status, later.code, later.body) == (400, "RDM000082", last.body)
    assert await buyer.ledger(made) == ["reserve", "release"]
    assert await buyer.told(made) == ["pending_2fa_approval", "rejected"]
    assert (await buyer.read(made))["orders"][0]["status"] == "canceled"


async def test_a_right_fifth_attempt_succeeds(buyer: Buyer) -> None:
    made = await buyer.bought()
    for _ in range(4):
        await buyer.wrong(made)
    assert (await buyer.validate(made)).status == 201


@pytest.mark.parametrize("body", [None, {}, {"token": None}, {"token": ""}])
async def test_a_missing_token_uses_no_attempt(buyer: Buyer, body: Any) -> None:
    made = await buyer.bought()
    reply = await buyer.ask("PUT", f"/purchases/{made['id']}/validate_token", body)
    assert (reply.status, reply.code) == (400, "RDM000110")
    assert (await buyer.read(made))["approval"]["attempts_remaining"] == 5


@pytest.mark.parametrize("token", ["12345", "1234567", "12 456", "ção123", "ABC-12"])
async def test_a_malformed_token_uses_no_attempt(buyer: Buyer, token: str) -> None:
    made = await buyer.bought()
    reply = await buyer.validate(made, token)
    assert (reply.status, reply.code) == (400, "QIT000001")
    assert (await buyer.read(made))["approval"]["attempts_remaining"] == 5


async def test_a_token_is_read_as_people_write_it(buyer: Buyer) -> None:
    made = await buyer.bought()
    token = (await buyer.token(made)).lower().replace("1", "l").replace("0", "o")
    assert (await buyer.validate(made, f"  {token} ")).status == 201


async def test_letters_are_wrong_where_tokens_are_digits(redemptions: RedemptionStage) -> None:
    policy = {"enabled": True, "document_policy": "none", "token_alphabet": "digits"}
    buyer = await Buyer.make(redemptions, policy=policy)
    made = await buyer.bought()
    assert (await buyer.token(made)).isdigit()
    reply = await buyer.validate(made, "ABCDEF")
    assert (reply.code, reply.json["extra_fields"]["attempts_remaining"]) == ("RDM000084", 4)
    assert (await buyer.validate(made)).status == 201


async def test_an_expired_token_is_not_compared_and_a_new_one_works(buyer: Buyer) -> None:
    made = await buyer.bought()
    await buyer.shift(made, timedelta(minutes=5))
    right, other = await buyer.validate(made), await buyer.wrong(made)
    assert (right.status, right.code, right.body) == (400, "RDM000083", other.body)
    sent = await buyer.resend(made)
    approval = sent.json["approval"]
    assert (sent.status, approval["generation"], approval["attempts_remaining"]) == (202, 2, 5)
    assert (await buyer.validate(made, await buyer.token(made, 1))).json["extra_fields"] == {
        "reason": "superseded_token",
        "attempts_remaining": 4,
    }
    assert (await buyer.validate(made)).status == 201


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("body", [None, {}, {"contact_type": "sms"}])
async def test_a_resend_takes_nothing_but_the_one_channel(buyer: Buyer, method: str, body: Any) -> None:
    made = await buyer.bought()
    await buyer.shift(made, timedelta(seconds=30))
    sent = await buyer.resend(made, method=method, body=body)
    assert (sent.status, sent.json["status"], sent.json["approval"]["generation"]) == (202, "pending_2fa_approval", 2)


@pytest.mark.parametrize("body", [{"contact_type": "email"}, {"device_id": "x"}, {"number": "+5511999990000"}])
async def test_no_field_of_a_resend_can_name_a_destination(buyer: Buyer, body: Any) -> None:
    made = await buyer.bought()
    await buyer.shift(made, timedelta(seconds=30))
    assert (await buyer.resend(made, body=body)).code == "QIT000001"


async def test_a_resend_keeps_its_interval_and_its_number(redemptions: RedemptionStage) -> None:
    policy = {"enabled": True, "document_policy": "none", "max_resends": 2, "resend_interval_seconds": 60}
    buyer = await Buyer.make(redemptions, policy=policy)
    made = await buyer.bought()
    soon = await buyer.resend(made)
    assert (soon.status, soon.code) == (429, "RDM000903")
    assert 55 <= int(soon.headers["retry-after"]) <= 60
    for left in (True, False):
        await buyer.shift(made, timedelta(seconds=60))
        sent = await buyer.resend(made)
        assert (sent.json["approval"]["can_resend_at"] is not None) == left
    over = await buyer.resend(made)
    assert (over.status, over.code) == (429, "RDM000904")
    assert 3_400 <= int(over.headers["retry-after"]) <= 3_480
    assert await buyer.told(made) == ["pending_2fa_approval"]


@pytest.mark.parametrize("act", ["validate", "resend", "cancel", "read"])
async def test_whoever_comes_after_the_window_ends_the_purchase(buyer: Buyer, act: str) -> None:
    made = await buyer.bought()
    token = await buyer.token(made)
    await buyer.shift(made, HOUR)
    replies: dict[str, Any] = {
        "validate": lambda: buyer.validate(made, token),
        "resend": lambda: buyer.resend(made),
        "cancel": lambda: buyer.cancel(made),
        "read": lambda: buyer.ask("GET", f"/purchases/{made['id']}"),
    }
    reply: Reply = await replies[act]()
    if act == "read":
        assert (reply.json["status"], reply.json["rejection_reason"]) == ("rejected", "approval_window_expired")
    elif act == "cancel":
        assert (reply.code, reply.json["extra_fields"]["status"]) == ("RDM000912", "rejected")
    else:
        assert (reply.status, reply.code) == (404, "RDM000086")
    assert await buyer.balance() == (20_000, 0)
    assert await buyer.told(made) == ["pending_2fa_approval", "rejected"]
    assert (await buyer.read(made))["status_history"][-1]["reason"] == "approval_window_expired"


async def test_a_participant_cancels_what_is_pending_and_not_what_is_authorized(buyer: Buyer) -> None:
    made = await buyer.bought()
    canceled = await buyer.cancel(made)
    assert (canceled.status, canceled.json["status"], "approval" in canceled.json) == (200, "canceled", False)
    assert (await buyer.cancel(made)).body == canceled.body
    assert await buyer.told(made) == ["pending_2fa_approval", "canceled"]
    assert (await buyer.validate(made)).code == "RDM000086"
    external = await buyer.authorize()
    await buyer.validate(external)
    refused = await buyer.cancel(external)
    assert (refused.code, refused.json["extra_fields"]["status"]) == ("RDM000912", "authorized")
    assert await buyer.balance() == (12_000, 8_000)
    assert (await buyer.cancel(external, headers=buyer.of_application)).json["status"] == "canceled"
    assert await buyer.balance() == (20_000, 0)
    assert await buyer.told(external) == ["pending_2fa_approval", "authorized", "canceled"]


async def test_confirming_is_for_applications_and_external_purchases(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, policy={})
    internal = await buyer.bought()
    refused = await buyer.confirm(internal)
    assert (refused.status, refused.code) == (409, "RDM000912")
    external = await buyer.authorize()
    own = await buyer.confirm(external, headers=buyer.headers)
    assert (own.status, own.code) == (401, "103")
    assert (await buyer.confirm(external, headers=buyer.impersonated)).json["status"] == "confirmed"


async def test_an_authorization_ends_after_its_time(redemptions: RedemptionStage) -> None:
    policy = {"enabled": True, "document_policy": "none", "authorization_ttl_minutes": 10}
    buyer = await Buyer.make(redemptions, policy=policy)
    made = await buyer.authorize()
    await redemptions.policy(buyer.campaign, enabled=False, authorization_ttl_minutes=20_000)
    authorized = await buyer.validate(made)
    minutes = await redemptions.value(
        "select extract(epoch from authorized_until - updated_at) / 60 from purchases where purchase_id = $1::uuid",
        made["id"],
    )
    assert minutes == 10 and authorized.json["authorized_until"] is not None
    await buyer.shift_authorization(made, timedelta(minutes=10))
    late = await buyer.confirm(made)
    assert (late.status, late.code, late.json["extra_fields"]["status"]) == (409, "RDM000912", "expired")
    assert await buyer.told(made) == ["pending_2fa_approval", "authorized", "expired"]
    assert await buyer.ledger(made) == ["reserve", "release"]
    assert await buyer.balance() == (20_000, 0)


async def test_a_change_of_the_policy_does_not_touch_a_purchase_in_flight(redemptions: RedemptionStage) -> None:
    policy = {"enabled": True, "document_policy": "none", "max_resends": 1, "approval_window_minutes": 30}
    buyer = await Buyer.make(redemptions, policy=policy)
    made = await buyer.bought()
    await redemptions.policy(buyer.campaign, enabled=False)
    assert (await buyer.read(made))["policy_version"] == 2
    assert (await buyer.read(made))["status"] == "pending_2fa_approval"
    await buyer.shift(made, timedelta(seconds=30))
    assert (await buyer.resend(made)).json["approval"]["can_resend_at"] is None
    assert (await buyer.validate(made)).json["status"] == "confirmed"
    assert (await buyer.bought())["policy_version"] == 3


@pytest.mark.parametrize("act", ["remove", "block", "reset", "replace", "suspend"])
async def test_a_change_of_the_phone_or_a_suspension_ends_pending_purchases(
    redemptions: RedemptionStage, act: str
) -> None:
    policy = {"enabled": True, "document_policy": "none", "device_change_cooldown_hours": 0}
    buyer = await Buyer.make(redemptions, policy=policy)
    pending = [await buyer.bought(a_purchase(1_000)) for _ in range(2)]
    authorized = await buyer.authorize(a_purchase(3_000))
    await buyer.validate(authorized)
    owner = buyer.owner
    if act == "remove":
        assert (await owner.remove(buyer.device)).status == 204
    elif act == "replace":
        await owner.activate()
    elif act == "suspend":
        path = f"/participants/{buyer.person.key}"
        reply = await redemptions.call("PUT", path, {"status": "INACTIVE"}, headers=await redemptions.operator())
        assert reply.status == 200, reply.body
    else:
        assert (await owner.operate(buyer.device, act)).status == 200
    reason = "participant_suspended" if act == "suspend" else "device_changed"
    for purchase in pending:
        assert await buyer.told(purchase) == ["pending_2fa_approval", "rejected"]
        told = await redemptions.fetch(
            "select p.rejection_reason, c.rejection_reason, c.status from purchases p"
            " join challenges c on c.operation_id = p.purchase_id where p.purchase_id = $1::uuid",
            purchase["id"],
        )
        assert told == [(reason, reason, "rejected")]
    assert await buyer.balance() == (17_000, 3_000)
    assert await buyer.told(authorized) == ["pending_2fa_approval", "authorized"]


async def test_an_impersonator_buys_for_the_participant_and_the_token_goes_to_the_same_phone(buyer: Buyer) -> None:
    made = await buyer.bought(headers=buyer.impersonated)
    assert made["impersonator_user"] == "atendente-22"
    assert made["approval"]["device_id"] == buyer.device["id"]
    assert await buyer.stage.fetch("select contact_id::text from outbox where operation_id = $1::uuid", made["id"]) == [
        (buyer.device["id"],)
    ]
    assert (await buyer.validate(made, headers=buyer.impersonated)).status == 201
    actors = await buyer.stage.fetch("select distinct actor from audit where operation_id = $1::uuid", made["id"])
    assert actors == [(f"application:{buyer.application.key.application_key}/atendente-22",)]


async def test_customer_and_shipping_are_told_back_and_default_to_the_participants(buyer: Buyer) -> None:
    made = await buyer.bought()
    assert made["customer"]["name"] == buyer.person.participant.name and made["shipping"] is None
    customer, shipping = {"nome": "Outra Pessoa", "cpf": "31860492533"}, {"rua": "Rua A", "numero": 10}
    other = await buyer.bought(a_purchase(100, customer=customer, shipping=shipping, parameters={"a": [1, None]}))
    assert (other["customer"], other["shipping"]) == (customer, shipping)
    assert (await buyer.read(other))["customer"] == customer
    rows = await buyer.stage.fetch("select p::text from purchases p where integrator_id = $1", buyer.campaign.key)
    events = await buyer.stage.fetch("select body from events where integrator_id = $1", buyer.campaign.key)
    assert not any("Outra Pessoa" in text or "31860492533" in text for (text,) in rows + events)


async def test_events_carry_the_id_of_the_origin_and_of_what_moved_the_purchase(buyer: Buyer) -> None:
    made = await buyer.bought(x_correlation_id="app-1")
    await buyer.validate(made, x_correlation_id="app-2")
    rows = await buyer.stage.fetch(
        "select correlation_id, body::jsonb ->> 'correlation_id', body::jsonb -> 'data' ->> 'origin_correlation_id',"
        " body::jsonb -> 'data' ? 'approval', body::jsonb -> 'data' ? 'customer' from events"
        " where operation_id = $1::uuid order by sequence",
        made["id"],
    )
    assert rows == [("app-1", "app-1", "app-1", False, False), ("app-2", "app-2", "app-1", False, False)]


async def test_a_resend_to_a_phone_that_takes_no_messages_is_refused(buyer: Buyer) -> None:
    made = await buyer.bought()
    await buyer.shift(made, timedelta(seconds=30))
    await buyer.stage.execute(
        "update phone_devices set undeliverable_at = clock_timestamp() where participant_id = $1", buyer.person.key
    )
    refused = await buyer.resend(made)
    assert (refused.status, refused.code, reason_of(refused)) == (422, "11", "phone_incorrect")
    assert (await buyer.read(made))["approval"]["generation"] == 1


async def test_without_the_key_of_a_token_nothing_is_compared(buyer: Buyer) -> None:
    made = await buyer.bought()
    token = await buyer.token(made)
    await buyer.stage.execute("update challenges set kid = 'gone' where operation_id = $1::uuid", made["id"])
    refused = await buyer.validate(made, token)
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "120", "5")
    assert (await buyer.read(made))["approval"]["attempts_remaining"] == 5
    buyer.stage.faults[:] = [fault for fault in buyer.stage.faults if not fault.endswith("server error")]


async def test_what_a_message_tells_is_what_the_token_is_bound_to(buyer: Buyer) -> None:
    made = await buyer.bought(a_purchase(items=[an_item(100), an_item(50, "viagens")]))
    ((facts, digest),) = await buyer.stage.fetch(
        "select facts, details_digest from operations where operation_id = $1::uuid", made["id"]
    )
    assert (facts["points"], facts["vendors"], facts["device_id"]) == (
        150,
        ["Loja Sol", "Viagens"],
        buyer.device["id"],
    )
    assert details_digest(facts) == digest
