"""Budgets over many operations are windows over comparisons (transfers.md §8.3, promises.md §7)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from aval.domain.budget import BudgetFigures
from aval.operations.request_transfer import Rules
from tests.factories import Party, Reply, make_contact
from tests.stage import Stage, wrong

DAY_S = 86_400


@pytest.fixture
async def guarded(stage: Stage) -> AsyncIterator[Party]:
    """A party whose budgets count; on a shared stage its comparisons are aged away afterwards."""
    party = await stage.party(budgets=True)
    yield party
    await age(stage, party, timedelta(days=40))


async def age(stage: Stage, party: Party, by: timedelta) -> None:
    """Let time pass for all comparisons and messages of a party."""
    async with stage.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        for table, moment in (("comparisons", "judged_at"), ("outbox", "created_at")):
            await connection.execute(
                f"update {table} set {moment} = {moment} - $2::interval where integrator_id = $1", party.key, by
            )


async def guess(stage: Stage, party: Party, count: int, kind: str = "pix_transfer") -> UUID:
    """So many wrong tokens on a new operation."""
    key = await stage.request(party, kind)
    token = await stage.token(party, key)
    for _ in range(count):
        assert (await stage.validate(party, key, wrong(token), kind)).code in (
            *("PXT000173", "PXT000171", "TED000084", "TED000082"),
        )
    return key


def stop_of(answer: Reply) -> tuple[int, str | None, str | None]:
    return answer.status, answer.code, answer.json["extra_fields"].get("reason")


LOCKED = (429, "QIT000943", "approver_locked")


async def test_twenty_wrong_tokens_lock_the_approver_for_the_day(stage: Stage, guarded: Party):
    keys = [await guess(stage, guarded, 4) for _ in range(5)]
    last = keys[-1]
    await stage.shift(last, 60)
    before = await stage.counts(last)
    answers = [await stage.create(guarded), await stage.resend(guarded, last), await stage.approve(guarded, last)]
    for answer in answers:
        assert stop_of(answer) == LOCKED
        assert DAY_S - 60 < int(answer.headers["retry-after"]) <= DAY_S
        assert answer.headers["retry-after"] in answer.json["description"]
    assert await stage.counts(last) == before
    assert (await stage.cancel(guarded, last)).status == 200
    await age(stage, guarded, timedelta(hours=24))
    assert (await stage.approve(guarded, keys[0])).status == 202


async def test_the_lock_ends_when_the_oldest_of_the_twenty_leaves_the_window(stage: Stage, guarded: Party):
    await guess(stage, guarded, 4)
    await age(stage, guarded, timedelta(hours=23, minutes=59))
    keys = [await guess(stage, guarded, 4) for _ in range(4)]
    answer = await stage.approve(guarded, keys[0])
    assert stop_of(answer) == LOCKED and int(answer.headers["retry-after"]) <= 60
    await age(stage, guarded, timedelta(minutes=1))
    assert (await stage.approve(guarded, keys[0])).status == 202


async def test_two_exhausted_operations_lock_for_a_day_after_the_second(stage: Stage, guarded: Party):
    waiting = await stage.request(guarded)
    for _ in range(2):
        assert (await stage.create(guarded)).status == 202
        await guess(stage, guarded, 5)
        await age(stage, guarded, timedelta(hours=20))
    answer = await stage.approve(guarded, waiting)
    assert stop_of(answer) == LOCKED and int(answer.headers["retry-after"]) <= 4 * 3_600
    await age(stage, guarded, timedelta(hours=4))
    assert (await stage.approve(guarded, waiting)).status == 202


async def test_a_hundred_in_thirty_days_lock_until_the_window_has_room(stage: Stage, guarded: Party):
    key = await stage.request(guarded)
    for _ in range(25):
        assert (await stage.cancel(guarded, await guess(stage, guarded, 4))).status == 200
        await age(stage, guarded, timedelta(hours=25))
    answer = await stage.approve(guarded, key)
    assert stop_of(answer) == LOCKED
    await make_contact(stage.db, guarded.key, guarded.approver.key, "sms", "+5511987654321")
    answer = await stage.approve(guarded, key)
    wait_s = int(answer.headers["retry-after"])
    assert stop_of(answer) == LOCKED and abs(wait_s - (30 * DAY_S - 25 * 25 * 3_600)) < 60
    await age(stage, guarded, timedelta(seconds=wait_s))
    assert (await stage.approve(guarded, key)).status == 202


async def test_a_lock_concerns_one_approver_of_one_integrator(stage: Stage, guarded: Party):
    for _ in range(5):
        await guess(stage, guarded, 4)
    other = await stage.party(budgets=True)
    assert (await stage.approve(other, await stage.request(other))).status == 202
    assert stop_of(await stage.create(guarded)) == LOCKED


async def test_without_budgets_nothing_is_counted(stage: Stage, party: Party):
    for _ in range(3):
        await guess(stage, party, 5)
    for _ in range(3):
        await guess(stage, party, 4)
    assert (await stage.approve(party, await stage.request(party))).status == 202
    assert (
        await stage.value("select bool_or(is_budgeted) from comparisons where integrator_id = $1", party.key) is False
    )


async def test_a_spent_digits_budget_ends_live_digits_tokens_and_brings_stronger_ones(stage: Stage, guarded: Party):
    waiting, pix = await stage.request(guarded, "ted"), await stage.request(guarded)
    for _ in range(2):
        await guess(stage, guarded, 4, "ted")
    token = await stage.token(guarded, waiting)
    assert token.isdigit()
    for given in (token, wrong(token)):
        assert (await stage.validate(guarded, waiting, given, "ted")).code == "TED000083"
    assert await stage.counts(waiting) == (0, 0, 0, 0)
    alphabets = "select alphabets from challenges where operation_id = $1"
    fresh = await stage.request(guarded, "ted")
    assert await stage.value(alphabets, fresh) == "c"
    assert (await stage.approve(guarded, pix)).status == 202
    await stage.shift(waiting, 30)
    assert (await stage.resend(guarded, waiting, "ted")).status == 202
    assert await stage.value(alphabets, waiting) == "dc"
    superseded = await stage.validate(guarded, waiting, token, "ted")
    assert (superseded.code, superseded.json["extra_fields"]) == ("TED000084", {"reason": "superseded_token"})
    assert (await stage.approve(guarded, waiting, "ted")).status == 202
    await age(stage, guarded, timedelta(days=30))
    assert await stage.value(alphabets, await stage.request(guarded, "ted")) == "d"


async def tight_stage(own_stage: Stage, **figures: int) -> Stage:
    rules = Rules(figures=BudgetFigures(**figures))
    return await Stage.make(own_stage.db, own_stage.open_as, rules=rules, processes=2)


@pytest.mark.parametrize(
    ("figures", "reason"),
    [({"integrator_wrong_24h_max": 4}, "integrator_paused"), ({"platform_wrong_24h_max": 4}, "platform_paused")],
)
async def test_integrator_and_platform_pause(own_stage: Stage, figures: dict[str, int], reason: str):
    stage = await tight_stage(own_stage, **figures)
    party, other, free = await stage.party(budgets=True), await stage.party(budgets=True), await stage.party()
    key = await guess(stage, party, 4)
    await stage.shift(key, 60)
    for answer in (await stage.create(party), await stage.resend(party, key), await stage.approve(party, key)):
        assert stop_of(answer) == (429, "QIT000943", reason)
        assert DAY_S - 60 < int(answer.headers["retry-after"]) <= DAY_S
    assert (await stage.create(other)).status == (429 if reason == "platform_paused" else 202)
    assert (await stage.create(free)).status == 202
    assert (await stage.create(party, "ted")).status == 429


async def test_an_integrators_digits_budget_makes_its_next_tokens_stronger_but_ends_none(own_stage: Stage):
    stage = await tight_stage(own_stage, integrator_digits_wrong_24h_max=4)
    party = await stage.party(budgets=True)
    waiting = await stage.request(party, "ted")
    await guess(stage, party, 4, "ted")
    alphabets = "select alphabets from challenges where operation_id = $1"
    assert await stage.value(alphabets, await stage.request(party, "ted")) == "c"
    assert (await stage.approve(party, waiting, "ted")).status == 202


async def test_parallel_guesses_overshoot_a_budget_by_no_more_than_what_was_in_flight(own_stage: Stage):
    stage = await tight_stage(
        own_stage,
        approver_wrong_24h_max=6,
        approver_unanswered_10min_max=30,
        approver_unanswered_24h_max=30,
        approver_pending_max=30,
    )
    party = await stage.party(budgets=True)
    keys = [await stage.request(party) for _ in range(30)]
    answers = []
    for start in range(0, 30, 10):
        calls = (stage.validate(party, key, "000000", process=n) for n, key in enumerate(keys[start : start + 10]))
        answers += await asyncio.gather(*calls)
    counted = Counter(answer.code for answer in answers)
    assert 6 <= counted["PXT000173"] <= 6 + 10 and counted["PXT000173"] + counted["QIT000943"] == 30
