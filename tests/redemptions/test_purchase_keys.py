"""Same key and body, same purchase and same bytes (redemptions.md §4.5); ids that are foreign are unknown."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.buyers import Buyer, a_purchase, an_item
from tests.factories import Reply
from tests.redemption_stage import RedemptionStage, reason_of


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions)


def is_replay(reply: Reply) -> bool:
    return reply.headers.get("idempotent-replayed") == "true"


@pytest.mark.parametrize("how", ["header", "body", "both"])
async def test_a_repeated_request_is_the_purchase_as_it_is_now(buyer: Buyer, how: str) -> None:
    key = str(uuid4())
    headers = {} if how == "body" else {"idempotency_key": key}
    body = a_purchase() if how == "header" else a_purchase(request_control_key=key)
    made, again = await buyer.buy(body, **headers), await buyer.buy(body, **headers)
    assert (made.status, again.status, again.json["id"]) == (202, 202, made.json["id"])
    assert (is_replay(made), is_replay(again)) == (False, True)
    assert again.json == made.json
    await buyer.validate(made)
    later = await buyer.buy(body, **headers)
    assert (later.status, later.json["status"], "approval" in later.json) == (202, "confirmed", False)
    assert await buyer.balance() == (12_000, 0)
    asked = "select count(*) from outbox where operation_id = $1::uuid"
    assert await buyer.stage.value(asked, made.json["id"]) == 1


async def test_header_and_body_are_one_key_and_must_agree(buyer: Buyer) -> None:
    key = str(uuid4())
    made = await buyer.buy(idempotency_key=key)
    assert (await buyer.buy(a_purchase(request_control_key=key))).json["id"] == made.json["id"]
    for other in ("other", key.upper()):  # a key of the header in capitals is another one
        refused = await buyer.buy(a_purchase(request_control_key=key), idempotency_key=other)
        assert (refused.status, refused.code) == (400, "QIT000001")
    assert (await buyer.buy(idempotency_key="no spaces")).code == "QIT000400"


async def test_spelling_does_not_make_another_body(buyer: Buyer) -> None:
    made = await buyer.buy(a_purchase(1), idempotency_key="k-1")
    item = {"vendor": {"id": "loja-sol"}, "price": {"for": 1, "from": None}, "quantity": 1, "name": " Fone de ouvido "}
    again = await buyer.buy({"items": [item], "customer": None, "channel_type": "MOBILE"}, idempotency_key="k-1")
    assert (again.status, again.json["id"]) == (202, made.json["id"])


@pytest.mark.parametrize("change", [{"items": [an_item(8_001)]}, {"channel_type": "POS"}, {"customer": {"a": 1}}])
async def test_another_body_under_a_key_is_a_conflict(buyer: Buyer, change: dict[str, Any]) -> None:
    await buyer.buy(idempotency_key="k-1")
    refused = await buyer.buy(a_purchase(**change), idempotency_key="k-1")
    assert (refused.status, refused.code) == (409, "RDM000902")
    assert await buyer.balance() == (12_000, 8_000)


async def test_the_participant_is_part_of_the_body_and_the_path_of_the_key(buyer: Buyer) -> None:
    other = await Buyer.make(buyer.stage, campaign=buyer.campaign, application=buyer.application)
    made = await buyer.buy(a_purchase(1), idempotency_key="k-1")
    assert (await other.buy(a_purchase(1), idempotency_key="k-1")).code == "RDM000902"
    external = await buyer.buy(a_purchase(1), path="/purchases/authorize", idempotency_key="k-1")
    assert (external.status, external.json["id"] != made.json["id"]) == (202, True)
    stranger = await Buyer.make(buyer.stage)
    assert (await stranger.buy(a_purchase(1), idempotency_key="k-1")).status == 202


async def test_a_refused_request_stores_no_key(buyer: Buyer) -> None:
    assert (await buyer.buy(a_purchase(20_001), idempotency_key="k-1")).code == "332"
    assert (await buyer.buy(a_purchase(20_000), idempotency_key="k-1")).status == 202


async def test_twins_at_the_same_moment_make_one_purchase(buyer: Buyer) -> None:
    replies = await asyncio.gather(*(buyer.buy(a_purchase(100), idempotency_key="k-1") for _ in range(12)))
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json["id"] for reply in replies}) == 1
    assert sum(is_replay(reply) for reply in replies) == 11
    assert await buyer.balance() == (19_900, 100)


async def test_one_key_of_two_participants_at_the_same_moment_is_one_purchase_and_a_conflict(buyer: Buyer) -> None:
    others = [await Buyer.make(buyer.stage, campaign=buyer.campaign, application=buyer.application) for _ in range(3)]
    replies = await asyncio.gather(*(each.buy(a_purchase(1), idempotency_key="k-1") for each in (buyer, *others)))
    assert sorted(reply.status for reply in replies) == [202, 409, 409, 409]


async def test_a_replay_needs_no_open_campaign(buyer: Buyer) -> None:
    made = await buyer.buy(idempotency_key="k-1")
    path = f"/campaigns/{buyer.campaign.campaign_id}"
    await buyer.stage.call("PATCH", path, {"status": "closed"}, headers=await buyer.stage.operator())
    assert (await buyer.buy(idempotency_key="k-1")).json["id"] == made.json["id"]
    assert (await buyer.buy(idempotency_key="k-2")).code == "RDM000914"


async def test_a_wrong_token_under_a_key_is_counted_once(buyer: Buyer) -> None:
    made = await buyer.bought()
    first, again = [await buyer.wrong(made, idempotency_key="v-1") for _ in range(2)]
    assert (first.code, first.body, is_replay(again)) == ("RDM000084", again.body, True)
    assert (await buyer.read(made))["approval"]["attempts_remaining"] == 4
    conflict = await buyer.validate(made, idempotency_key="v-1")
    assert (conflict.status, conflict.code) == (409, "RDM000902")
    assert (await buyer.validate(made, idempotency_key="v-2")).status == 201


async def test_answers_of_token_calls_are_kept_byte_for_byte(buyer: Buyer) -> None:
    made, other = await buyer.bought(a_purchase(1)), await buyer.bought(a_purchase(1))
    token = await buyer.token(made)
    done = await buyer.validate(made, token, idempotency_key="v-1")
    again = await buyer.validate(made, token, idempotency_key="v-1")
    assert (again.status, again.body) == (done.status, done.body) and done.status == 201
    for _ in range(4):
        await buyer.wrong(other)
    last = await buyer.wrong(other, idempotency_key="v-5")
    assert (last.code, (await buyer.wrong(other, idempotency_key="v-5")).body) == ("RDM000082", last.body)
    third = await buyer.bought(a_purchase(1))
    await buyer.shift(third, timedelta(minutes=5))
    dead = await buyer.validate(third, idempotency_key="v-6")
    assert dead.code == "RDM000083"
    sent = await buyer.resend(third, idempotency_key="r-1")
    assert (sent.status, (await buyer.resend(third, idempotency_key="r-1")).body) == (202, sent.body)
    assert (await buyer.validate(third, await buyer.token(third, 1), idempotency_key="v-6")).body == dead.body
    assert (await buyer.read(third))["approval"]["generation"] == 2


async def test_answers_are_kept_for_a_day_and_refusals_not_at_all(buyer: Buyer) -> None:
    made = await buyer.bought()
    assert (await buyer.resend(made, idempotency_key="r-1")).code == "RDM000903"
    await buyer.shift(made, timedelta(seconds=30))
    assert (await buyer.resend(made, idempotency_key="r-1")).status == 202
    await buyer.shift(made, timedelta(seconds=30))
    await buyer.stage.execute(
        "update idempotency_keys set created_at = created_at - interval '24 hours' where integrator_id = $1",
        buyer.campaign.key,
    )
    assert (await buyer.resend(made, idempotency_key="r-1")).json["approval"]["generation"] == 3


async def test_a_token_that_came_too_late_is_not_kept_under_its_key(buyer: Buyer) -> None:
    made = await buyer.bought()
    await buyer.shift(made, timedelta(hours=1))
    late, again = [await buyer.validate(made, idempotency_key="v-1") for _ in range(2)]
    assert (late.status, is_replay(late), is_replay(again)) == (again.status, False, False) and late.status >= 400
    assert (await buyer.read(made))["rejection_reason"] == "approval_window_expired"
    kept = "select count(*) from idempotency_keys where integrator_id = $1 and path like '%/validate_token'"
    assert await buyer.stage.value(kept, buyer.campaign.key) == 0


async def test_confirm_and_cancel_are_kept_like_any_call(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, has_phone=False, policy={})
    made, other = await buyer.authorize(a_purchase(1)), await buyer.authorize(a_purchase(1))
    done = await buyer.confirm(made, idempotency_key="c-1")
    again = await buyer.confirm(made, idempotency_key="c-1")
    assert (again.body, is_replay(again)) == (done.body, True)
    ended = await buyer.cancel(other, headers=buyer.of_application, idempotency_key="c-1")
    assert (ended.json["status"], is_replay(ended)) == ("canceled", False)
    assert (await buyer.cancel(other, headers=buyer.of_application, idempotency_key="c-1")).body == ended.body


CALLS = [
    ("PUT", "/validate_token", {"token": "123456"}),
    ("PUT", "/resend_token", None),
    ("PATCH", "/resend_token", None),
    ("POST", "/cancel", None),
    ("GET", "", None),
]


async def test_foreign_purchases_equal_unknown_ones(buyer: Buyer) -> None:
    neighbour = await Buyer.make(buyer.stage, campaign=buyer.campaign, application=buyer.application)
    stranger = await Buyer.make(buyer.stage)
    ids = [(await owner.bought(a_purchase(1)))["id"] for owner in (neighbour, stranger)]
    for method, path, body in CALLS:
        for headers in (buyer.headers, buyer.impersonated):
            if path == "/cancel" and headers == buyer.impersonated:
                continue
            replies = [
                await buyer.ask(method, f"/purchases/{key}{path}", body, headers=headers, x_correlation_id="same")
                for key in (*ids, str(uuid4()), "not-an-id", ids[0].upper() + "x")
            ]
            assert {(reply.status, reply.code, reply.body) for reply in replies} == {
                (404, "RDM000020", replies[0].body)
            }
            assert len({str(reply.headers) for reply in replies}) == 1
    for key, expected in ((ids[0], 409), (ids[1], 404), (str(uuid4()), 404)):
        assert (await buyer.confirm(key)).status == expected
    assert (await buyer.ask("GET", f"/purchases/{ids[0]}", headers=buyer.of_application)).status == 200
    assert (await buyer.ask("GET", f"/purchases/{ids[1]}", headers=buyer.of_application)).code == "RDM000020"


async def test_a_token_of_one_purchase_is_wrong_for_another(buyer: Buyer) -> None:
    first, second = await buyer.bought(a_purchase(1)), await buyer.bought(a_purchase(1))
    assert (await buyer.validate(second, await buyer.token(first))).code == "RDM000084"


async def test_lists_show_what_the_caller_may_see(buyer: Buyer) -> None:
    stage = buyer.stage
    neighbour = await Buyer.make(stage, campaign=buyer.campaign, application=buyer.application)
    own = [(await buyer.bought(a_purchase(each)))["id"] for each in (1, 2, 3)]
    await buyer.validate(own[0])
    external = (await neighbour.authorize(a_purchase(1)))["id"]
    await Buyer.make(stage)

    async def ids(path: str, headers: dict[str, str]) -> list[str]:
        reply = await buyer.ask("GET", path, headers=headers)
        assert reply.status == 200, reply.body
        assert reply.json["total"] >= len(reply.json["items"])
        return [item["id"] for item in reply.json["items"]]

    assert await ids("/purchases/me", buyer.headers) == own[::-1]
    assert await ids("/purchases", buyer.impersonated) == own[::-1]
    assert await ids("/purchases?status=confirmed", buyer.headers) == own[:1]
    assert await ids("/purchases?limit=1&offset=1", buyer.headers) == [own[1]]
    assert await ids("/purchases", buyer.of_application) == [external, *own[::-1]]
    assert await ids("/purchases?kind=external", buyer.of_application) == [external]
    assert await ids(f"/purchases?participant_id={neighbour.person.key}", buyer.of_application) == [external]
    assert await ids(f"/purchases?participant_id={neighbour.person.key}", buyer.headers) == []
    operator = await stage.operator("points.write")
    assert await ids(f"/purchases?campaign_id={buyer.campaign.campaign_id}", operator) == [external, *own[::-1]]
    assert await ids("/purchases?start_date=2020-01-01&end_date=2020-12-31", buyer.headers) == []
    assert await ids("/purchases?start_date=2020-01-01", buyer.headers) == own[::-1]
    unknown = await buyer.ask("GET", "/purchases?campaign_id=ninguem", headers=operator)
    foreign = await buyer.ask("GET", "/purchases?campaign_id=ninguem", headers=buyer.of_application)
    assert (unknown.code, foreign.code) == ("RDM000910", "RDM000910")
    one = await buyer.ask("GET", f"/purchases/{external}", headers=operator)
    assert one.json["approval"]["delivery"] == "queued"


@pytest.mark.parametrize(
    ("scopes", "kind", "method", "path", "expected"),
    [
        (["redemptions.read"], "participant", "POST", "/purchases", ("403", "RDM000918")),
        (["redemptions.write"], "participant", "POST", "/purchases/authorize", ("403", "RDM000918")),
        (["redemptions.write"], "application", "POST", "/purchases", ("401", "103")),
        (["redemptions.write"], "impersonator", "POST", "/purchases", ("403", "RDM000918")),
        (["redemptions.write"], "participant", "GET", "/purchases/me", ("403", "RDM000918")),
        (["redemptions.read"], "application", "GET", "/purchases/me", ("401", "103")),
    ],
)
async def test_each_call_has_its_scope(
    redemptions: RedemptionStage, scopes: list[str], kind: str, method: str, path: str, expected: tuple[str, str]
) -> None:
    campaign = await redemptions.campaign()
    application = await redemptions.application(campaign, scopes=scopes)
    buyer = await Buyer.make(redemptions, campaign=campaign, application=application, has_phone=False, points=0)
    headers = {"participant": buyer.headers, "application": buyer.of_application, "impersonator": buyer.impersonated}
    reply = await buyer.ask(method, path, a_purchase() if method == "POST" else None, headers=headers[kind])
    assert (str(reply.status), reply.code) == expected
    assert reason_of(reply) in ("insufficient_scope", "wrong_token_type")


async def test_who_never_wins_a_key_is_told_to_come_again(buyer: Buyer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that others take and free again between two looks; it cannot be in earnest, as nothing is ever freed."""

    async def taken(*_: object) -> frozenset[UUID]:
        return frozenset()

    key = str(uuid4())
    with monkeypatch.context() as patched:
        patched.setattr("aval.operations.request_purchase.insert_purchases", taken)
        refused = await buyer.buy(idempotency_key=key)
    assert (refused.status, refused.code) == (503, "120")
    buyer.stage.faults.clear()  # which take every 5xx for a fault
    made = await buyer.buy(idempotency_key=key)
    assert (made.status, is_replay(made)) == (202, False)
