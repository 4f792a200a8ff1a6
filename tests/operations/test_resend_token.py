"""resend_token: the next generation, its message, a new 5:00, the same attempts."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from tests.factories import Party
from tests.stage import PENDING, Stage, wrong


async def test_a_resend_brings_a_new_token_and_keeps_the_count(stage: Stage, party: Party):
    key = await stage.request(party)
    old = await stage.token(party, key)
    await stage.validate(party, key, wrong(old))
    await stage.shift(key, 299)
    answer = await stage.resend(party, key)
    approval = answer.json["approval"]
    assert (answer.status, approval["generation"], approval["attempts_remaining"]) == (202, 2, 4)
    (row,) = await stage.fetch(
        "select expires_at - issued_at, can_resend_at - issued_at, resends_left, attempts_used, generation,"
        " issued_at > clock_timestamp() - interval '20 s' from challenges where operation_id = $1",
        key,
    )
    assert row == (timedelta(minutes=5), timedelta(seconds=30), 4, 1, 2, True)
    messages = await stage.fetch("select generation from outbox where operation_id = $1 order by generation", key)
    assert messages == [(1,), (2,)]
    assert await stage.token(party, key) != old


async def test_resends_have_a_cooldown_and_a_maximum(stage: Stage, party: Party):
    key = await stage.request(party)
    soon = await stage.resend(party, key)
    assert (soon.status, soon.code) == (429, "PXT000903")
    assert 1 <= int(soon.headers["retry-after"]) <= 30 and soon.headers["retry-after"] in soon.json["description"]
    for _ in range(5):
        await stage.shift(key, 30)
        assert (await stage.resend(party, key)).status == 202
    last = await stage.resend(party, key)
    assert (last.status, last.code) == (429, "PXT000904")
    assert 0 < int(last.headers["retry-after"]) <= 3_600 - 150
    assert (await stage.resend(party, key, body={"contact_type": "email"})).code == "PXT000904"
    assert (await stage.approve(party, key)).status == 202


async def test_the_cooldown_ends_on_its_second(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.execute(
        "update challenges set can_resend_at = clock_timestamp() + interval '0.2 s' where operation_id = $1", key
    )
    assert (await stage.resend(party, key)).headers["retry-after"] == "1"
    await asyncio.sleep(0.3)
    assert (await stage.resend(party, key)).status == 202


async def test_many_resends_at_once_make_one_generation(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.shift(key, 30)
    answers = await asyncio.gather(*(stage.resend(party, key, process=n) for n in range(12)))
    assert Counter((a.status, a.code) for a in answers) == {(202, None): 1, (429, "PXT000903"): 11}
    assert await stage.value("select generation from challenges where operation_id = $1", key) == 2
    assert await stage.value("select count(*) from outbox where operation_id = $1", key) == 2


async def test_resend_and_validate_at_once_run_one_after_the_other(stage: Stage, party: Party):
    for key in await stage.requests(party, 8):
        token = await stage.token(party, key)
        await stage.shift(key, 30)
        resent, validated = await asyncio.gather(stage.resend(party, key), stage.validate(party, key, token, process=1))
        ended = (resent.status, resent.code, validated.status, validated.code)
        assert ended in {(202, None, 400, "PXT000173"), (400, "PXT000175", 202, None)}
        compared, debits, jobs, _ = await stage.counts(key)
        assert (compared, debits, jobs) == (1, *((1, 1) if validated.status == 202 else (0, 0)))


async def test_a_resend_may_switch_the_channel_for_good(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.shift(key, 30)
    switched = (await stage.resend(party, key, body={"contact_type": "email"})).json["approval"]
    assert (switched["method"], switched["masked_destination"]) == ("email", "a***@example.com")
    await stage.shift(key, 30)
    assert (await stage.resend(party, key)).json["approval"]["method"] == "email"
    channels = await stage.fetch("select channel from outbox where operation_id = $1 order by generation", key)
    assert channels == [("sms",), ("email",), ("email",)]


@pytest.mark.parametrize(
    ("statement", "body", "code", "reason"),
    [
        ("update contacts set removed_at = clock_timestamp() where integrator_id = $1", {}, "PXT000913", None),
        (
            "update contacts set usable_at = clock_timestamp() + interval '9 s' where integrator_id = $1",
            {"contact_type": "email"},
            "PXT000913",
            None,
        ),
        (
            'update accounts set limits = \'{"pix": {"email_amount_limit": 100}}\' where integrator_id = $1',
            {"contact_type": "email"},
            "PXT000914",
            "email_amount_limit",
        ),
    ],
)
async def test_a_refused_resend_changes_nothing(
    stage: Stage, party: Party, statement: str, body: object, code: str, reason: str | None
):
    key = await stage.request(party)
    await stage.shift(key, 30)
    await stage.execute(statement, party.key)
    answer = await stage.resend(party, key, body=body)
    assert answer.code == code and answer.json["extra_fields"].get("reason") == reason
    assert await stage.value("select generation from challenges where operation_id = $1", key) == 1


async def test_a_changed_contact_gets_the_next_token(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.shift(key, 30)
    await stage.execute(
        "with former as (update contacts set removed_at = clock_timestamp() where integrator_id = $1"
        " and contact_type = 'sms' returning *)"
        " insert into contacts select integrator_id, gen_random_uuid(), approver_id, contact_type, destination_sealed,"
        " '+55 21 *****-9999', usable_at, created_at from former",
        party.key,
    )
    assert (await stage.resend(party, key)).json["approval"]["masked_destination"] == "+55 21 *****-9999"
    contacts = await stage.fetch("select count(distinct contact_id) from outbox where operation_id = $1", key)
    assert contacts == [(2,)]


async def test_a_resend_after_the_attempts_says_so_with_the_snapshot(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    for _ in range(5):
        await stage.validate(party, key, wrong(token))
    answer = await stage.resend(party, key)
    assert answer.code == "PXT000171"
    snapshot = answer.json["extra_fields"]["pix_transfer_data"]
    assert snapshot["pix_transfer_status"] == "rejected" and "end_to_end_id" not in snapshot
    cancelled = await stage.request(party)
    await stage.cancel(party, cancelled)
    assert (await stage.resend(party, cancelled)).code == "PXT000175"


async def test_a_resend_is_repeated_under_its_key_without_another_message(stage: Stage, party: Party):
    key = await stage.request(party)
    assert (await stage.resend(party, key, idempotency_key="r")).code == "PXT000903"
    await stage.shift(key, 30)
    answers = [await stage.resend(party, key, idempotency_key="r") for _ in range(3)]
    assert {(a.status, a.body) for a in answers} == {(202, answers[0].body)}
    assert (await stage.resend(party, key, body={"contact_type": "email"}, idempotency_key="r")).code == "PXT000902"
    assert await stage.value("select count(*) from outbox where operation_id = $1", key) == 2
    assert await stage.status(key) == PENDING


async def test_calls_that_wait_for_one_operation_are_few(stage: Stage):
    """Four may wait; more would take the pool's connections away from everybody (transfers.md §8.3)."""
    party = await stage.party(budgets=True)
    key = await stage.request(party)
    async with stage.locked("challenges", "operation_id", key):
        calls = [stage.resend(party, key) for _ in range(8)] + [stage.cancel(party, key) for _ in range(8)]
        waiting = asyncio.gather(*calls, *(stage.validate(party, key, "000000") for _ in range(8)))
        await asyncio.sleep(0.3)
        assert (await stage.create(party)).status == 202
    answers = Counter(answer.code for answer in await waiting)
    assert answers["QIT000943"] == 20
