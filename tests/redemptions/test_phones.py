"""The life of a security device (redemptions.md §3.1): its table of states, and who may move it."""

from datetime import timedelta
from uuid import uuid4

import pytest

from aval.operations.fresh import new_phone
from tests.phones import Owner, key_of
from tests.redemption_stage import RedemptionStage, reason_of

HOUR = timedelta(hours=1)
WINDOW = "approval_window_expired"


@pytest.fixture
async def owner(redemptions: RedemptionStage) -> Owner:
    return await Owner.make(redemptions)


async def test_the_first_phone_is_active_by_its_own_token_and_may_be_used_at_once(owner: Owner) -> None:
    made = await owner.register("+5511987651234")
    assert (made.status, made.json["status"], made.json["masked_number"]) == (
        202,
        "pending_verification",
        "+55 11 *****-1234",
    )
    approval = made.json["approval"]
    assert (approval["device_id"], approval["attempts_remaining"], approval["token_length"]) == (made.json["id"], 5, 6)
    proven = await owner.validate(made)
    assert (proven.status, proven.json["status"]) == (201, "active")
    assert "approval" not in proven.json and proven.json["active_from"] == proven.json["verified_at"]
    assert await owner.events(made) == ["device.activated"]
    assert await owner.acts(made) == ["device.registered", "device.activated"]
    assert await owner.notices(made) == []


async def test_a_replacement_takes_the_tokens_of_both_numbers_and_waits_for_the_cooldown(owner: Owner) -> None:
    former = await owner.activate()
    made = await owner.register()
    first_token = await owner.token(made)
    waiting = await owner.validate(made)
    assert (waiting.status, waiting.json["status"]) == (202, "pending_replacement")
    approval = waiting.json["approval"]
    assert (approval["device_id"], approval["masked_destination"]) == (former["id"], former["masked_number"])
    assert (approval["attempts_remaining"], approval["generation"]) == (5, 1)
    assert await owner.operation(made) != key_of(made)
    assert (await owner.validate(made, first_token)).code == "RDM000084"
    done = await owner.validate(made)
    assert (done.status, done.json["status"]) == (201, "active")
    cooldown = await owner.stage.value(
        "select active_from - updated_at from phone_devices where device_id = $1", key_of(made)
    )
    assert cooldown == timedelta(hours=24)
    assert await owner.status(former) == ("replaced", None)
    assert await owner.stage.value(
        "select replaced_by from phone_devices where device_id = $1", key_of(former)
    ) == key_of(made)
    assert await owner.events(former) == ["device.activated", "device.replaced"]
    assert await owner.events(made) == ["device.activated"]
    assert await owner.acts(made) == ["device.registered", "device.verified", "device.activated"]
    assert await owner.notices(former) == ["phone_replaced"]


async def test_a_replacement_has_attempts_of_its_own_and_leaves_the_former_device_alone(owner: Owner) -> None:
    former = await owner.activate()
    made = await owner.register()
    for left in (4, 3, 2, 1):
        reply = await owner.wrong(made)
        assert (reply.code, reply.json["extra_fields"]["attempts_remaining"]) == ("RDM000084", left)
    assert (await owner.validate(made)).status == 202
    for _ in range(4):
        await owner.wrong(made)
    last = await owner.wrong(made)
    assert (last.status, last.code) == (400, "RDM000082")
    snapshot = last.json["extra_fields"]["device_data"]
    assert (snapshot["id"], snapshot["status"], snapshot["failure_reason"]) == (
        made.json["id"],
        "failed",
        "attempts_exceeded",
    )
    assert "approval" not in snapshot
    assert await owner.status(former) == ("active", None)
    assert (await owner.validate(made)).code == "RDM000082"
    assert (await owner.resend(made)).code == "RDM000082"
    assert await owner.events(made) == ["device.failed"]


async def test_the_fifth_wrong_token_fails_a_registration_and_a_right_fifth_does_not(owner: Owner) -> None:
    made = await owner.register()
    for _ in range(4):
        assert (await owner.wrong(made)).code == "RDM000084"
    assert (await owner.validate(made)).status == 201
    await owner.operate(made, "reset")
    other = await owner.register()
    for _ in range(4):
        await owner.wrong(other)
    assert (await owner.wrong(other)).code == "RDM000082"
    assert await owner.status(other) == ("failed", "attempts_exceeded")


async def test_attempts_survive_a_resend_whose_former_token_is_wrong(owner: Owner) -> None:
    made = await owner.register()
    await owner.wrong(made)
    assert (await owner.resend(made)).code == "RDM000903"
    await owner.shift(made, timedelta(seconds=30))
    former = await owner.token(made)
    again = await owner.resend(made)
    assert (again.status, again.json["approval"]["generation"], again.json["approval"]["attempts_remaining"]) == (
        202,
        2,
        4,
    )
    late = await owner.validate(made, former)
    assert (late.code, reason_of(late), late.json["extra_fields"]["attempts_remaining"]) == (
        "RDM000084",
        "superseded_token",
        3,
    )
    assert (await owner.validate(made)).status == 201


async def test_resends_end_with_the_policy(redemptions: RedemptionStage) -> None:
    owner = await Owner.make(redemptions, max_resends=1, resend_interval_seconds=10)
    made = await owner.register()
    await owner.shift(made, timedelta(seconds=10))
    assert (await owner.resend(made)).status == 202
    await owner.shift(made, timedelta(seconds=10))
    reply = await owner.resend(made)
    assert (reply.status, reply.code) == (429, "RDM000904") and int(reply.headers["retry-after"]) > 3000


async def test_a_registration_ends_with_its_window(owner: Owner) -> None:
    made = await owner.register()
    await owner.shift(made, HOUR)
    listed = (await owner.ask("GET", "")).json["items"]
    assert [(item["status"], item["failure_reason"]) for item in listed] == [("failed", WINDOW)]
    assert (await owner.validate(made)).code == "RDM000086"
    assert await owner.status(made) == ("failed", WINDOW)
    other = await owner.register()
    await owner.shift(other, HOUR)
    assert (await owner.resend(other)).code == "RDM000086"
    assert await owner.status(other) == ("failed", WINDOW)
    assert await owner.events(other) == ["device.failed"]


async def test_a_newer_registration_ends_the_older_one(owner: Owner) -> None:
    older = await owner.register()
    token = await owner.token(older)
    newer = await owner.register()
    assert await owner.status(older) == ("failed", "superseded")
    assert (await owner.validate(older, token)).code == "RDM000086"
    await owner.shift(newer, HOUR)
    await owner.register()
    assert await owner.status(newer) == ("failed", WINDOW)  # it was over before


async def test_a_newer_registration_ends_a_replacement_that_waits(owner: Owner) -> None:
    former = await owner.activate()
    waiting = await owner.register()
    assert (await owner.validate(waiting)).status == 202
    token = await owner.token(waiting)
    await owner.register()
    assert await owner.status(waiting) == ("failed", "superseded")
    assert (await owner.validate(waiting, token)).code == "RDM000086"
    assert await owner.status(former) == ("active", None)


async def test_more_than_five_registrations_in_a_day_wait(owner: Owner) -> None:
    made = [await owner.register() for _ in range(5)]
    reply = await owner.register()
    assert (reply.status, reply.code) == (429, "RDM000921") and 86_000 < int(reply.headers["retry-after"]) <= 86_400
    assert await owner.status(made[-1]) == ("pending_verification", None)
    await owner.stage.execute(
        "update phone_devices set created_at = created_at - interval '24 hours' where device_id = $1", key_of(made[0])
    )
    assert (await owner.register()).status == 202


async def test_a_participant_removes_the_device_or_ends_a_registration(owner: Owner) -> None:
    made = await owner.register()
    assert (await owner.remove(made)).status == 204
    assert await owner.status(made) == ("failed", "device_changed")
    active = await owner.activate()
    waiting = await owner.register()
    assert (await owner.validate(waiting)).status == 202
    gone = await owner.remove(active)
    assert (gone.status, gone.body) == (204, b"")
    assert await owner.status(active) == ("removed", None)
    assert await owner.status(waiting) == ("failed", "device_changed")
    assert await owner.notices(active) == ["phone_removed"]
    again = await owner.remove(active)
    assert (again.status, again.code, again.json["extra_fields"]["status"]) == (409, "RDM000912", "removed")
    later = await owner.activate()
    assert later["active_from"] > later["verified_at"]  # not the first device ever


async def test_while_a_device_is_blocked_nothing_is_registered_or_removed(owner: Owner) -> None:
    active = await owner.activate()
    waiting = await owner.register()
    blocked = await owner.operate(active, "block", "suspeito")
    assert (blocked.status, blocked.json["status"]) == (200, "blocked")
    assert await owner.status(waiting) == ("failed", "device_changed")
    for reply in (await owner.register(), await owner.remove(active), await owner.remove(waiting)):
        assert (reply.status, reply.code, reply.json["extra_fields"]["status"]) == (409, "RDM000912", "blocked")
    assert (await owner.operate(active, "block")).code == "RDM000912"
    free = await owner.operate(active, "unblock")
    assert (free.status, free.json["status"], free.json["active_from"]) == (200, "active", active["active_from"])
    assert (await owner.operate(active, "unblock")).code == "RDM000912"
    assert await owner.events(active) == ["device.activated", "device.blocked", "device.unblocked"]
    assert await owner.notices(active) == ["phone_blocked"]
    reason = await owner.stage.value(
        "select details ->> 'reason' from audit where action = 'device.blocked' and details ->> 'key' = $1",
        active["id"],
    )
    assert reason == "suspeito"


async def test_a_reset_completes_a_replacement_that_waits(owner: Owner) -> None:
    active = await owner.activate()
    waiting = await owner.register()
    assert (await owner.validate(waiting)).status == 202
    token = await owner.token(waiting)
    gone = await owner.operate(active, "reset")
    assert (gone.status, gone.json["status"]) == (200, "removed")
    assert await owner.status(waiting) == ("active", None)
    cooldown = await owner.stage.value(
        "select active_from - updated_at from phone_devices where device_id = $1", key_of(waiting)
    )
    assert cooldown == timedelta(hours=24)
    assert (await owner.validate(waiting, token)).code == "RDM000086"
    assert await owner.events(active) == ["device.activated", "device.removed"]
    assert await owner.events(waiting) == ["device.activated"]


async def test_a_reset_leaves_a_number_that_is_not_proven_yet_in_registration(owner: Owner) -> None:
    active = await owner.activate()
    made = await owner.register()
    assert (await owner.operate(active, "block")).status == 200
    assert (await owner.operate(active, "reset")).json["status"] == "removed"
    assert await owner.status(made) == ("failed", "device_changed")  # by the block
    other = await owner.activate()
    new = await owner.register()
    assert (await owner.operate(other, "reset")).status == 200
    assert await owner.status(new) == ("pending_verification", None)
    assert (await owner.validate(new)).status == 201


async def test_a_reset_past_the_window_of_the_replacement_finds_it_failed(owner: Owner) -> None:
    active = await owner.activate()
    waiting = await owner.register()
    await owner.validate(waiting)
    await owner.shift(waiting, HOUR)
    assert (await owner.operate(active, "reset")).status == 200
    assert await owner.status(waiting) == ("failed", WINDOW)


@pytest.mark.parametrize("act", ["block", "unblock", "reset"])
async def test_the_operator_acts_on_present_devices_alone(owner: Owner, act: str) -> None:
    made = await owner.register()
    reply = await owner.operate(made, act)
    assert (reply.status, reply.code) == (409, "RDM000912")
    assert reply.json["extra_fields"]["status"] == "pending_verification"
    for unknown in (uuid4(), "x"):
        path = f"/devices/{unknown}/{act}"
        reply = await owner.stage.call("POST", path, {"reason": "x"}, headers=await owner.stage.operator())
        assert (reply.status, reply.code, reply.json["extra_fields"]["resource"]) == (404, "RDM000910", "device")
    for body in ({}, {"reason": ""}, {"reason": "x" * 201}, {"reason": "a\nb"}):
        path = f"/devices/{made.json['id']}/{act}"
        reply = await owner.stage.call("POST", path, body, headers=await owner.stage.operator())
        assert reply.code == "QIT000001"


async def test_a_number_serves_as_many_participants_as_the_policy_says(redemptions: RedemptionStage) -> None:
    first = await Owner.make(redemptions, max_participants_per_number=2)
    second, third = [await Owner.make(redemptions, first.campaign, first.application) for _ in range(2)]
    number = new_phone()
    await first.activate(number)
    await second.activate(number)
    refused = await third.register(number)
    assert (refused.status, refused.code) == (422, "RDM000920")
    assert (await first.register(number)).status == 202  # one's own number does not count
    elsewhere = await Owner.make(redemptions)
    assert (await elsewhere.activate(number))["status"] == "active"
    (device,) = (await second.ask("GET", "")).json["items"]
    assert (await second.remove(device)).status == 204
    assert (await third.register(number)).status == 202


async def test_of_two_who_register_a_number_at_once_the_first_to_prove_it_has_it(redemptions: RedemptionStage) -> None:
    first = await Owner.make(redemptions)
    second = await Owner.make(redemptions, first.campaign, first.application)
    number = new_phone()
    one, other = await first.register(number), await second.register(number)
    assert (await second.validate(other)).status == 201
    late = await first.validate(one)
    assert (late.status, late.code) == (422, "RDM000920")
    assert await first.status(one) == ("pending_verification", None)
    attempts = await first.stage.value("select attempts_used from challenges where operation_id = $1", key_of(one))
    assert attempts == 0


async def test_the_number_is_judged_again_before_the_former_device_is_asked(redemptions: RedemptionStage) -> None:
    first = await Owner.make(redemptions)
    second = await Owner.make(redemptions, first.campaign, first.application)
    await first.activate()
    number = new_phone()
    made = await first.register(number)
    await second.activate(number)
    assert (await first.validate(made)).code == "RDM000920"
    assert await first.status(made) == ("pending_verification", None)


async def test_a_reset_does_not_complete_a_replacement_whose_number_others_took(redemptions: RedemptionStage) -> None:
    first = await Owner.make(redemptions)
    second = await Owner.make(redemptions, first.campaign, first.application)
    active, number = await first.activate(), new_phone()
    waiting = await first.register(number)
    assert (await first.validate(waiting)).status == 202
    await second.activate(number)
    assert (await first.validate(waiting)).code == "RDM000920"
    assert (await first.operate(active, "reset")).status == 200
    assert await first.status(waiting) == ("failed", "device_changed")
