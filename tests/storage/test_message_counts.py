"""Messages and pending operations of an approver are counted from rows (transfers.md §8.3, promises.md AB1)."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from aval.domain.budget import BudgetFigures
from aval.operations.expire_window import expire_windows
from aval.operations.request_transfer import Rules
from aval.storage.message_counts import lock_approvers, read_message_histories
from tests.factories import Party, Reply
from tests.stage import Stage, ted_body, wrong

TEN_MINUTES, DAY = timedelta(minutes=10), timedelta(hours=24)


@pytest.fixture
async def guarded(stage: Stage) -> Party:
    """A sandbox party whose budgets count."""
    return await stage.party(budgets=True)


async def staged(own_stage: Stage, **figures: int) -> Stage:
    return await Stage.make(own_stage.db, own_stage.open_as, rules=Rules(figures=BudgetFigures(**figures)), processes=2)


async def known(stage: Stage, party: Party, most: int = 200) -> tuple[int, int, int]:
    """How many messages, unanswered ones and pending operations are counted."""
    async with stage.parts.db.reading() as connection:
        _, histories = await read_message_histories(connection, [(party.key, party.approver.key)], most=most)
    history = histories[party.key, party.approver.key]
    return len(history.made), len(history.unanswered), history.pending


async def age(stage: Stage, party: Party, by: timedelta) -> None:
    """Let time pass for all messages of a party."""
    await stage.execute(
        "update outbox set created_at = created_at - $2::interval where integrator_id = $1", party.key, by
    )


def stop_of(answer: Reply) -> tuple[int, str | None, str | None]:
    return answer.status, answer.code, answer.json["extra_fields"].get("reason")


LIMITED = (429, "QIT000943", "message_limit")
FULL = (400, "PXT000914", "pending_operations_limit")


async def test_six_unanswered_messages_stop_the_seventh_until_the_oldest_is_ten_minutes_old(
    stage: Stage, guarded: Party
):
    await stage.request(guarded)
    await age(stage, guarded, TEN_MINUTES - timedelta(seconds=30))
    keys = [await stage.request(guarded) for _ in range(5)]
    await stage.shift(keys[0], 60)
    before = await known(stage, guarded)
    assert before == (6, 6, 6)
    for answer in (
        await stage.create(guarded),
        await stage.create(guarded, "ted"),
        await stage.resend(guarded, keys[0]),
    ):
        assert stop_of(answer) == LIMITED
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert answer.headers["retry-after"] in answer.json["description"]
    assert await known(stage, guarded) == before
    await age(stage, guarded, timedelta(seconds=31))
    assert (await stage.create(guarded)).status == 202
    assert stop_of(await stage.create(guarded)) == LIMITED


async def test_twenty_unanswered_messages_stop_for_the_day(own_stage: Stage):
    stage = await staged(own_stage, approver_pending_max=100)
    party = await stage.party(budgets=True)
    for _ in range(4):
        await stage.requests(party, 5)
        await age(stage, party, TEN_MINUTES)
    answer = await stage.create(party)
    assert stop_of(answer) == LIMITED
    assert 23 * 3_600 < int(answer.headers["retry-after"]) <= 86_400 - 2_400
    await age(stage, party, DAY)
    assert (await stage.create(party)).status == 202


async def test_two_hundred_messages_stop_for_the_day_answered_or_not(own_stage: Stage):
    stage = await staged(own_stage, approver_messages_24h_max=12, approver_unanswered_10min_max=100)
    party = await stage.party(budgets=True)
    for _ in range(12):
        assert (await stage.approve(party, await stage.request(party))).status == 202
    assert await known(stage, party, 12) == (12, 0, 0)
    answer = await stage.create(party)
    assert stop_of(answer) == LIMITED and 86_000 < int(answer.headers["retry-after"]) <= 86_400


# What happens to an operation, and whether its message is still unanswered and it is still pending.
Act = Callable[[Stage, Party, UUID], Awaitable[object]]


async def expire(stage: Stage, party: Party, key: UUID) -> None:
    await stage.shift(key, 3_600)


async def sweep(stage: Stage, party: Party, key: UUID) -> None:
    await stage.shift(key, 3_600)
    await expire_windows((await stage.worker()).settle_db, most=500)


async def guess_expired(stage: Stage, party: Party, key: UUID) -> None:
    await stage.shift(key, 300)
    assert (await stage.approve(party, key)).code == "PXT000172"


async def refuse_message(stage: Stage, party: Party, key: UUID) -> None:
    await stage.execute(
        "update outbox set state = 'failed', finished_at = clock_timestamp() where operation_id = $1", key
    )


async def guess_badly(stage: Stage, party: Party, key: UUID) -> None:
    assert (await stage.validate(party, key, "7")).code == "QIT000001"
    assert (await stage.validate(party, key, {})).code == "PXT000908"


async def exhaust(stage: Stage, party: Party, key: UUID) -> None:
    token = await stage.token(party, key)
    for _ in range(5):
        await stage.validate(party, key, wrong(token))


FATES: dict[str, tuple[Act, tuple[int, int]]] = {
    "nothing": (lambda stage, party, key: stage.status(key), (1, 1)),
    "a wrong token": (lambda stage, party, key: stage.validate(party, key, "000000"), (0, 1)),
    "the right token": (lambda stage, party, key: stage.approve(party, key), (0, 0)),
    "exhausted": (exhaust, (0, 0)),
    "no token that is evaluated": (guess_badly, (1, 1)),
    "an expired token": (guess_expired, (1, 1)),
    "cancelled": (lambda stage, party, key: stage.cancel(party, key), (1, 0)),
    "window over": (expire, (1, 0)),
    "window over and swept": (sweep, (1, 0)),
    "refused by the provider": (refuse_message, (1, 1)),
}


@pytest.mark.parametrize("fate", FATES)
async def test_a_message_counts_whatever_becomes_of_it_and_only_an_evaluated_token_answers_it(
    stage: Stage, guarded: Party, fate: str
):
    act, expected = FATES[fate]
    await act(stage, guarded, await stage.request(guarded))
    assert await known(stage, guarded) == (1, *expected)


async def test_a_token_answers_the_messages_before_it_and_none_after(stage: Stage, guarded: Party):
    key = await stage.request(guarded)
    await stage.validate(guarded, key, wrong(await stage.token(guarded, key)))
    assert await known(stage, guarded) == (1, 0, 1)
    await stage.shift(key, 30)
    assert (await stage.resend(guarded, key)).status == 202
    assert await known(stage, guarded) == (2, 1, 1)
    await stage.validate(guarded, key, wrong(await stage.token(guarded, key)))
    assert await known(stage, guarded) == (2, 0, 1)


async def test_resends_of_one_operation_reach_the_limit_as_well(stage: Stage, guarded: Party):
    key = await stage.request(guarded)
    for _ in range(5):
        await stage.shift(key, 30)
        assert (await stage.resend(guarded, key)).status == 202
    other = await stage.create(guarded)
    assert stop_of(other) == LIMITED
    assert await known(stage, guarded) == (6, 6, 1)


async def test_ten_pending_operations_refuse_the_eleventh_until_one_ends(own_stage: Stage):
    stage = await staged(own_stage, approver_unanswered_10min_max=100, approver_unanswered_24h_max=100)
    party = await stage.party(budgets=True)
    keys = await stage.requests(party, 10)
    for kind, code in (("pix_transfer", "PXT000914"), ("ted", "TED000914")):
        answer = await stage.create(party, kind)
        assert stop_of(answer) == (400, code, "pending_operations_limit")
        assert "retry-after" not in answer.headers
    await stage.shift(keys[0], 30)
    assert (await stage.resend(party, keys[0])).status == 202  # asks for no place
    ends: tuple[Act, ...] = (
        lambda stage, party, key: stage.cancel(party, key),
        lambda stage, party, key: stage.approve(party, key),
        expire,
    )
    for key, end in zip(keys, ends, strict=False):
        await end(stage, party, key)
        assert (await stage.create(party)).status == 202
        assert stop_of(await stage.create(party)) == FULL


async def test_a_repeat_is_neither_counted_nor_refused(stage: Stage, guarded: Party):
    bodies = [guarded.pix() for _ in range(6)]
    for body in bodies * 2:
        assert (await stage.call(guarded, "POST", "pix_transfer", body)).status == 202
    assert await known(stage, guarded) == (6, 6, 6)
    assert stop_of(await stage.create(guarded)) == LIMITED
    replays = await asyncio.gather(*(stage.call(guarded, "POST", "pix_transfer", body) for body in bodies))
    assert {(a.status, a.headers.get("idempotent-replayed")) for a in replays} == {(202, "true")}
    async with stage.locked("approvers", "approver_id", guarded.approver.key):
        replay = await stage.call(guarded, "POST", "pix_transfer", bodies[0])
    assert replay.headers.get("idempotent-replayed") == "true"


async def test_repeats_that_race_take_one_place(stage: Stage, guarded: Party):
    bodies = [guarded.pix() for _ in range(6)]
    calls = [stage.call(guarded, "POST", "pix_transfer", bodies[n % 6], process=n) for n in range(48)]
    answers = await asyncio.gather(*calls)
    assert Counter(answer.status for answer in answers) == {202: 48}
    assert await known(stage, guarded) == (6, 6, 6)


async def test_parallel_creates_and_resends_never_overshoot(stage: Stage, guarded: Party):
    first = await stage.request(guarded)
    await stage.shift(first, 60)
    answers = await asyncio.gather(
        *(stage.call(guarded, "POST", "pix_transfer", guarded.pix(), process=n) for n in range(30)),
        *(stage.resend(guarded, first, process=n) for n in range(2)),
        *(stage.call(guarded, "POST", "ted", ted_body(guarded), process=n) for n in range(30)),
    )
    said = Counter((answer.status, answer.code) for answer in answers)
    assert said[202, None] == 5 and set(said) <= {(202, None), (429, "QIT000943"), (429, "PXT000903")}
    assert (await known(stage, guarded))[:2] == (6, 6)


async def test_an_approver_that_is_held_elsewhere_is_waited_for_and_their_neighbours_are_not(
    stage: Stage, guarded: Party
):
    other = await stage.party(budgets=True)
    async with stage.locked("approvers", "approver_id", guarded.approver.key):
        waiting = asyncio.create_task(stage.create(guarded))
        free = await asyncio.gather(*(stage.create(other) for _ in range(3)))
        assert [answer.status for answer in free] == [202] * 3
        await asyncio.sleep(0.2)
        assert not waiting.done()
    assert (await waiting).status == 202


async def test_a_lock_that_is_not_won_is_no_answer_about_the_limit(stage: Stage, guarded: Party):
    key = await stage.request(guarded)
    await stage.shift(key, 60)
    async with stage.locked("approvers", "approver_id", guarded.approver.key):
        answers = await asyncio.gather(stage.create(guarded), stage.resend(guarded, key))
    assert [(answer.status, answer.code) for answer in answers] == [(503, "QIT000944")] * 2
    assert await known(stage, guarded) == (1, 1, 1)


async def test_the_clock_is_read_after_the_approver_was_waited_for(stage: Stage, guarded: Party):
    async with stage.locked("approvers", "approver_id", guarded.approver.key):
        waiting = asyncio.create_task(stage.create(guarded))
        await asyncio.sleep(0.3)
        freed = await stage.value("select clock_timestamp()")
    key = UUID((await waiting).json["pix_transfer_key"])
    (times,) = await stage.fetch(
        "select o.created_at, c.issued_at, m.created_at from operations o join challenges c using (operation_id)"
        " join outbox m using (operation_id) where operation_id = $1",
        key,
    )
    assert min(times) > freed and len(set(times)) == 1


async def test_without_budgets_no_approver_is_locked_and_nothing_is_limited(stage: Stage, party: Party):
    async with stage.locked("approvers", "approver_id", party.approver.key):
        keys = await stage.requests(party, 12)
        await stage.shift(keys[0], 60)
        assert (await stage.resend(party, keys[0])).status == 202


async def test_a_person_of_two_integrators_is_counted_for_each_alone(stage: Stage, guarded: Party):
    other = await stage.party(budgets=True)
    await stage.execute(
        "update approvers set document_index = (select document_index from approvers where approver_id = $1)"
        " where approver_id = $2",
        guarded.approver.key,
        other.approver.key,
    )
    await stage.requests(guarded, 6)
    assert stop_of(await stage.create(guarded)) == LIMITED
    same = {"approver_document_number": guarded.document_number, "contact_type": "sms"}
    assert (await stage.create(other, tfa_info=same)).status == 202
    assert await known(stage, other) == (1, 1, 1)


async def test_a_wider_limit_still_counts_what_waits_beside_it_in_one_batch(own_stage: Stage):
    stage = await staged(
        own_stage, approver_unanswered_10min_max=40, approver_unanswered_24h_max=40, approver_pending_max=40
    )
    party = await stage.party(budgets=True)
    calls = [stage.call(party, "POST", "pix_transfer", party.pix(), process=n) for n in range(90)]
    said = Counter(answer.status for answer in await asyncio.gather(*calls))
    assert said == {202: 40, 429: 50}
    assert await known(stage, party) == (40, 40, 40)


async def test_locks_are_taken_in_key_order_and_what_is_held_is_left_out(stage: Stage, guarded: Party, party: Party):
    both = [(guarded.key, guarded.approver.key), (party.key, party.approver.key), (party.key, uuid4())]
    async with stage.locked("approvers", "approver_id", party.approver.key), stage.parts.db.transaction() as connection:
        assert await lock_approvers(connection, both, may_wait=False) == {both[0]}
    async with stage.parts.db.transaction() as connection:
        assert await lock_approvers(connection, both, may_wait=True) == set(both[:2])


async def test_the_order_of_refusals_stays_the_documented_one(stage: Stage, guarded: Party):
    """Budgets come after contact, and before limits and funds (§3.1)."""
    await stage.requests(guarded, 6)
    assert stop_of(await stage.create(guarded, transaction_amount=9_999_999.99)) == LIMITED
    await stage.execute("update contacts set removed_at = clock_timestamp() where integrator_id = $1", guarded.key)
    assert (await stage.create(guarded)).code == "PXT000913"
