"""Purchases and registrations whose time is over are ended by the worker, under its own role."""

from datetime import timedelta

import pytest

from aval.operations.expire_purchases import expire_authorizations
from aval.operations.expire_window import expire_windows
from aval.storage.database import Database
from tests.buyers import ENABLED, Buyer, a_purchase
from tests.redemption_stage import RedemptionStage

HOUR = timedelta(hours=1)


@pytest.fixture
async def stage(own_redemptions: RedemptionStage) -> RedemptionStage:
    return own_redemptions


@pytest.fixture
async def settle_db(stage: RedemptionStage, db_as) -> Database:  # type: ignore[no-untyped-def]
    return await db_as("aval_app_settle")


async def test_the_sweeper_rejects_purchases_past_their_window_and_gives_points_back(
    stage: RedemptionStage, settle_db: Database
) -> None:
    buyer = await Buyer.make(stage)
    late = [await buyer.bought(a_purchase(1_000)) for _ in range(3)]
    fresh = await buyer.bought(a_purchase(2_000), x_correlation_id="origem-1")
    for purchase in late:
        await buyer.shift(purchase, HOUR)
    assert await expire_windows(settle_db, most=10) == (3, 0)
    assert await buyer.balance() == (18_000, 2_000)
    for purchase in late:
        assert await buyer.told(purchase) == ["pending_2fa_approval", "rejected"]
        assert await buyer.ledger(purchase) == ["reserve", "release"]
        assert (await buyer.read(purchase))["rejection_reason"] == "approval_window_expired"
    assert await expire_windows(settle_db, most=10) == (0, 0)
    assert (await buyer.read(fresh))["status"] == "pending_2fa_approval"
    rows = await stage.fetch(
        "select actor, e.correlation_id from audit a join events e on e.operation_id = a.operation_id"
        " where a.operation_id = $1::uuid and a.action = 'purchase.rejected' and e.event_type = 'purchase.rejected'",
        late[0]["id"],
    )
    assert rows == [("worker", late[0]["origin_correlation_id"])]


async def test_the_sweeper_fails_registrations_past_their_window(stage: RedemptionStage, settle_db: Database) -> None:
    buyer = await Buyer.make(stage, has_phone=False, points=0)
    device = await buyer.owner.register()
    await buyer.owner.shift(device, HOUR)
    assert await expire_windows(settle_db, most=10) == (1, 0)
    assert await buyer.owner.status(device) == ("failed", "approval_window_expired")
    assert await buyer.owner.events(device) == ["device.failed"]


async def test_a_registration_whose_token_is_judged_elsewhere_is_left_for_the_next_sweep(
    stage: RedemptionStage, settle_db: Database
) -> None:
    buyer = await Buyer.make(stage, has_phone=False, points=0)
    device = await buyer.owner.register()
    await buyer.owner.shift(device, HOUR)
    async with stage.db.transaction() as connection:
        await connection.execute("select from challenges for no key update")
        assert await expire_windows(settle_db, most=10) == (0, 0)
    assert await buyer.owner.status(device) == ("pending_verification", None)
    assert await expire_windows(settle_db, most=10) == (1, 0)


async def test_the_sweeper_expires_authorizations_from_a_watermark_on(
    stage: RedemptionStage, settle_db: Database
) -> None:
    buyer = await Buyer.make(stage, has_phone=False, policy={"authorization_ttl_minutes": 5})
    late, fresh = await buyer.authorize(a_purchase(1_000)), await buyer.authorize(a_purchase(2_000))
    await buyer.shift_authorization(late, timedelta(minutes=5))
    assert await expire_authorizations(settle_db, most=1) == (1, 0)
    assert await stage.value("select count(*) from sweeps where name = 'authorizations'") == 0
    assert await expire_authorizations(settle_db, most=10) == (0, 0)
    assert await stage.value("select swept_until < clock_timestamp() from sweeps where name = 'authorizations'")
    assert await buyer.told(late) == ["authorized", "expired"]
    assert await buyer.balance() == (18_000, 2_000)
    assert (await buyer.read(fresh))["status"] == "authorized"
    assert (await buyer.confirm(fresh)).status == 200


async def test_what_is_locked_elsewhere_is_left_for_the_next_sweep(stage: RedemptionStage, settle_db: Database) -> None:
    buyer = await Buyer.make(stage, policy={**ENABLED, "authorization_ttl_minutes": 5})
    pending, authorized = await buyer.bought(a_purchase(1_000)), await buyer.authorize(a_purchase(1_000))
    await buyer.validate(authorized)
    await buyer.shift(pending, HOUR)
    await buyer.shift_authorization(authorized, HOUR)
    async with stage.db.transaction() as connection:
        await connection.execute("select from purchases for no key update")
        assert await expire_windows(settle_db, most=10) == (0, 0)
        await expire_authorizations(settle_db, most=10)
    assert await buyer.balance() == (18_000, 2_000)
    assert await expire_windows(settle_db, most=10) == (1, 0)
    assert await expire_authorizations(settle_db, most=10) == (1, 0)
    assert await buyer.balance() == (20_000, 0)
