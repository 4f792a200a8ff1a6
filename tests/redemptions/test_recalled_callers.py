"""Applications that are recalled from an earlier call: what changed is seen by the very next one (docs/adr/0046)."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from aval.domain.campaign import Campaign
from aval.domain.keyring import Key, Keyring, Purpose
from aval.http.app import build_app
from aval.http.rates import CallsInProgress, too_many_requests
from aval.http.redemptions import features
from aval.operations.change_application import change_application
from aval.operations.redemption_desk import PurchaseHooks
from aval.operations.rotate_application_keys import revoke_application_key
from aval.storage.redeemers import identify
from tests.buyers import Buyer, a_purchase
from tests.factories import AUTHOR, Reply
from tests.redemption_stage import RedemptionStage

Change = Callable[[Buyer], Awaitable[object]]


@pytest.fixture
def look_ups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many callers were asked for in each look-up."""
    seen: list[int] = []

    async def counted(connection: Any, calls: Any) -> Any:
        seen.append(len(calls))
        return await identify(connection, calls)

    monkeypatch.setattr("aval.http.redemptions.identity.identify", counted)
    return seen


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions, policy={"enabled": True, "document_policy": "none"})


async def bought(buyer: Buyer) -> Reply:
    reply = await buyer.buy(a_purchase(10), headers=buyer.impersonated)
    assert reply.status == 202, reply.body
    return reply


async def test_a_hot_call_after_the_first_looks_nobody_up(buyer: Buyer, look_ups: list[int]) -> None:
    made = await bought(buyer)
    assert look_ups == [1]
    assert (await buyer.validate(made, headers=buyer.impersonated)).status == 201
    assert (await buyer.wrong(await bought(buyer), headers=buyer.impersonated)).code == "RDM000084"
    assert look_ups == [1]
    assert (await buyer.ask("GET", "/purchases/me", headers=buyer.impersonated)).status == 200
    assert look_ups == [1, 1]  # a call that decides nothing


@pytest.mark.parametrize(
    "change",
    [
        {"x-subscription-key": ""},
        {"username": ""},
        {"username": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
        {"catalogId": "other"},
        {"customerId": "other"},
        {"participantid": "00000000-0000-4000-8000-000000000000"},
        {"impersonatorUser": ""},
    ],
)
async def test_nobody_is_recalled_by_other_headers(buyer: Buyer, change: dict[str, str], look_ups: list[int]) -> None:
    await bought(buyer)
    kept = {name: text for name, text in buyer.impersonated.items() if name.lower() not in map(str.lower, change)}
    other = await buyer.buy(a_purchase(10), headers={**kept, **change})
    assert other.status in (401, 403, 404, 422, 400), other.body
    assert len(look_ups) == 1 + (other.status != 401)  # a malformed key of a subscription is nobody's at once
    await bought(buyer)


async def test_no_more_callers_are_recalled_than_the_deployment_lets(buyer: Buyer, look_ups: list[int]) -> None:
    shared = {"campaign": buyer.campaign, "application": buyer.application}
    other = await Buyer.make(buyer.stage, **shared)
    parts = replace(buyer.stage.parts, settings=replace(buyer.stage.parts.settings, callers_recalled_max=1))
    small = replace(buyer.stage, parts=parts, app=build_app(parts, [features.routes(parts)]))
    look_ups.clear()
    for each in (buyer, buyer, other, other, buyer):
        await bought(replace(each, stage=small))
    assert look_ups == [1, 1, 1]


async def test_participants_and_applications_by_themselves_are_looked_up_each_time(
    buyer: Buyer, look_ups: list[int]
) -> None:
    for _ in range(2):
        assert (await buyer.buy(a_purchase(10))).status == 202
    assert look_ups == [1, 1]
    for _ in range(2):
        assert (await buyer.buy(a_purchase(10), headers=buyer.of_application)).status == 401
    assert look_ups == [1, 1, 1, 1]


async def test_nobody_is_recalled_where_somebody_outside_is_asked_first(
    buyer: Buyer, look_ups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Approving:
        async def decide(self, *_: object) -> object:
            raise AssertionError

    await bought(buyer)
    desk = buyer.stage.parts.redemption_desk
    monkeypatch.setattr(desk, "_hooks", PurchaseHooks(risk=Approving()))  # type: ignore[arg-type]
    await buyer.buy(a_purchase(0), headers=buyer.impersonated)  # refused before anybody is asked
    assert look_ups == [1, 1]


async def end_key(buyer: Buyer) -> None:
    key = buyer.application.key
    await revoke_application_key(
        buyer.stage.db,
        integrator_key=buyer.campaign.key,
        application_key=key.application_key,
        key=key.key,
        author=AUTHOR,
    )


async def change(buyer: Buyer, **changes: Any) -> None:
    await change_application(
        buyer.stage.db,
        integrator_key=buyer.campaign.key,
        application_key=buyer.application.key.application_key,
        changes=changes,
        author=AUTHOR,
    )


async def put(buyer: Buyer, column: str, value: str) -> None:
    await buyer.stage.execute(
        f"update participants set {column} = $2 where participant_id = $1", buyer.person.key, value
    )


async def patch(buyer: Buyer, **changes: Any) -> None:
    path, operator = f"/campaigns/{buyer.campaign.campaign_id}", await buyer.stage.operator()
    reply = await buyer.stage.call("PATCH", path, changes, headers=operator)
    assert reply.status == 200, reply.body


async def test_a_call_too_many_or_a_caller_who_no_longer_fits_leaves_the_others_recalled(
    buyer: Buyer, look_ups: list[int]
) -> None:
    shared = {"campaign": buyer.campaign, "application": buyer.application}
    others = [await Buyer.make(buyer.stage, **shared) for _ in range(2)]
    await change(buyer, calls_per_minute=4)
    for each in (buyer, *others):
        await bought(each)
    await put(buyer, "catalog_id", "silver")
    assert (await buyer.buy(a_purchase(10), headers=buyer.impersonated)).status == 400
    assert (await others[0].buy(a_purchase(10), headers=others[0].impersonated)).status == 429
    await change(buyer, calls_per_minute=100)
    assert (await others[1].buy(a_purchase(10), headers=others[1].impersonated)).status == 429  # as it was known
    await bought(others[1])
    look_ups.clear()
    for each in (*others, *others):
        await bought(each)
    assert look_ups == [1]  # the one who was refused


async def test_however_often_a_campaign_changes_its_former_states_are_not_kept(buyer: Buyer) -> None:
    def campaigns() -> int:
        gc.collect()
        return sum(isinstance(each, Campaign) for each in gc.get_objects())

    await bought(buyer)
    before = campaigns()
    shared = {"campaign": buyer.campaign, "application": buyer.application}
    for number in range(6):
        other = await Buyer.make(buyer.stage, **shared)
        await patch(buyer, name=f"Clube {number}")
        await bought(other)
        del other
    assert campaigns() <= before + 2


CHANGES: dict[str, tuple[Change, tuple[int, str], tuple[int, str]]] = {
    "key revoked": (end_key, (401, "GDF000014"), (401, "GDF000014")),
    "application revoked": (lambda b: change(b, is_revoked=True), (401, "GDF000014"), (401, "GDF000014")),
    "scope taken away": (
        lambda b: change(b, scopes=("redemptions.read", "impersonate")),
        (403, "RDM000918"),
        (403, "RDM000918"),
    ),
    "catalogue changed": (lambda b: put(b, "catalog_id", "silver"), (400, "RDM000916"), (400, "RDM000916")),
    "log-in changed": (lambda b: put(b, "username", f"novo.{b.person.key}"), (400, "RDM000916"), (400, "RDM000916")),
    "campaign paused": (lambda b: patch(b, status="paused"), (422, "RDM000914"), (201, "")),
    "vendor gone": (lambda b: patch(b, vendors=[{"id": "viagens", "name": "Viagens"}]), (422, "283"), (201, "")),
    "second factor off": (lambda b: b.stage.policy(b.campaign, enabled=False), (201, ""), (201, "")),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_what_changed_is_seen_by_the_next_hot_call(buyer: Buyer, name: str, look_ups: list[int]) -> None:
    act, created, validated = CHANGES[name]
    waiting = await bought(buyer)
    await act(buyer)
    look_ups.clear()
    again = await buyer.buy(a_purchase(10), headers=buyer.impersonated)
    assert (again.status, again.code or "") == created, again.body
    assert look_ups == [1]  # recalled, found changed, looked up
    judged = await buyer.validate(waiting, headers=buyer.impersonated)
    assert (judged.status, judged.code or "") == validated, judged.body


@pytest.mark.parametrize("name", CHANGES)
async def test_a_token_call_sees_it_too(buyer: Buyer, name: str) -> None:
    act, _, validated = CHANGES[name]
    waiting = await bought(buyer)
    await act(buyer)
    judged = await buyer.validate(waiting, headers=buyer.impersonated)
    assert (judged.status, judged.code or "") == validated, judged.body
    used = await buyer.stage.value(
        "select attempts_used from challenges where operation_id = $1::text::uuid", waiting.json["id"]
    )
    assert used == 0


async def test_a_revoked_caller_learns_nothing_of_what_they_sent(buyer: Buyer) -> None:
    waiting = await bought(buyer)
    kept = await buyer.wrong(waiting, headers=buyer.impersonated, idempotency_key="chave-1")
    await end_key(buyer)
    for reply in (
        await buyer.buy({"items": "nada"}, headers=buyer.impersonated),
        await buyer.buy(a_purchase(10, channel_type="X"), headers=buyer.impersonated),
        await buyer.ask("PUT", "/purchases/x/validate_token", {"token": "ABCDEF"}, headers=buyer.impersonated),
        await buyer.ask("PUT", f"/purchases/{waiting.json['id']}/validate_token", {}, headers=buyer.impersonated),
        await buyer.wrong(waiting, headers=buyer.impersonated, idempotency_key="chave-1"),
    ):
        assert (reply.status, reply.code) == (401, "GDF000014"), reply.body
    assert kept.code == "RDM000084"


async def test_a_revoked_caller_is_not_told_that_the_campaign_is_busy(
    redemptions: RedemptionStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise too_many_requests("busy", 1)

    buyer = await Buyer.make(redemptions, policy={}, has_phone=False, mode="live")
    assert (await buyer.buy(headers=buyer.impersonated)).status == 201
    with monkeypatch.context() as patched:
        patched.setattr(CallsInProgress, "enter", refuse)
        assert (await buyer.buy(headers=buyer.impersonated)).status == 429
        await end_key(buyer)
        assert (await buyer.buy(headers=buyer.impersonated)).status == 401


async def test_a_revoked_key_does_not_use_up_the_calls_of_its_application(buyer: Buyer) -> None:
    await change(buyer, calls_per_minute=12)
    waiting = await bought(buyer)
    await end_key(buyer)
    too_long = {"parameters": {"nota": "x" * 20_000}}
    for _ in range(8):
        assert (await buyer.buy(a_purchase(10), headers=buyer.impersonated)).status == 401
        assert (await buyer.buy(a_purchase(10, **too_long), headers=buyer.impersonated)).status == 401
        assert (await buyer.validate(waiting, headers=buyer.impersonated)).status == 401
    assert (await buyer.buy(a_purchase(10))).status == 202  # as the participant, through the same application


async def test_recalled_calls_are_counted_once_each(buyer: Buyer) -> None:
    """Those that are refused unread too, and those whose caller had to be looked up again."""
    await change(buyer, calls_per_minute=5)
    await bought(buyer)
    await bought(buyer)
    assert (await buyer.buy({"items": "nada"}, headers=buyer.impersonated)).status == 400
    await patch(buyer, name="Clube Novo")
    await bought(buyer)
    await bought(buyer)
    refused = await buyer.buy(a_purchase(10), headers=buyer.impersonated)
    assert (refused.status, refused.code) == (429, "RDM000927")


async def test_nobody_is_recalled_by_a_credential_secret_that_is_gone(buyer: Buyer) -> None:
    holder: Any = buyer.stage.parts.keyring
    older = holder.keyring
    keys = [key for purpose in Purpose for key in older.all_of(purpose)]
    newest = Key(Purpose.CREDENTIAL, "credential-2", b"n" * 32, datetime(2026, 2, 1, tzinfo=UTC))
    try:
        holder.keyring = Keyring([*keys, newest])
        await bought(buyer)
        holder.keyring = Keyring([newest, *(key for key in keys if key.purpose is not Purpose.CREDENTIAL)])
        assert (await buyer.buy(a_purchase(10), headers=buyer.impersonated)).status == 401
    finally:
        holder.keyring = older


async def test_no_purchase_is_made_by_a_key_that_ended_before_the_call_began(buyer: Buyer) -> None:
    """Calls run without a break while the key ends; none that begins after the end gets through."""
    ended, late = asyncio.Event(), list[int]()

    async def keep_buying() -> None:
        while not ended.is_set() or len(late) < 8:
            began_after = ended.is_set()
            reply = await buyer.buy(a_purchase(1), headers=buyer.impersonated)
            if began_after:
                late.append(reply.status)

    callers = [asyncio.create_task(keep_buying()) for _ in range(3)]
    await asyncio.sleep(0.05)
    await end_key(buyer)
    ended.set()
    await asyncio.gather(*callers)
    assert set(late) == {401}
