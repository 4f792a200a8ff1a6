"""The demo's redemption: points of a loyalty programme, from a phone and documents to a purchase and back."""

import asyncio
from typing import Any

from aval.cli.demo_calls import Receiver, check
from aval.cli.demo_club import NAME, PERSON, PHONE, VENDOR, VENDOR_NAME, Club, found_club, photo_of
from aval.cli.demo_stage import Stage, token_in

MIN_POINTS = 1_000
POLICY = {"expected_version": 1, "enabled": True, "min_points": MIN_POINTS, "document_policy": "approved"}
BASKET = {
    "channel_type": "MOBILE",
    "items": [{"name": "Fone de ouvido", "quantity": 2, "price": {"for": 4_000}, "vendor": {"id": VENDOR}}],
    "shipping_values": [{"vendor_id": VENDOR, "value_points": 500}],
}
REVERSAL = {
    "executeTotalRefund": True,
    "refundType": 1,
    "currentRefundValue": 0,
    "refundShippingValue": 500,
    "refundMotiveId": 16,
    "refundMotiveDescription": "Changed her mind",
    "orderItems": [],
}
TOLD = ("purchase.pending_2fa_approval", "purchase.confirmed", "order.reversed", "purchase.reversed")


async def play_redemption(stage: Stage) -> None:
    """Switch the policy on, onboard a participant, redeem, reverse; raises DemoFailed."""
    async with Receiver() as receiver:
        club = await _open(stage, receiver)
        await _phone(stage, club)
        await _documents(stage, club)
        purchase = await _purchase(stage, club)
        await _tokens(stage, club, purchase["id"])
        await _reverse(stage, club, purchase["orders"][0]["id"])
        await _webhooks(stage, receiver)


async def _open(stage: Stage, receiver: Receiver) -> Club:
    await stage.screen.act(
        "Points instead of money",
        f"{NAME} is a loyalty campaign. Its operator asks for a second factor: from {_points(MIN_POINTS)} points on, "
        "with a proven phone and approved documents.",
    )
    operator = stage.operator
    club = await found_club(operator, receiver)
    policy = await operator.put(f"/campaigns/{club.campaign}/two_factor", POLICY)
    check("the policy is on", (policy["enabled"], policy["version"]), (True, 2))
    stage.screen.call(operator.made, "[bold]version 2[/]; the campaign's own application cannot write it")
    return club


async def _phone(stage: Stage, club: Club) -> None:
    device = await club.helena.post("/participants/me/devices", {"type": "phone", "number": PHONE}, expect=202)
    approval = device["approval"]
    check("the phone waits for its token", device["status"], "pending_verification")
    stage.screen.call(club.helena.made, f"token on its way to [bold]{approval['masked_destination']}[/]")
    message = await club.message(device["id"])
    await stage.screen.phone(message)
    path = f"/participants/me/devices/{device['id']}/validate_token"
    proven = await club.helena.put(path, {"token": token_in(message)}, expect=201)
    check("the phone is active", proven["status"], "active")
    stage.screen.call(club.helena.made, f"[bold]active[/]: the only phone that tokens of {PERSON} travel to")


async def _documents(stage: Stage, club: Club) -> None:
    missing = await club.helena.get("/participants/me/onboarding")
    check("documents are missing", (missing["status"], missing["can_redeem"]), ("documents_pending", False))
    submitting = (_submit(club, kind, sides) for kind, sides in (("rg", ("front", "back")), ("selfie", ("single",))))
    for document in await asyncio.gather(*submitting):
        await stage.operator.post(f"/documents/{document}/decision", {"decision": "approve"}, expect=200)
    stage.screen.call(stage.operator.made, "identity and selfie [bold]approved[/] by a reviewer")
    onboarding = await club.helena.get("/participants/me/onboarding")
    check("the onboarding is complete", (onboarding["status"], onboarding["can_redeem"]), ("complete", True))
    stage.screen.fact("Photos were decoded in a process of their own, freed of metadata, and encrypted under own keys.")


async def _submit(club: Club, kind: str, sides: tuple[str, ...]) -> str:
    path, first = "/participants/me/documents", sides[0]
    form = {"type": kind, "side": first}
    made = await club.helena.upload("POST", path, form, photo_of(f"{kind}, {first}"), expect=201)
    document: str = made["id"]
    for side in sides[1:]:
        await club.helena.upload("PUT", f"{path}/{document}/files/{side}", {}, photo_of(f"{kind}, {side}"), expect=200)
    await club.helena.post(f"{path}/{document}/submit", None, expect=200)
    return document


async def _purchase(stage: Stage, club: Club) -> Any:
    await stage.screen.act(
        "A purchase waits",
        f"{PERSON} redeems two headphones at {VENDOR_NAME}. Her points are reserved, and nothing is debited.",
    )
    purchase = await club.helena.post("/purchases", BASKET, expect=202)
    approval = purchase["approval"]
    check("the purchase waits", purchase["status"], "pending_2fa_approval")
    told = f"[bold]{purchase['status']}[/]; token on its way to [bold]{approval['masked_destination']}[/]"
    stage.screen.call(club.helena.made, f"{told}, {approval['attempts_remaining']} attempts")
    await _told_balance(stage, club, available=11_500, reserved=8_500)
    await stage.screen.phone(await club.message(purchase["id"]))
    return purchase


async def _tokens(stage: Stage, club: Club, purchase: str) -> None:
    path, token = f"/purchases/{purchase}/validate_token", token_in(await club.message(purchase))
    wrong = token[:-1] + ("1" if token[-1] == "0" else "0")
    refused = await club.helena.put(path, {"token": wrong}, expect=400)
    left = refused["extra_fields"]["attempts_remaining"]
    check("a wrong token uses an attempt", (refused["code"], left), ("RDM000084", 4))
    stage.screen.call(club.helena.made, f"{refused['code']} {refused['title']}: [bold]{left} attempts left[/]")
    confirmed = await club.helena.put(path, {"token": token}, expect=201)
    check("the purchase is confirmed", confirmed["status"], "confirmed")
    stage.screen.call(club.helena.made, "[bold]confirmed[/]: judged and debited in one transaction")
    await _told_balance(stage, club, available=11_500, reserved=0)


async def _reverse(stage: Stage, club: Club, order: str) -> None:
    await stage.screen.act(
        "The order comes back", "She changes her mind. The operator reverses the order, and says why."
    )
    reversal = await stage.operator.post(f"/orders/{order}/reversals", REVERSAL)
    check("all of it is given back", reversal["total"], 8_500)
    stage.screen.call(
        stage.operator.made, f"[bold]{_points(reversal['total'])} points[/]: {reversal['motive_description']}"
    )
    await _told_balance(stage, club, available=20_000, reserved=0)
    lines = (await club.helena.get("/participants/me/statement"))["items"]
    told = [f"{line['type']} {_points(line['value_points'])}" for line in reversed(lines)]
    check("the statement has a line for each move", len(told), 4)
    stage.screen.fact(f"Her statement: {' · '.join(told)}")


async def _webhooks(stage: Stage, receiver: Receiver) -> None:
    heard: dict[int, str] = {}
    while len(heard) < len(TOLD):
        webhook = (await receiver.heard()).webhook
        if webhook.webhook_type in TOLD:
            heard[webhook.sequence] = webhook.webhook_type
    check("the webhooks count without a gap", sorted(heard), [1, 2, 3, 4])
    check("each change was told", sorted(heard.values()), sorted(TOLD))
    stage.screen.fact(f"Signed webhooks told it, in sequence: {', '.join(heard[number] for number in sorted(heard))}")


async def _told_balance(stage: Stage, club: Club, *, available: int, reserved: int) -> None:
    balance = await club.balance()
    seen = (balance["points_value"], balance["points_value_onhold"])
    check("the points are where they belong", seen, (available, reserved))
    stage.screen.fact(f"[bold]{_points(available)}[/] points available, [bold]{_points(reserved)}[/] reserved.")


def _points(count: int) -> str:
    return f"{count:,}"
