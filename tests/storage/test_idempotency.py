"""Answers under an Idempotency-Key live for a day, and belong to one integrator and one path."""

from datetime import timedelta
from uuid import uuid4

from aval.storage.idempotency import KeptAnswer, complete_answer, find_answer, keep_answers
from tests.factories import Party
from tests.stage import Stage, wrong


async def age(stage: Stage, party: Party, by: timedelta) -> None:
    await stage.execute(
        "update idempotency_keys set created_at = created_at - $2::interval where integrator_id = $1", party.key, by
    )


async def test_after_a_day_a_key_is_free_again(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    assert (await stage.validate(party, key, wrong(token), idempotency_key="k")).code == "PXT000173"
    await age(stage, party, timedelta(hours=23, minutes=59))
    assert (await stage.validate(party, key, token, idempotency_key="k")).code == "PXT000902"
    await age(stage, party, timedelta(minutes=1))
    first = await stage.validate(party, key, token, idempotency_key="k")
    again = await stage.validate(party, key, token, idempotency_key="k")
    assert first.status == 202 and (again.status, again.body) == (first.status, first.body)


async def test_one_key_means_something_else_on_another_path(stage: Stage, party: Party):
    keys = await stage.requests(party, 2)
    answers = [await stage.approve(party, key, idempotency_key="k") for key in keys]
    assert [answer.status for answer in answers] == [202, 202]
    assert (await stage.cancel(party, keys[0], idempotency_key="k")).code == "PXT000175"


async def test_the_path_is_one_whatever_the_case_of_its_keys(stage: Stage, party: Party):
    key = await stage.request(party)
    given = wrong(await stage.token(party, key))
    first = await stage.validate(party, key, given, idempotency_key="k")
    path = f"/account/{str(party.account.key).upper()}/pix_transfer/{str(key).upper()}/validate_token"
    again = await stage.call(party, "PUT", path, {"token": given}, idempotency_key="k")
    assert again.body == first.body and (await stage.counts(key))[0] == 1


async def test_two_integrators_may_use_the_same_key(stage: Stage, party: Party):
    for owner in (party, await stage.party()):
        assert (await stage.approve(owner, await stage.request(owner), idempotency_key="k")).status == 202


async def test_a_token_is_not_kept_nor_can_it_be_found_from_what_is(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    await stage.validate(party, key, token, idempotency_key="k")
    ((row,),) = await stage.fetch("select k::text from idempotency_keys k where integrator_id = $1", party.key)
    assert token not in row


async def test_the_first_to_complete_decides(stage: Stage, party: Party):
    await stage.execute(
        "insert into idempotency_keys values ($1, '/p', 'k', decode(repeat('00', 32), 'hex'), null, null, now())",
        party.key,
    )
    async with stage.parts.db.connection() as connection:
        first = await complete_answer(connection, party.key, "/p", "k", status=201, body=b"a")
        second = await complete_answer(connection, party.key, "/p", "k", status=202, body=b"b")
        unkept = await complete_answer(connection, party.key, "/p", "gone", status=202, body=b"b")
    assert first == second == (201, b"a") and unkept == (202, b"b")


async def test_an_answer_is_found_for_a_day_under_its_own_path_alone(stage: Stage, party: Party):
    now = await stage.value("select clock_timestamp()")
    kept = KeptAnswer(party.key, "/p", "k", b"f" * 32, 201, b"a", now)
    async with stage.db.connection() as connection:
        await keep_answers(connection, [kept])
        assert await find_answer(connection, party.key, "/p", "k") == kept
        for other in ((uuid4(), "/p", "k"), (party.key, "/q", "k"), (party.key, "/p", "j")):
            assert await find_answer(connection, *other) is None
        await age(stage, party, timedelta(hours=24))
        assert await find_answer(connection, party.key, "/p", "k") is None
