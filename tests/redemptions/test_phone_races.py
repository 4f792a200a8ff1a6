"""Calls on devices at the same moment: one wins, the other answers by what it finds; nothing is counted twice."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from aval.operations.fresh import new_phone
from tests.dripping import dripping
from tests.factories import Reply
from tests.phones import Owner, key_of
from tests.redemption_stage import RedemptionStage
from tests.stage import wrong

ROUNDS = 4  # with either order of the two calls


@pytest.fixture
async def owner(redemptions: RedemptionStage) -> Owner:
    return await Owner.make(redemptions)


def told(replies: list[Reply]) -> Counter[str]:
    """How many answered what: the code, or the status of a success."""
    return Counter(str(reply.status) if reply.status < 400 else str(reply.code) for reply in replies)


async def in_either_order(first: Any, second: Any, round_no: int) -> tuple[Reply, Reply]:
    """Run two calls at once, now one and now the other started first."""
    if round_no % 2:
        two, one = await asyncio.gather(second, first)
    else:
        one, two = await asyncio.gather(first, second)
    return one, two


async def test_of_many_right_tokens_one_succeeds(owner: Owner) -> None:
    made = await owner.register()
    token = await owner.token(made)
    replies = await asyncio.gather(*[owner.validate(made, token) for _ in range(12)])
    assert told(replies) == {"201": 1, "RDM000086": 11}
    assert await owner.events(made) == ["device.activated"]
    comparisons = await owner.stage.value("select count(*) from comparisons where operation_id = $1", key_of(made))
    assert comparisons == 1


async def test_forty_wrong_tokens_are_five_comparisons_and_one_failure(owner: Owner) -> None:
    made = await owner.register()
    token = wrong(await owner.token(made))
    replies = await asyncio.gather(*[owner.validate(made, token) for _ in range(40)])
    assert told(replies) == {"RDM000084": 4, "RDM000082": 36}
    verdicts = await owner.stage.fetch(
        "select verdict, comparison_no from comparisons where operation_id = $1 order by comparison_no", key_of(made)
    )
    assert verdicts == [("wrong", number) for number in range(1, 6)]
    assert await owner.events(made) == ["device.failed"]
    assert await owner.acts(made) == ["device.registered", "device.failed"]


async def test_right_tokens_under_one_key_are_one_answer(owner: Owner) -> None:
    made = await owner.register()
    token = await owner.token(made)
    replies = await asyncio.gather(*[owner.validate(made, token, idempotency_key="k") for _ in range(8)])
    assert told(replies) == {"201": 8} and len({reply.body for reply in replies}) == 1


async def test_a_token_against_the_removal_of_its_registration(owner: Owner) -> None:
    for round_no in range(ROUNDS):
        owner = await Owner.make(owner.stage, owner.campaign, owner.application)
        made = await owner.register()
        token = await owner.token(made)
        proven, gone = await in_either_order(owner.validate(made, token), owner.remove(made), round_no)
        assert gone.status == 204
        if proven.status == 201:
            assert await owner.status(made) == ("removed", None)
        else:
            assert proven.code == "RDM000086"
            assert await owner.status(made) == ("failed", "device_changed")


async def test_a_token_against_a_newer_registration(owner: Owner) -> None:
    for round_no in range(ROUNDS):
        owner = await Owner.make(owner.stage, owner.campaign, owner.application)
        made = await owner.register()
        token = await owner.token(made)
        proven, newer = await in_either_order(owner.validate(made, token), owner.register(), round_no)
        assert newer.status == 202
        if proven.status == 201:
            assert await owner.status(made) == ("active", None)
        else:
            assert proven.code == "RDM000086"
            assert await owner.status(made) == ("failed", "superseded")
        assert await owner.status(newer) == ("pending_verification", None)


@pytest.mark.parametrize("act", ["block", "reset"])
async def test_the_token_of_the_former_device_against_the_operator(owner: Owner, act: str) -> None:
    for round_no in range(ROUNDS):
        owner = await Owner.make(owner.stage, owner.campaign, owner.application)
        former = await owner.activate()
        made = await owner.register()
        assert (await owner.validate(made)).status == 202
        token = await owner.token(made)
        proven, operated = await in_either_order(owner.validate(made, token), owner.operate(former, act), round_no)
        after, status = await owner.status(former), await owner.status(made)
        if proven.status == 201:
            assert operated.json["extra_fields"]["status"] == "replaced"
            assert (after, status) == (("replaced", None), ("active", None))
        elif act == "block":
            assert (operated.status, proven.code) == (200, "RDM000086")
            assert (after, status) == (("blocked", None), ("failed", "device_changed"))
        else:
            assert (operated.status, proven.code) == (200, "RDM000086")
            assert (after, status) == (("removed", None), ("active", None))


async def test_the_token_of_the_former_device_against_its_removal(owner: Owner) -> None:
    for round_no in range(ROUNDS):
        owner = await Owner.make(owner.stage, owner.campaign, owner.application)
        former = await owner.activate()
        made = await owner.register()
        assert (await owner.validate(made)).status == 202
        token = await owner.token(made)
        proven, gone = await in_either_order(owner.validate(made, token), owner.remove(former), round_no)
        after, status = await owner.status(former), await owner.status(made)
        if proven.status == 201:
            assert (gone.code, after, status) == ("RDM000912", ("replaced", None), ("active", None))
        else:
            assert (gone.status, proven.code) == (204, "RDM000086")
            assert (after, status) == (("removed", None), ("failed", "device_changed"))


async def test_of_many_registrations_at_once_five_are_taken_and_the_last_one_waits(owner: Owner) -> None:
    replies = await asyncio.gather(*[owner.register() for _ in range(9)])
    assert told(replies) == {"202": 5, "RDM000921": 4}
    states = await owner.stage.fetch(
        "select status, failure_reason from phone_devices where participant_id = $1 order by created_at",
        owner.person.key,
    )
    assert sorted(states) == [("failed", "superseded")] * 4 + [("pending_verification", None)]
    assert (
        await owner.stage.value(
            "select count(*) from challenges c join operations o using (integrator_id, operation_id)"
            " where o.approver_id = $1 and c.status = 'pending_2fa_approval'",
            owner.person.key,
        )
        == 1
    )


async def test_of_participants_who_prove_one_number_at_once_one_has_it(redemptions: RedemptionStage) -> None:
    first = await Owner.make(redemptions)
    owners = [first, *[await Owner.make(redemptions, first.campaign, first.application) for _ in range(3)]]
    number = new_phone()
    made = [await owner.register(number) for owner in owners]
    tokens = [await owner.token(device) for owner, device in zip(owners, made, strict=True)]
    calls = zip(owners, made, tokens, strict=True)
    replies = await asyncio.gather(*[owner.validate(device, token) for owner, device, token in calls])
    assert told(replies) == {"201": 1, "RDM000920": 3}


async def test_a_token_that_died_while_its_call_waited_for_the_lock_is_dead(owner: Owner) -> None:
    made = await owner.register()
    token = await owner.token(made)
    async with owner.stage.db.transaction() as connection:
        await connection.execute(
            "select from participants where participant_id = $1 for no key update", owner.person.key
        )
        await owner.shift(made, timedelta(minutes=4, seconds=59, milliseconds=500))
        call = asyncio.create_task(owner.validate(made, token))
        await asyncio.sleep(0.6)
    assert (await call).code == "RDM000083"
    attempts = await owner.stage.value("select attempts_used from challenges where operation_id = $1", key_of(made))
    assert attempts == 0 and await owner.status(made) == ("pending_verification", None)
    assert (await owner.wrong(made)).code == "RDM000083"


@pytest.mark.parametrize(
    ("age", "code"),
    [
        (timedelta(minutes=4, seconds=58), None),
        (timedelta(minutes=5), "RDM000083"),
        (timedelta(minutes=59), "RDM000083"),
    ],
)
async def test_a_token_lives_five_minutes(owner: Owner, age: timedelta, code: str | None) -> None:
    made = await owner.register()
    await owner.shift(made, age)
    assert (await owner.validate(made)).code == code


async def test_a_call_that_waited_for_its_window_to_end_finds_it_over(owner: Owner) -> None:
    made = await owner.register()
    token = await owner.token(made)
    async with owner.stage.db.transaction() as connection:
        await connection.execute("select from challenges where operation_id = $1 for no key update", key_of(made))
        call = asyncio.create_task(owner.validate(made, token))
        await asyncio.sleep(0.2)
        await connection.execute(
            "update challenges set approval_deadline = clock_timestamp() where operation_id = $1", key_of(made)
        )
    assert (await call).code == "RDM000086"
    assert await owner.status(made) == ("failed", "approval_window_expired")


async def test_a_registration_whose_body_drips_is_under_the_policy_in_force(owner: Owner) -> None:
    stage, number = owner.stage, new_phone()
    await stage.policy(owner.campaign, max_participants_per_number=2)
    other = await Owner.make(stage, owner.campaign, owner.application)
    await other.activate(number)
    asked = {"type": "phone", "number": number}
    async with dripping(stage, "POST", "/participants/me/devices", asked, headers=owner.headers) as answered:
        await stage.policy(owner.campaign, max_participants_per_number=1)
    assert (await answered).json["code"] == "RDM000920"
