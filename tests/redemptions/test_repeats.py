"""Calls once things have moved on: repeated under their key, or past a deadline (redemptions.md §4.2, §4.5)."""

from datetime import timedelta
from uuid import UUID

from tests.buyers import Buyer, a_purchase
from tests.phones import Owner
from tests.redemption_stage import RedemptionStage


async def test_a_creation_repeated_after_its_window_answers_the_rejection_it_brings_about(
    redemptions: RedemptionStage,
) -> None:
    buyer = await Buyer.make(redemptions)
    made = await buyer.buy(idempotency_key="resgate-1")
    await buyer.shift(made, timedelta(minutes=61))
    again = await buyer.buy(idempotency_key="resgate-1")
    assert (again.status, again.json["id"]) == (202, made.json["id"])
    assert (again.json["status"], again.json["rejection_reason"]) == ("rejected", "approval_window_expired")
    assert "approval" not in again.json
    assert await buyer.balance() == (20_000, 0)
    assert await buyer.told(made) == ["pending_2fa_approval", "rejected"]


async def test_an_order_read_after_the_window_of_its_purchase_is_canceled(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    made = await buyer.bought()
    await buyer.shift(made, timedelta(minutes=61))
    order = await buyer.ask("GET", f"/orders/{made['orders'][0]['id']}")
    assert (order.status, order.json["status"]) == (200, "canceled")
    assert await buyer.told(made) == ["pending_2fa_approval", "rejected"]
    assert await buyer.balance() == (20_000, 0)


async def test_an_authorization_repeated_after_its_time_answers_its_expiry(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False, policy={"authorization_ttl_minutes": 5})
    made = await buyer.buy(path="/purchases/authorize", idempotency_key="viagem-1")
    await buyer.shift_authorization(made, timedelta(minutes=6))
    again = await buyer.buy(path="/purchases/authorize", idempotency_key="viagem-1")
    assert (again.status, again.json["status"]) == (201, "expired")
    assert await buyer.ledger(made) == ["reserve", "release"]


async def test_another_body_under_the_key_of_a_resend_is_a_conflict(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    made = await buyer.buy()
    await buyer.shift(made, timedelta(seconds=31))
    path = f"/purchases/{made.json['id']}/resend_token"
    sent = await buyer.ask("PUT", path, {}, idempotency_key="reenvio-1")
    again = await buyer.ask("PUT", path, idempotency_key="reenvio-1")
    other = await buyer.ask("PUT", path, {"contact_type": "sms"}, idempotency_key="reenvio-1")
    assert (sent.status, again.status, again.body) == (202, 202, sent.body)
    assert (other.status, other.code) == (409, "RDM000902")


async def test_an_application_may_repeat_the_call_that_proved_the_first_device(redemptions: RedemptionStage) -> None:
    owner = await Owner.make(redemptions)
    headers = redemptions.as_impersonator(owner.application, owner.campaign, owner.person)
    device = (await owner.register()).json
    body = {"token": await owner.token(device)}
    path = f"/participants/me/devices/{device['id']}/validate_token"
    proven, again, anew = [
        await redemptions.call("PUT", path, body, headers=headers, idempotency_key=key)
        for key in ("prova-1", "prova-1", "prova-2")
    ]
    assert proven.status == 201
    assert (again.status, again.body) == (201, proven.body)
    assert anew.code == "RDM000917"


async def test_events_tell_who_acted_for_the_participant(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    made = await buyer.buy(a_purchase(100), headers=buyer.impersonated)
    (told,) = await redemptions.fetch(
        "select body::jsonb -> 'data' ->> 'impersonator_user' from events where operation_id = $1",
        UUID(made.json["id"]),
    )
    assert told == ("atendente-22",)
