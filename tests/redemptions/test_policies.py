"""A policy changes under way: what is in flight keeps its version, and applications are told."""

from typing import Any
from uuid import UUID

import pytest

from aval.domain.purchase_request import PurchaseRequest
from tests.buyers import ENABLED, Buyer, a_purchase
from tests.redemption_stage import RedemptionStage


@pytest.fixture
async def buyer(redemptions: RedemptionStage) -> Buyer:
    return await Buyer.make(redemptions)


async def put(buyer: Buyer, **policy: Any) -> None:
    await buyer.stage.policy(buyer.campaign, **policy)


async def test_switching_the_second_factor_off_lets_no_pending_purchase_through(buyer: Buyer) -> None:
    pending = await buyer.bought()
    await put(buyer, enabled=False)
    read = await buyer.read(pending)
    assert (read["status"], read["policy_version"]) == ("pending_2fa_approval", 2)
    assert (await buyer.wrong(pending)).code == "RDM000084"
    assert (await buyer.validate(pending)).json["status"] == "confirmed"
    assert (await buyer.buy()).status == 201


async def test_switching_it_on_touches_neither_confirmed_nor_authorized_purchases(redemptions: RedemptionStage) -> None:
    buyer = await Buyer.make(redemptions, policy={"enabled": False})
    confirmed, authorized = await buyer.bought(a_purchase(1_000)), await buyer.authorize(a_purchase(2_000))
    await put(buyer, **ENABLED)
    assert (await buyer.read(confirmed))["status"] == "confirmed"
    assert (await buyer.confirm(authorized)).json["status"] == "confirmed"
    assert (await buyer.buy()).status == 202


async def test_resends_and_window_are_those_of_the_version_a_purchase_was_made_under(buyer: Buyer) -> None:
    await put(buyer, **ENABLED, max_resends=0, approval_window_minutes=5)
    strict = await buyer.bought(a_purchase(1_000))
    await put(buyer, **ENABLED, max_resends=5, approval_window_minutes=1440)
    mild = await buyer.bought(a_purchase(1_000))
    assert strict["approval"]["can_resend_at"] is None and mild["approval"]["can_resend_at"] is not None
    assert (await buyer.resend(strict)).code == "RDM000904"
    await put(buyer, **ENABLED, max_resends=0)
    assert (await buyer.resend(mild)).code == "RDM000903"
    assert (await buyer.read(strict))["approval"] == strict["approval"]


async def test_a_campaign_whose_rules_never_rest_takes_no_purchase(
    buyer: Buyer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk: Any = buyer.stage.parts.redemption_desk
    requested, present = desk._requested, desk._under_present_rules

    async def changed_before(request: PurchaseRequest) -> Any:
        await put(buyer, **ENABLED)
        return await requested(request)

    async def changed_after(request: PurchaseRequest) -> PurchaseRequest:
        found: PurchaseRequest = await present(request)
        await put(buyer, **ENABLED)
        return found

    monkeypatch.setattr(desk, "_requested", changed_before)
    assert (await buyer.buy()).status == 202
    monkeypatch.setattr(desk, "_under_present_rules", changed_after)
    refused = await buyer.buy()
    buyer.stage.faults.clear()
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert await buyer.stage.value("select count(*) from purchases where integrator_id = $1", buyer.campaign.key) == 1


async def test_a_paused_campaign_takes_no_new_purchase_and_ends_what_is_in_flight(buyer: Buyer) -> None:
    pending = await buyer.bought()
    path = f"/campaigns/{buyer.campaign.campaign_id}"
    for status in ("paused", "closed"):
        await buyer.stage.call("PATCH", path, {"status": status}, headers=await buyer.stage.operator())
        refused = await buyer.buy()
        assert (refused.status, refused.code) == (422, "RDM000914")
    assert (await buyer.validate(pending)).status == 201


async def test_applications_are_told_of_the_policy_and_of_points(redemptions: RedemptionStage) -> None:
    campaign = await redemptions.campaign()
    await redemptions.application(campaign, webhook_url="https://hooks.example.com/a")
    await redemptions.application(campaign, webhook_url="https://hooks.example.com/b")
    await redemptions.application(campaign)  # without an address
    buyer = await Buyer.make(redemptions, campaign=campaign, has_phone=False)
    await redemptions.policy(campaign, **ENABLED)
    rows = await redemptions.fetch(
        "select e.event_type, e.operation_kind, e.operation_id, e.sequence, count(c.callback_id) from events e"
        " left join callbacks c on c.integrator_id = e.integrator_id and c.event_id = e.event_id"
        " where e.integrator_id = $1 group by 1, 2, 3, 4 order by 1",
        campaign.key,
    )
    person: UUID = buyer.person.key
    assert rows == [
        ("points.credited", "participant", person, 1, 2),
        ("two_factor.policy_changed", "campaign", campaign.key, 1, 2),
    ]


async def test_every_answer_fits_the_document(redemptions: RedemptionStage) -> None:
    assert redemptions.faults == []
