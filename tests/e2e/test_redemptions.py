"""A redemption through everything that is real: phone, documents, purchase, token, reversal, webhooks, a killed API.

`aval serve` and `aval worker`, the issuer of participant tokens, and PostgreSQL are processes of their own; messages
leave through a gateway, webhooks arrive at a receiver. The only shortcut is how the operator came to be.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.e2e.loyalty import Loyalty
from tests.oidc_issuer import issuing
from tests.proof.deployment import RunningAval, running_deployment
from tests.receiver import receiving
from tests.sms_gateway import SmsGateway, running_sms_gateway
from tests.stage import until, wrong

POLICY = {"enabled": True, "min_points": 1000, "document_policy": "approved"}
BASKET = {
    "channel_type": "MOBILE",
    "items": [{"name": "Fone de ouvido", "quantity": 2, "price": {"for": 4000}, "vendor": {"id": "loja-sol"}}],
    "shipping_values": [{"vendor_id": "loja-sol", "value_points": 500}],
}
CHEAP = {"channel_type": "MOBILE", "items": [{**BASKET["items"][0], "quantity": 1, "price": {"for": 500}}]}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SmsGateway]:
    async with running_sms_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
async def deployment(gateway: SmsGateway) -> AsyncIterator[RunningAval]:
    async with running_deployment(apis=1, workers=1, AVAL_JWKS_RETRY="1", AVAL_SMS_GATEWAY_URL=gateway.url) as running:
        yield running


@pytest.fixture
async def loyalty(deployment: RunningAval, gateway: SmsGateway, tmp_path: Path) -> AsyncIterator[Loyalty]:
    async with issuing(tmp_path) as issuer, receiving() as receiver, aiohttp.ClientSession() as session:
        yield await Loyalty.opened(deployment, issuer, gateway, receiver, session)


async def switch_on(loyalty: Loyalty) -> None:
    path = f"/campaigns/{loyalty.campaign}/two_factor"
    policy = await loyalty.operate("PUT", path, {"expected_version": 1, **POLICY})
    assert (policy["version"], policy["enabled"]) == (2, True)
    own = await loyalty.ask("PUT", path, {"expected_version": 2}, headers=loyalty.keys)
    assert (own.status, own.json["code"]) == (403, "RDM000918")


async def register_phone(loyalty: Loyalty) -> Any:
    """The participant's phone, proven by the token it received."""
    path = "/participants/me/devices"
    device = await loyalty.act("POST", path, {"type": "phone", "number": loyalty.number}, expect=202)
    assert device["approval"]["masked_destination"] == device["masked_number"] != loyalty.number
    token = await loyalty.token()
    proven = await loyalty.act("PUT", f"{path}/{device['id']}/validate_token", {"token": token}, expect=201)
    assert (proven["status"], "approval" in proven) == ("active", False)
    return device


async def onboard(loyalty: Loyalty) -> None:
    """Phone and documents; a reviewer approves."""
    await switch_on(loyalty)
    await register_phone(loyalty)
    for document in [await loyalty.document("rg", "front", "back"), await loyalty.document("selfie", "single")]:
        decided = await loyalty.operate("POST", f"/documents/{document}/decision", {"decision": "approve"})
        assert decided["status"] == "approved"
    onboarding = await loyalty.act("GET", "/participants/me/onboarding", expect=200)
    assert (onboarding["status"], onboarding["missing"], onboarding["can_redeem"]) == ("complete", [], True)
    credit = {"type": "credit", "points": 20_000, "description": "Campanha de verão"}
    await loyalty.operate(
        "POST", f"/participants/{loyalty.helena}/credits", credit, expect=201, **{"Idempotency-Key": "verao"}
    )


async def points_of(loyalty: Loyalty) -> tuple[int, int]:
    balance = await loyalty.act("GET", "/participants/me/balance", expect=200)
    return balance["points_value"], balance["points_value_onhold"]


async def test_from_a_policy_to_points_that_come_back(loyalty: Loyalty) -> None:
    early = await loyalty.ask("POST", "/purchases", BASKET, headers=loyalty.as_helena())
    assert (early.status, early.json["code"]) == (422, "332")  # no points yet, and no second factor either
    await onboard(loyalty)

    former = loyalty.as_helena()
    loyalty.issuer.rotate("ec-2")
    await until(lambda: is_known(loyalty))
    purchase = await loyalty.act("POST", "/purchases", BASKET, expect=202)
    late = await loyalty.ask("GET", "/purchases/me", headers=former)
    assert (late.status, late.json["code"]) == (401, "GDF000014")  # its key is no longer told of

    approval = purchase["approval"]
    assert (purchase["status"], purchase["debited_points"]) == ("pending_2fa_approval", 8500)
    assert (approval["masked_destination"][-4:], approval["attempts_remaining"]) == (loyalty.number[-4:], 5)
    assert await points_of(loyalty) == (11_500, 8_500)

    token, path = await loyalty.token(after=1), f"/purchases/{purchase['id']}"
    refused = await loyalty.act("PUT", f"{path}/validate_token", {"token": wrong(token)}, expect=400)
    assert (refused["code"], refused["extra_fields"]) == (
        "RDM000084",
        {"reason": "incorrect_token", "attempts_remaining": 4},
    )
    confirmed = await loyalty.act("PUT", f"{path}/validate_token", {"token": token}, expect=201)
    assert (confirmed["status"], "approval" in confirmed) == ("confirmed", False)
    assert await points_of(loyalty) == (11_500, 0)
    again = await loyalty.act("PUT", f"{path}/validate_token", {"token": token}, expect=404)
    assert again["code"] == "RDM000086"

    await reverse(loyalty, confirmed["orders"][0])
    assert await points_of(loyalty) == (20_000, 0)
    assert (await loyalty.act("GET", path, expect=200))["status"] == "reversed"

    told = await loyalty.told()
    assert [kind for _, kind in told[UUID(purchase["id"])]] in PURCHASE_STORIES
    assert {kind for events in told.values() for _, kind in events} == EVENTS
    assert [numbers for numbers in map(sequences, told.values()) if numbers != list(range(1, len(numbers) + 1))] == []
    assert [text for text in loyalty.texts() if "R$" in text or "http" in text] == []


async def is_known(loyalty: Loyalty) -> bool:
    """Whether the issuer's new key is: it is asked for at most once a second here."""
    return (await loyalty.ask("GET", "/purchases/me", headers=loyalty.as_helena())).status == 200


PURCHASE_STORIES = [
    ["purchase.pending_2fa_approval", "purchase.confirmed", *first, *second]
    for first in (
        ("order.reversed", "purchase.partially_reversed"),
        ("purchase.partially_reversed", "order.reversed"),
    )
    for second in (("order.reversed", "purchase.reversed"), ("purchase.reversed", "order.reversed"))
]
EVENTS = {
    *("two_factor.policy_changed", "device.activated", "document.submitted", "document.approved"),
    *("onboarding.completed", "points.credited", "purchase.pending_2fa_approval", "purchase.confirmed"),
    *("order.reversed", "purchase.partially_reversed", "purchase.reversed"),
}


def sequences(events: list[tuple[int, str]]) -> list[int]:
    return [number for number, _ in events]


async def reverse(loyalty: Loyalty, order: Any) -> None:
    """One of two items first, then the rest with its shipping."""
    path = f"/orders/{order['id']}/reversals"
    line = {"orderItemId": order["items"][0]["id"], "refundQuantity": 1, "refundValue": 0}
    body = {"executeTotalRefund": False, "refundType": 1, "refundMotiveId": 5, "orderItems": [line]}
    part = await loyalty.operate("POST", path, body, expect=201)
    assert (part["kind"], part["total"]) == ("quantity", 4000)
    body = {"executeTotalRefund": True, "refundType": 1, "refundMotiveId": 5, "refundShippingValue": 500}
    rest = await loyalty.operate("POST", path, body, expect=201)
    assert (rest["points"], rest["shipping_points"], rest["total"]) == (4000, 500, 4500)


async def test_a_killed_api_forgets_no_purchase_and_makes_none_twice(loyalty: Loyalty) -> None:
    await onboard(loyalty)
    named = {"Idempotency-Key": "resgate-5531"}

    async with held_account(loyalty) as is_waited_for:
        await loyalty.lose("/purchases", BASKET, is_waited_for, **named)  # killed within the transaction
    assert await purchases_of(loyalty) == []
    assert await points_of(loyalty) == (20_000, 0)

    async def is_stored() -> None:
        await until(lambda: purchases_of(loyalty))

    await loyalty.lose("/purchases", BASKET, is_stored, **named)  # killed after its commit, the answer unread
    repeated = [await loyalty.act("POST", "/purchases", BASKET, expect=202, **named) for _ in range(2)]
    assert [UUID(purchase["id"]) for purchase in repeated] == await purchases_of(loyalty) * 2
    assert await points_of(loyalty) == (11_500, 8_500)

    token, key = await loyalty.token(after=1), repeated[0]["id"]
    confirmed = await loyalty.act("PUT", f"/purchases/{key}/validate_token", {"token": token}, expect=201)
    assert confirmed["status"] == "confirmed"
    cheap = await loyalty.act("POST", "/purchases", CHEAP, expect=201)
    assert (cheap["status"], "approval" in cheap) == ("confirmed", False)  # below the policy's points
    told = await loyalty.told()
    assert sequences(told[UUID(key)]) == [1, 2]
    assert len(loyalty.texts()) == 2  # of the phone and of the purchase


@asynccontextmanager
async def held_account(loyalty: Loyalty) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Hold the lock of the participant's points; lends what waits until somebody else waits for it."""
    async with loyalty.aval.db.transaction() as connection:
        await connection.execute(
            "select from aval.points_accounts where participant_id = $1 for update", loyalty.helena
        )

        async def is_waited_for() -> None:
            await until(lambda: waiting(loyalty))

        yield is_waited_for


async def waiting(loyalty: Loyalty) -> bool:
    async with loyalty.aval.db.connection() as connection:
        found: bool = await connection.fetchval(
            "select exists (select from pg_stat_activity"
            " where wait_event_type = 'Lock' and query like '%participants%')"
        )
    return found


async def purchases_of(loyalty: Loyalty) -> list[UUID]:
    async with loyalty.aval.db.connection() as connection:
        rows = await connection.fetch(
            "select purchase_id from aval.purchases where participant_id = $1", loyalty.helena
        )
    return [row["purchase_id"] for row in rows]
