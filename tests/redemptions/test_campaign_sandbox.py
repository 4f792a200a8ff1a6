"""The sandbox of a campaign: its messages, and time that passes on demand (redemptions.md §12, transfers.md §10)."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.buyers import Buyer, id_of
from tests.factories import Reply
from tests.phones import Owner
from tests.redemption_stage import Headers, RedemptionStage


async def inbox(stage: RedemptionStage, headers: Headers, query: str = "") -> list[Any]:
    reply = await stage.call("GET", f"/sandbox/inbox{query}", headers=headers)
    assert reply.status == 200, reply.body
    return list(reply.json["data"])


async def advance(stage: RedemptionStage, headers: Headers, operation: Any, seconds: int) -> Reply:
    return await stage.call("POST", f"/sandbox/operations/{operation}/advance", {"seconds": seconds}, headers=headers)


async def test_the_inbox_holds_what_phones_would_get(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    purchase = await buyer.bought()
    rows = await inbox(redemptions, buyer.of_application)
    assert [(row["operation"], row["operation_key"]) for row in rows] == [
        ("purchase", id_of(purchase)),
        ("device_registration", buyer.device["id"]),
    ]
    assert rows[0]["text"] == (
        f"Clube Exemplo: resgate de 8000 pontos em Loja Sol. Nao compartilhe. Codigo 1: {await buyer.token(purchase)}"
    )
    assert (rows[0]["channel"], rows[0]["subject"], rows[0]["generation"]) == ("sms", None, 1)
    number = rows[0]["destination"]
    assert number[-4:] == buyer.device["masked_number"][-4:]
    of_number = await inbox(redemptions, buyer.of_application, f"?destination={number.replace('+', '%2B')}")
    of_operation = await inbox(redemptions, buyer.of_application, f"?operation_key={id_of(purchase)}")
    assert (of_number, of_operation) == (rows, rows[:1])
    operator = await redemptions.operator("campaigns.write")
    assert await inbox(redemptions, operator, f"?campaign_id={buyer.campaign.campaign_id}") == rows
    other = await Buyer.make(redemptions, has_phone=False)
    assert await inbox(redemptions, other.of_application) == []


async def test_the_clock_of_a_purchase_moves(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions)
    purchase = await buyer.bought()
    token = await buyer.token(purchase)
    moved = await advance(redemptions, buyer.of_application, id_of(purchase), 300)
    assert (moved.status, moved.json["approval"]["attempts_remaining"]) == (200, 5)
    assert (await buyer.validate(purchase, token)).code == "RDM000083"
    assert (await buyer.resend(purchase)).status == 202
    over = await advance(redemptions, await redemptions.operator(), id_of(purchase), 3_600)
    assert (over.status, over.json) == (200, {})
    ended = await buyer.read(purchase)
    assert (ended["status"], ended["rejection_reason"]) == ("rejected", "approval_window_expired")
    assert await buyer.balance() == (20_000, 0)
    assert (await advance(redemptions, buyer.of_application, id_of(purchase), 1)).json == {}


async def test_the_clock_of_a_replacement_moves_by_the_device_and_by_its_operation(
    redemptions: RedemptionStage,
) -> None:
    owner = await Owner.make(redemptions)
    await owner.activate()
    waiting = await owner.register()
    assert (await owner.validate(waiting)).status == 202
    headers, operation = redemptions.as_application(owner.application), await owner.operation(waiting)
    assert "approval" in (await advance(redemptions, headers, operation, 30)).json
    assert (await owner.resend(waiting)).status == 202
    assert (await advance(redemptions, headers, waiting.json["id"], 86_400)).json == {}
    assert await owner.status(waiting) == ("failed", "approval_window_expired")
    assert await owner.events(waiting) == ["device.failed"]
    seconds = await redemptions.fetch(
        "select (details ->> 'seconds')::int from audit where action = 'operation.advanced' and details ->> 'key' = $1"
        " order by at",
        str(operation),
    )
    assert seconds == [(30,), (86_400,)]


async def test_a_live_campaign_has_no_sandbox(redemptions: RedemptionStage) -> None:
    live = await Owner.make(redemptions, await redemptions.campaign(mode="live"))
    made = await live.register()
    application, operator = redemptions.as_application(live.application), await redemptions.operator()
    for reply in (
        await redemptions.call("GET", "/sandbox/inbox", headers=application),
        await advance(redemptions, application, made.json["id"], 60),
    ):
        assert (reply.status, reply.code) == (404, "QIT000404")
    unknown = [
        await redemptions.call("GET", f"/sandbox/inbox?campaign_id={name}", headers=operator)
        for name in (live.campaign.campaign_id, "nobody")
    ]
    unknown += [await advance(redemptions, operator, key, 60) for key in (made.json["id"], uuid4())]
    assert [(reply.status, reply.code, reply.json["extra_fields"]["resource"]) for reply in unknown] == [
        (404, "RDM000910", resource) for resource in ("campaign", "campaign", "operation", "operation")
    ]
    assert await live.status(made) == ("pending_verification", None)
    nameless = await redemptions.call("GET", "/sandbox/inbox", headers=operator)
    assert (nameless.status, nameless.code) == (400, "QIT000001")


async def test_the_sandbox_needs_its_scope_and_shows_no_other_campaign(redemptions: RedemptionStage) -> None:
    buyer, other = await Buyer.make(redemptions), await Buyer.make(redemptions)
    purchase = await buyer.bought()
    assert await inbox(redemptions, other.of_application, f"?operation_key={id_of(purchase)}") == []
    for operation in (id_of(purchase), buyer.device["id"], uuid4()):
        reply = await advance(redemptions, other.of_application, operation, 60)
        assert (reply.status, reply.code) == (404, "RDM000910")
    plain = await redemptions.application(buyer.campaign, scopes=("redemptions.write",))
    reply = await redemptions.call("GET", "/sandbox/inbox", headers=redemptions.as_application(plain))
    assert (reply.status, reply.code) == (403, "RDM000918")
    mine = await redemptions.call("GET", "/sandbox/inbox", headers=buyer.headers)
    assert (mine.status, mine.code) == (401, "103")
    deadline = await redemptions.value(
        "select approval_deadline - issued_at from challenges where operation_id = $1", UUID(id_of(purchase))
    )
    assert deadline.total_seconds() == 3_600


@pytest.mark.parametrize("body", [{}, {"seconds": 0}, {"seconds": 86_401}, {"seconds": "60"}, {"seconds": 60, "x": 1}])
async def test_a_body_of_advance_that_is_none_is_refused(redemptions: RedemptionStage, body: Any) -> None:
    owner = await Owner.make(redemptions)
    made = await owner.register()
    reply = await redemptions.call(
        "POST",
        f"/sandbox/operations/{made.json['id']}/advance",
        body,
        headers=redemptions.as_application(owner.application),
    )
    assert (reply.status, reply.code) == (400, "QIT000001")
