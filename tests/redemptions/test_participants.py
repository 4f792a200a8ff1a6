"""People of a campaign in their own name, suspended, erased; and what their points do meanwhile."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from aval.operations import end_purchase
from aval.operations.confirm_redemption import keep_judged
from aval.storage.database import Connection
from tests.buyers import Buyer, a_purchase
from tests.factories import Reply
from tests.redemption_stage import RedemptionStage

EXTERNAL = "/purchases/authorize"


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions)


async def operate(buyer: Buyer, method: str, suffix: str = "", body: Any = None, **more: Any) -> Reply:
    """A call of the operator on the buyer."""
    headers = await buyer.stage.operator()
    return await buyer.stage.call(method, f"/participants/{buyer.person.key}{suffix}", body, headers=headers, **more)


async def suspend(buyer: Buyer, status: str = "INACTIVE") -> Reply:
    return await operate(buyer, "PUT", "", {"status": status})


async def test_a_participant_changes_how_they_are_reached_and_nothing_else(buyer: Buyer) -> None:
    change = {
        "emails": [{"email": "nova@example.com", "type": "PERSONAL"}],
        "phones": [{"area_code": "21", "number": "987654321", "type": "MOBILE"}],
        "address": {"street": "Rua Nova"},
    }
    reply = await buyer.ask("PUT", "/participants/me", change)
    assert reply.status == 200 and {name: reply.json[name] for name in change} == change
    assert (await buyer.ask("GET", f"/participants/{buyer.person.key}")).json == reply.json
    for name, value, scope in (
        ("name", "Outra", "participants.write"),
        ("birth_date", "1990-01-01", "participants.write"),
        ("catalog_id", "silver", "participants.write"),
        ("status", "INACTIVE", "participants.admin"),
    ):
        refused = await buyer.ask("PUT", "/participants/me", {name: value, "emails": [{"email": "a@example.com"}]})
        assert (refused.status, refused.code) == (403, "RDM000918")
        assert refused.json["extra_fields"]["scope"] == scope
    assert (await buyer.ask("GET", "/participants/me")).json == reply.json
    other = await Buyer.make(buyer.stage, campaign=buyer.campaign, application=buyer.application, has_phone=False)
    for method, suffix in (("GET", ""), ("PUT", ""), ("GET", "/balance"), ("GET", "/statement")):
        body: Any = {} if method == "PUT" else None
        foreign = await buyer.ask(method, f"/participants/{other.person.key}{suffix}", body, x_correlation_id="c")
        unknown = await buyer.ask(method, f"/participants/{uuid4()}{suffix}", body, x_correlation_id="c")
        assert (foreign.status, foreign.code, foreign.body) == (404, "113", unknown.body)


async def test_the_lines_of_a_purchase_share_its_code_and_stand_newest_first(buyer: Buyer) -> None:
    purchase = await buyer.bought()
    await buyer.validate(purchase)
    statement = (await buyer.ask("GET", "/participants/me/statement")).json
    told = [
        (line["type"], line["value_points"], line["available_after"], line["reserved_after"])
        for line in statement["items"]
    ]
    assert told == [("debit", 8_000, 12_000, 0), ("reserve", 8_000, 12_000, 8_000), ("credit", 20_000, 20_000, 0)]
    ours = statement["items"][:2]
    assert {line["authorization_code"] for line in ours} == {purchase["authorization_code"]}
    assert {line["purchase_id"] for line in ours} == {purchase["id"]}
    assert (await buyer.ask("GET", "/participants/me/balance")).json == {
        "points_value": 12_000,
        "points_value_onhold": 0,
        "total_points_value": 12_000,
        "total_credit_points_value": 20_000,
        "total_debit_points_value": 8_000,
    }


async def test_suspending_rejects_what_waits_for_a_token_and_leaves_what_is_authorized(buyer: Buyer) -> None:
    authorized = await buyer.authorize(a_purchase(3_000))
    await buyer.validate(authorized)
    pending = [await buyer.bought(a_purchase(points)) for points in (1_000, 2_000)]
    assert await buyer.balance() == (14_000, 6_000)
    assert (await suspend(buyer)).json["onboarding_status"] == "suspended"
    for purchase in pending:
        read = await buyer.read(purchase)
        assert (read["status"], read["rejection_reason"]) == ("rejected", "participant_suspended")
        assert await buyer.told(purchase) == ["pending_2fa_approval", "rejected"]
        assert (await buyer.validate(purchase)).code == "RDM000086"
    assert (await buyer.read(authorized))["status"] == "authorized"
    assert await buyer.balance() == (17_000, 3_000)
    refused = await buyer.buy()
    assert (refused.status, refused.code) == (422, "322")
    assert (await buyer.confirm(authorized)).json["status"] == "confirmed"
    assert (await suspend(buyer, "ACTIVE")).json["status"] == "ACTIVE"
    assert (await buyer.buy()).status == 202
    assert await buyer.balance() == (9_000, 8_000)


async def test_of_suspension_and_the_right_token_one_wins(redemptions: RedemptionStage) -> None:
    for _ in range(6):
        buyer = await Buyer.make(redemptions)
        purchase = await buyer.bought()
        token = await buyer.token(purchase)
        validated, suspended = await asyncio.gather(buyer.validate(purchase, token), suspend(buyer))
        assert suspended.status == 200
        won = validated.status == 201
        assert won or validated.code == "RDM000086"
        assert await buyer.ledger(purchase) == ["reserve", "debit" if won else "release"]
        assert await buyer.balance() == ((12_000, 0) if won else (20_000, 0))


async def test_credits_and_debits_at_the_same_moment_add_up(buyer: Buyer) -> None:
    purchases = [await buyer.bought(a_purchase(1_000)) for _ in range(4)]
    tokens = [await buyer.token(purchase) for purchase in purchases]
    pairs = zip(purchases, tokens, strict=True)
    await asyncio.gather(*(buyer.validate(*pair) for pair in pairs), *(buyer.credit(100) for _ in range(4)))
    assert await buyer.balance() == (16_400, 0)


async def test_points_that_are_reserved_are_not_taken_by_an_expiration(buyer: Buyer) -> None:
    await buyer.bought(a_purchase(15_000))
    body = {"type": "expiration", "points": 5_001, "description": "Vencidos"}
    refused = await operate(buyer, "POST", "/credits", body, idempotency_key="k")
    assert (refused.status, refused.code) == (422, "332")
    taken = await operate(buyer, "POST", "/credits", body | {"points": 5_000}, idempotency_key="k")
    assert (taken.status, taken.json["available_after"], taken.json["reserved_after"]) == (201, 0, 15_000)
    assert await buyer.balance() == (0, 15_000)


async def test_nobody_is_erased_while_a_purchase_is_open(buyer: Buyer) -> None:
    purchase = await buyer.authorize()
    refused = await operate(buyer, "POST", "/erase")
    assert (refused.status, refused.json["extra_fields"]["status"]) == (409, "pending_2fa_approval")
    await buyer.validate(purchase)
    refused = await operate(buyer, "POST", "/erase")
    assert (refused.status, refused.json["extra_fields"]["status"]) == (409, "authorized")
    assert (await buyer.ask("GET", "/participants/me")).json["status"] == "ACTIVE"
    await buyer.confirm(purchase)
    assert (await operate(buyer, "POST", "/erase")).status == 200


async def test_who_is_erased_has_no_number_left_and_their_purchases_stay(buyer: Buyer) -> None:
    purchase = await buyer.bought()
    await buyer.validate(purchase)
    mask = buyer.device["masked_number"]
    assert (await operate(buyer, "POST", "/erase")).status == 200
    for table in ("phone_devices", "contacts", "participants", "approvers"):
        rows = await buyer.stage.fetch(f"select * from {table} where integrator_id = $1", buyer.campaign.key)  # noqa: S608
        assert mask not in str(rows) and buyer.person.document_number not in str(rows)
    read = await buyer.stage.call("GET", f"/purchases/{purchase['id']}", headers=await buyer.stage.operator())
    assert (read.status, read.json["status"]) == (200, "confirmed")
    assert read.json["customer"] == {"id": str(buyer.person.key), "name": None, "emails": []}
    assert (await operate(buyer, "GET", "/statement")).json["total"] == 3
    devices = (await operate(buyer, "GET", "/devices")).json["items"]
    assert [device["status"] for device in devices] == ["removed"]
    assert (await buyer.buy()).status == 422


async def test_answers_kept_for_repetitions_go_with_the_person(buyer: Buyer) -> None:
    """They hold name and e-mail, under a key that is not the person's own, and the end of a number."""
    device = await buyer.owner.register()
    assert (await buyer.owner.validate(device, idempotency_key="k")).status == 202
    purchase, canceled = await buyer.bought(), await buyer.bought()
    assert (await buyer.validate(purchase, idempotency_key="k")).json["customer"]["name"] == "Helena Prado Martins"
    assert (await buyer.cancel(canceled, idempotency_key="k")).status == 200
    assert (await operate(buyer, "POST", "/erase")).status == 200
    kept = "select body from idempotency_keys where integrator_id = $1 and path not like '%/credits'"
    assert await buyer.stage.fetch(kept, buyer.campaign.key) == [(None,)] * 3
    again = await buyer.validate(purchase, idempotency_key="k", headers=buyer.impersonated)
    assert b"Helena" not in again.body


async def test_an_answer_on_its_way_is_not_kept_past_an_erasure(buyer: Buyer, monkeypatch: pytest.MonkeyPatch) -> None:
    canceled, is_told, may_keep = await buyer.bought(), asyncio.Event(), asyncio.Event()
    await buyer.cancel(canceled)

    async def slowly(connection: Connection, answered: Any) -> None:
        is_told.set()
        await may_keep.wait()
        await keep_judged(connection, answered)

    monkeypatch.setattr(end_purchase, "keep_judged", slowly)
    answering = asyncio.create_task(buyer.cancel(canceled, idempotency_key="k"))
    await is_told.wait()
    erasing = asyncio.create_task(operate(buyer, "POST", "/erase"))
    await asyncio.sleep(0.2)
    may_keep.set()
    assert [reply.status for reply in await asyncio.gather(answering, erasing)] == [200, 200]
    kept = "select body from idempotency_keys where integrator_id = $1 and path like '/purchases/%'"
    assert await buyer.stage.fetch(kept, buyer.campaign.key) == [(None,)]


async def test_no_log_in_keeps_somebody_else_from_being_erased(buyer: Buyer) -> None:
    await buyer.stage.participant(buyer.campaign, username=str(buyer.person.key))
    assert (await operate(buyer, "POST", "/erase")).status == 200


async def test_of_erasure_and_a_purchase_at_the_same_moment_one_wins(redemptions: RedemptionStage) -> None:
    for _ in range(6):
        buyer = await Buyer.make(redemptions)
        bought, erased = await asyncio.gather(buyer.buy(), operate(buyer, "POST", "/erase"))
        assert (bought.status, erased.status) in ((202, 409), (422, 200)), (bought.body, erased.body)
        await buyer.balance()


async def test_two_erasures_at_the_same_moment_answer_the_same_and_are_one_act(buyer: Buyer) -> None:
    replies = await asyncio.gather(*(operate(buyer, "POST", "/erase") for _ in range(3)))
    assert {(reply.status, reply.body) for reply in replies} == {(200, replies[0].body)}
    acts = await buyer.stage.value(
        "select count(*) from audit where action = 'participant.erased' and integrator_id = $1", buyer.campaign.key
    )
    assert acts == 1


async def test_every_answer_fits_the_document(redemptions: RedemptionStage) -> None:
    assert redemptions.faults == []
