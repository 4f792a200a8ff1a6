"""What changes between the reading and the writing of a purchase: the answer is that of a call that came afterwards."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from aval.domain.errors import Refusal
from aval.domain.purchase_request import PurchaseRequest
from aval.operations.coalesce import ALONE
from aval.operations.redemption_desk import RedemptionDesk
from aval.operations.request_purchase import PurchaseRules, RequestedPurchase, request_purchases
from aval.storage.participants import hold_participants
from tests.buyers import ENABLED, Buyer, a_purchase
from tests.document_actors import Sender
from tests.factories import Reply, make_keyring
from tests.redemption_stage import RedemptionStage
from tests.twins import elsewhere, paused_before_its_write

CARD_ALONE = a_purchase(payments=[{"type": "ExternalCreditCard", "value_points": 8_000}])
AUTHORIZE = "/purchases/authorize"
REVIEWED = {"enabled": True, "document_policy": "submitted", "required_documents": ["identity"]}
AT_ONCE = {**ENABLED, "device_change_cooldown_hours": 0}
HELD_S = 0.3


async def block(buyer: Buyer) -> Reply:
    return await buyer.owner.operate(buyer.device, "block")


async def remove(buyer: Buyer) -> Reply:
    return await buyer.owner.remove(buyer.device)


async def reset(buyer: Buyer) -> Reply:
    return await buyer.owner.operate(buyer.device, "reset")


async def supersede(buyer: Buyer) -> Reply:
    """Another phone takes the place of the one the purchase was judged with."""
    await buyer.owner.activate()
    return await buyer.owner.ask("GET", "")


async def suspend(buyer: Buyer) -> Reply:
    return await change(buyer, {"status": "INACTIVE"})


async def change(buyer: Buyer, changes: dict[str, str]) -> Reply:
    path = f"/participants/{buyer.person.key}"
    return await buyer.stage.call("PUT", path, changes, headers=await buyer.stage.operator())


async def erase(buyer: Buyer) -> Reply:
    path = f"/participants/{buyer.person.key}/erase"
    return await buyer.stage.call("POST", path, headers=await buyer.stage.operator())


async def reject_document(buyer: Buyer) -> Reply:
    (document,) = await buyer.stage.fetch(
        "select document_id from identity_documents where participant_id = $1", buyer.person.key
    )
    sender = await sender_of(buyer)
    return await sender.decide(str(document[0]), "reject", "altered")


async def switch_on(buyer: Buyer) -> Reply:
    return await buyer.stage.policy(buyer.campaign, **ENABLED)


async def pause(buyer: Buyer) -> Reply:
    path = f"/campaigns/{buyer.campaign.campaign_id}"
    return await buyer.stage.call("PATCH", path, {"status": "paused"}, headers=await buyer.stage.operator())


async def take_points(buyer: Buyer) -> Reply:
    return await change_points(buyer, -13_000)


async def give_points(buyer: Buyer) -> Reply:
    return await change_points(buyer, 5)


async def buy_more(buyer: Buyer) -> Reply:
    return await buyer.buy(a_purchase(13_000))


async def buy_a_little(buyer: Buyer) -> Reply:
    """So that the points of both would do, which the account's own constraint holds anyway."""
    return await buyer.buy(a_purchase(10))


async def buy_for_nothing(buyer: Buyer) -> Reply:
    return await buyer.buy(CARD_ALONE, path=AUTHORIZE)


async def change_points(buyer: Buyer, points: int) -> Reply:
    return await buyer.stage.call(
        "POST",
        f"/participants/{buyer.person.key}/credits",
        {"type": "adjustment", "points": points, "description": "Acerto"},
        headers=await buyer.stage.operator(),
        idempotency_key=uuid4().hex,
    )


async def sender_of(buyer: Buyer) -> Sender:
    reviewer = await buyer.stage.operator()
    return Sender(buyer.stage, buyer.campaign, buyer.application, buyer.person, buyer.headers, reviewer)


@dataclass(frozen=True)
class Case:
    """What another call does meanwhile, under which policy, and the code of a purchase that comes after it."""

    act: Callable[[Buyer], Awaitable[Reply]]
    policy: dict[str, Any]
    code: str | None
    buy: Callable[[Buyer], Awaitable[Reply]] = Buyer.buy
    mode: str = "sandbox"


def pay_by_card(buyer: Buyer) -> Awaitable[Reply]:
    return buyer.buy(CARD_ALONE, path=AUTHORIZE)


ONE_A_DAY = {"risk": {"max_orders_per_day": 1}}
COUNTED = {**ENABLED, **ONE_A_DAY, "min_points": 5_000}  # who redeems less has no second factor
CASES = {
    "the phone is blocked": Case(block, ENABLED, "RDM000911"),
    "the phone is removed": Case(remove, ENABLED, "RDM000911"),
    "the phone is reset": Case(reset, ENABLED, "RDM000911"),
    "another phone takes its place": Case(supersede, AT_ONCE, None),
    "another phone has to cool off": Case(supersede, {**ENABLED, "device_change_cooldown_hours": 1}, "RDM000919"),
    "the participant is suspended": Case(suspend, ENABLED, "322"),
    "a participant without phone is suspended": Case(suspend, {}, "322"),
    "a participant who pays by card is suspended": Case(suspend, {}, "322", pay_by_card),
    "the participant is erased": Case(erase, {}, "322"),
    "a document is rejected": Case(reject_document, REVIEWED, "RDM000911"),
    "the second factor is switched on": Case(switch_on, {}, "RDM000911"),
    "the campaign is paused": Case(pause, {}, "RDM000914"),
    "the campaign is paused under a second factor": Case(pause, ENABLED, "RDM000914"),
    "points are taken away": Case(take_points, {}, "332"),
    "points are taken away under a second factor": Case(take_points, ENABLED, "332"),
    "points are given": Case(give_points, ENABLED, None),
    "points are bought with": Case(buy_more, {}, "332"),
    "points are reserved": Case(buy_more, ENABLED, "332"),
    "too many purchases of points": Case(buy_a_little, {"risk": {"max_points_per_day": 8_009}}, "326"),
    "too many purchases, all of points": Case(buy_a_little, ONE_A_DAY, "326"),
    "too many purchases, one of which counts messages": Case(Buyer.buy, COUNTED, "326", buy_a_little, "live"),
    "as many purchases as may be": Case(buy_a_little, {"risk": {"max_orders_per_day": 2}}, None),
    "too many purchases that wait": Case(buy_a_little, {**ENABLED, "risk": {"max_pending_purchases": 1}}, "326"),
    "too many purchases, one without points": Case(buy_for_nothing, ONE_A_DAY, "326"),
    "too many purchases without points": Case(buy_for_nothing, ONE_A_DAY, "326", pay_by_card),
    "one more purchase without points": Case(buy_for_nothing, {}, None, pay_by_card),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_a_purchase_is_judged_by_what_holds_when_it_is_written(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    has_phone = bool(case.policy.get("enabled"))
    buyer = await Buyer.make(redemptions, policy=case.policy, has_phone=has_phone, mode=case.mode)
    if case.policy is REVIEWED:
        await (await sender_of(buyer)).submitted()
    async with paused_before_its_write(monkeypatch, case.buy(buyer)) as asked:
        done = await case.act(elsewhere(buyer, redemptions.parts.db))
        assert done.status < 300, done.body
        before = await purchases_of(buyer)
    reply = await asked
    assert reply.code == case.code, reply.body
    made = await purchases_of(buyer) - before
    assert made == (set() if case.code else {reply.json["id"]})
    await buyer.balance()
    if case.code:
        assert (await case.buy(buyer)).code == case.code  # who comes after the act is told the same
    else:
        assert await buyer.told(reply) == [reply.json["status"]]


async def purchases_of(buyer: Buyer) -> set[str]:
    rows = await buyer.stage.fetch(
        "select purchase_id::text from purchases where participant_id = $1", buyer.person.key
    )
    return {key for (key,) in rows}


async def test_the_token_goes_to_the_phone_that_is_there_when_the_purchase_is_written(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await Buyer.make(redemptions, policy=AT_ONCE)
    async with paused_before_its_write(monkeypatch, buyer.buy()) as asked:
        other = await elsewhere(buyer, redemptions.parts.db).owner.activate()
    made = (await asked).json
    rows = await redemptions.fetch(
        "select p.device_id, c.contact_id, m.contact_id from purchases p"
        " join challenges c on c.operation_id = p.purchase_id"
        " join outbox m on m.operation_id = p.purchase_id and m.topic = 'token' where p.purchase_id = $1",
        UUID(made["id"]),
    )
    assert rows == [(UUID(other["id"]),) * 3]
    assert other["id"] != buyer.device["id"]
    assert (await buyer.validate(made)).status == 201


async def test_a_purchase_is_of_the_catalogue_and_the_name_that_hold_when_it_is_written(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyer = await Buyer.make(redemptions, policy={}, has_phone=False)
    async with paused_before_its_write(monkeypatch, buyer.buy()) as asked:
        done = await change(elsewhere(buyer, redemptions.parts.db), {"catalog_id": "silver", "name": "Helena Prado"})
        assert done.status == 200, done.body
    made = (await asked).json
    assert (made["catalog_id"], made["status"]) == ("silver", "confirmed")
    told = await redemptions.value("select body from events where operation_id = $1", UUID(made["id"]))
    assert json.loads(told)["data"]["catalog_id"] == "silver"


@pytest.mark.parametrize("policy", [{}, ENABLED], ids=["plain", "two factors"])
async def test_a_key_that_was_used_meanwhile_makes_nothing_more(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any]
) -> None:
    """The same call answers its twin; somebody else's key is a conflict though nothing of the buyer has changed."""
    buyer = await Buyer.make(redemptions, policy=policy, has_phone=bool(policy))
    shared = {"campaign": buyer.campaign, "application": buyer.application}
    neighbour = await Buyer.make(redemptions, has_phone=bool(policy), **shared)
    async with paused_before_its_write(monkeypatch, buyer.buy(idempotency_key="k-1")) as asked:
        twin = await elsewhere(buyer, redemptions.parts.db).buy(idempotency_key="k-1")
    reply = await asked
    assert (reply.status, reply.json["id"]) == (twin.status, twin.json["id"])
    async with paused_before_its_write(monkeypatch, buyer.buy(idempotency_key="k-2")) as asked:
        taken = await elsewhere(neighbour, redemptions.parts.db).buy(idempotency_key="k-2")
    assert ((await asked).status, (await asked).code) == (409, "RDM000902")
    assert (await purchases_of(buyer), await purchases_of(neighbour)) == ({twin.json["id"]}, {taken.json["id"]})
    assert await buyer.balance() == ((12_000, 8_000) if policy else (12_000, 0))


HOLDS = {
    "guard": "select from participants where participant_id = $1 for no key update",
    "account": "select from points_accounts where participant_id = $1 for no key update",
}


@pytest.mark.parametrize("policy", [{}, ENABLED], ids=["plain", "two factors"])
@pytest.mark.parametrize(
    ("hold", "change", "code"),
    [
        ("guard", None, None),
        ("guard", "update participants set status = 'INACTIVE' where participant_id = $1", "322"),
        ("account", None, None),
        (
            "account",
            "update points_accounts set available = available - 13_000, debited = debited + 13_000,"
            " entry_count = entry_count + 1 where participant_id = $1",
            "332",
        ),
    ],
)
async def test_who_is_held_by_somebody_else_is_waited_for(
    redemptions: RedemptionStage, policy: dict[str, Any], hold: str, change: str | None, code: str | None
) -> None:
    """What the other transaction changed counts; if it changed nothing, or is abandoned, all goes well."""
    buyer = await Buyer.make(redemptions, policy=policy, has_phone=bool(policy))
    async with redemptions.db.transaction() as connection:
        await connection.execute(HOLDS[hold], buyer.person.key)
        asked = asyncio.create_task(buyer.buy())
        await asyncio.sleep(HELD_S)
        assert not asked.done()
        if change is not None:
            await connection.execute(change, buyer.person.key)
    reply = await asked
    assert reply.code == code, reply.body
    assert len(await purchases_of(buyer)) == (0 if code else 1)


async def test_a_guard_that_was_taken_and_given_back_costs_a_second_look_only(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose transaction was abandoned between the reading and the writing, which leaves no trace."""
    buyer = await Buyer.make(redemptions)
    person = (buyer.campaign.key, buyer.person.key)
    for is_kept in (True, False):
        async with paused_before_its_write(monkeypatch, buyer.buy(a_purchase(10))) as asked:
            try:
                async with redemptions.db.transaction() as connection:
                    await hold_participants(connection, [person])
                    if not is_kept:
                        raise Refusal("rdm.wrong_status")
            except Refusal:
                pass
        assert (await asked).status == 202
    assert await buyer.balance() == (19_980, 20)
    assert len(await purchases_of(buyer)) == 2


async def requests_of(
    stage: RedemptionStage, monkeypatch: pytest.MonkeyPatch, buyers: list[Buyer]
) -> list[PurchaseRequest]:
    """The requests of these buyers as the edge hands them over."""
    asked: list[PurchaseRequest] = []

    async def gather(_: RedemptionDesk, request: PurchaseRequest) -> RequestedPurchase:
        asked.append(request)
        raise Refusal("rdm.insufficient_points")

    with monkeypatch.context() as patched:
        patched.setattr(RedemptionDesk, "request", gather)
        for buyer in buyers:
            await buyer.buy()
    return asked


async def crowd(stage: RedemptionStage, count: int) -> list[Buyer]:
    """Buyers of one campaign through one application."""
    first = await Buyer.make(stage, has_phone=False, policy={})
    shared = {"campaign": first.campaign, "application": first.application, "has_phone": False}
    return [first, *[await Buyer.make(stage, **shared) for _ in range(count - 1)]]


async def test_of_a_batch_only_who_is_held_is_judged_alone(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    buyers = await crowd(redemptions, 20)
    requests = await requests_of(redemptions, monkeypatch, buyers)
    api, keyring, rules = redemptions.parts.db, make_keyring(), PurchaseRules()
    async with redemptions.db.transaction() as connection:
        await connection.execute(HOLDS["guard"], buyers[7].person.key)
        answers = await request_purchases(api, requests=requests, keyring=keyring, rules=rules, may_wait=False)
    assert [place for place, answer in enumerate(answers) if answer is ALONE] == [7]
    assert sum(isinstance(answer, RequestedPurchase) for answer in answers) == 19
    for place, buyer in enumerate(buyers):
        assert await buyer.balance() == ((20_000, 0) if place == 7 else (12_000, 0))
    (alone,) = await request_purchases(api, requests=requests[7:8], keyring=keyring, rules=rules)
    assert isinstance(alone, RequestedPurchase)
    assert await buyers[7].ledger(str(alone.purchase.key)) == ["reserve", "debit"]


async def test_in_a_batch_everything_is_written_to_its_own_purchase(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points, lines, events, messages and what a token is bound to, whichever order the rows are written in."""
    first = await Buyer.make(redemptions)
    shared = {"campaign": first.campaign, "application": first.application}
    buyers = [first, *[await Buyer.make(redemptions, **shared) for _ in range(4)]]
    requests = await requests_of(redemptions, monkeypatch, buyers)
    requests = [replace(request, idempotency_key=f"k-{5 - place}") for place, request in enumerate(requests)]
    answers = await request_purchases(
        redemptions.parts.db, requests=requests, keyring=make_keyring(), rules=PurchaseRules(), may_wait=False
    )
    for buyer, request, answer in zip(buyers, requests, answers, strict=True):
        assert isinstance(answer, RequestedPurchase)
        key = answer.purchase.key
        assert (key, answer.purchase.participant_key) == (request.key, buyer.person.key)
        assert await buyer.balance() == (12_000, 8_000)
        assert await buyer.ledger(str(key)) == ["reserve"]
        ((facts, approver), (body,), (contact,)) = [
            (await redemptions.fetch(query, key))[0]
            for query in (
                "select facts, approver_id from operations where operation_id = $1",
                "select body from events where operation_id = $1",
                "select contact_id from outbox where operation_id = $1 and topic = 'token'",
            )
        ]
        assert (facts["operation_key"], approver) == (str(key), buyer.person.key)
        assert facts["participant_id"] == str(buyer.person.key)
        assert json.loads(body)["data"]["id"] == str(key)
        assert str(contact) == facts["device_id"] == buyer.device["id"]
        assert (await buyer.validate(str(key))).status == 201


async def test_a_limit_holds_beside_neighbours_of_a_campaign_that_sets_none(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a day holds is not read for a batch that nothing limits."""
    no_limit = {"max_pending_purchases": None}
    policies: list[dict[str, Any]] = [{"risk": no_limit}, {"risk": {**no_limit, "max_orders_per_day": 1}}]
    buyers = [await Buyer.make(redemptions, has_phone=False, policy=policy, points=40_000) for policy in policies]
    for buyer in buyers:
        await buyer.bought()
    for batch, told in ((buyers, [RequestedPurchase, Refusal]), (buyers[::-1], [Refusal, RequestedPurchase])):
        requests = await requests_of(redemptions, monkeypatch, batch)
        answers = await request_purchases(
            redemptions.parts.db, requests=requests, keyring=make_keyring(), rules=PurchaseRules(), may_wait=False
        )
        assert [type(answer) for answer in answers] == told


async def test_of_calls_that_come_together_only_who_is_held_waits(redemptions: RedemptionStage) -> None:
    buyers = await crowd(redemptions, 20)
    async with redemptions.db.transaction() as connection:
        await connection.execute(HOLDS["guard"], buyers[7].person.key)
        calls = [asyncio.create_task(buyer.buy()) for buyer in buyers]
        await asyncio.wait([call for call in calls if call is not calls[7]], timeout=HELD_S * 5)
        assert [place for place, call in enumerate(calls) if not call.done()] == [7]
        async with asyncio.timeout(HELD_S * 5):  # nor does the one that waits keep others from storing
            assert (await buyers[3].buy()).status == 201
    assert {reply.status for reply in await asyncio.gather(*calls)} == {201}
    assert [len(await purchases_of(buyer)) for buyer in buyers] == [1, 1, 1, 2] + [1] * 16


async def test_no_batch_is_stored_beside_another(redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is judged meanwhile and written when the one before is (docs/adr/0049)."""
    first, second = await crowd(redemptions, 2)
    async with paused_before_its_write(monkeypatch, first.buy()) as asked:
        other = asyncio.create_task(second.buy())
        await asyncio.wait([other], timeout=HELD_S)
        assert not other.done()
    assert [(await asked).status, (await other).status] == [201, 201]
