"""validate_token under the lock: counted, judged by the clock after the wait, checked, debited and promised once."""

import asyncio
from collections import Counter
from uuid import UUID

import pytest

from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.principal import PrincipalStale
from aval.operations.coalesce import ALONE
from aval.operations.confirm_transfer import Confirmed
from aval.storage.database import LockNotWon
from tests.changed import replace
from tests.factories import Party
from tests.stage import PENDING, Stage, until, wrong

UNKNOWN = UUID("7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264")


async def test_wrong_tokens_are_counted_then_reject(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    answers = [await stage.validate(party, key, wrong(token)) for _ in range(6)]
    assert [answer.code for answer in answers] == ["PXT000173"] * 4 + ["PXT000171"] * 2
    again = await stage.validate(party, key, token)
    snapshot = again.json["extra_fields"]["pix_transfer_data"]
    assert (again.code, snapshot["pix_transfer_status"]) == ("PXT000171", "rejected")
    assert await stage.status(key) == ("rejected", "attempts_exceeded")
    assert await stage.counts(key) == (5, 0, 0, 1)


async def test_the_fifth_attempt_may_be_the_right_one(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    for _ in range(4):
        await stage.validate(party, key, wrong(token))
    assert (await stage.validate(party, key, token)).status == 202
    assert (await stage.validate(party, key, token)).code == "PXT000175"
    verdicts = await stage.fetch(
        "select comparison_no, verdict from comparisons where operation_id = $1 order by comparison_no", key
    )
    assert verdicts == [(1, "wrong"), (2, "wrong"), (3, "wrong"), (4, "wrong"), (5, "right")]


async def test_each_comparison_has_its_audit_row_and_none_tells_the_token(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    await stage.validate(party, key, wrong(token))
    await stage.validate(party, key, token)
    rows = await stage.fetch(
        "select details, actor from audit where action = 'operation.judged' and operation_id = $1 order by at", key
    )
    assert [(details["comparison"], details["status"]) for details, _ in rows] == [
        ("wrong", "pending_2fa_approval"),
        ("right", "pending"),
    ]
    assert all(actor.startswith("credential:") for _, actor in rows)
    assert token not in str(rows)


async def test_two_hundred_wrong_tokens_at_once_are_five_comparisons(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    answers = await asyncio.gather(*(stage.validate(party, key, wrong(token), process=n) for n in range(200)))
    assert Counter(answer.code for answer in answers) == {"PXT000173": 4, "PXT000171": 196}
    assert await stage.counts(key) == (5, 0, 0, 1)


async def test_two_hundred_right_tokens_at_once_debit_once(stage: Stage, party: Party):
    key, before = await stage.request(party), await stage.balance(party)
    token = await stage.token(party, key)
    answers = await asyncio.gather(*(stage.validate(party, key, token, process=n) for n in range(200)))
    assert Counter((answer.status, answer.code) for answer in answers) == {(202, None): 1, (400, "PXT000175"): 199}
    assert await stage.counts(key) == (1, 1, 1, 0)
    assert before - await stage.balance(party) == 202_01


async def test_right_and_wrong_tokens_at_once_end_in_one_way(stage: Stage, party: Party):
    keys = await stage.requests(party, 6)
    calls = []
    for key in keys:
        token = await stage.token(party, key)
        guesses = [wrong(token)] * 10 + [token] + [wrong(token)] * 9
        calls += [stage.validate(party, key, guess, process=n) for n, guess in enumerate(guesses)]
    await asyncio.gather(*calls)
    for key in keys:
        is_approved = (await stage.status(key))[0] == "pending"
        compared, *rest = await stage.counts(key)
        assert compared <= 5 and rest == ([1, 1, 0] if is_approved else [0, 0, 1])
    await stage.balance(party)


async def test_one_row_that_cannot_be_written_fails_alone(stage: Stage, party: Party):
    keys = await stage.requests(party, 8)
    await stage.execute(f"alter table settlement_jobs add check (operation_id <> '{keys[3]}')")
    calls = [await stage.confirm_call(party, key, await stage.token(party, key)) for key in keys]
    answers = await asyncio.gather(*map(stage.desk.confirm, calls), return_exceptions=True)
    assert [isinstance(answer, Confirmed) for answer in answers] == [place != 3 for place in range(8)]
    assert await stage.status(keys[3]) == PENDING
    assert await stage.counts(keys[3]) == (0, 0, 0, 0)
    assert [(await stage.counts(key))[1:3] for key in keys].count((1, 1)) == 7
    await stage.balance(party)


async def test_one_stale_caller_fails_alone(stage: Stage, party: Party):
    stale = await stage.party()
    owners = [party, stale, party]
    keys = [await stage.request(owner) for owner in owners]
    calls = [
        await stage.confirm_call(owner, key, await stage.token(owner, key))
        for owner, key in zip(owners, keys, strict=True)
    ]
    await stage.execute("update integrators set version = version + 1 where integrator_id = $1", stale.key)
    first, second, third = await stage.confirm_together(calls)
    assert isinstance(first, Confirmed) and isinstance(third, Confirmed) and isinstance(second, PrincipalStale)
    assert await stage.status(keys[1]) == PENDING


async def test_an_operation_locked_elsewhere_stalls_no_neighbour(stage: Stage, party: Party):
    held, *free = await stage.requests(party, 5)
    async with stage.locked("challenges", "operation_id", held):
        waiting = asyncio.create_task(stage.approve(party, held))
        others = await asyncio.gather(*(stage.approve(party, key) for key in free))
        assert [answer.status for answer in others] == [202] * 4
        assert not waiting.done()
    assert (await waiting).status == 202


async def test_a_batch_leaves_out_what_is_locked_or_unknown(stage: Stage, party: Party):
    held, free = await stage.requests(party, 2)
    calls = [await stage.confirm_call(party, key, "000000") for key in (held, UNKNOWN, free)]
    async with stage.locked("challenges", "operation_id", held):
        answers = await stage.confirm_together(calls, may_wait=False)
    assert answers[:2] == [ALONE, ALONE] and isinstance(answers[2], Confirmed)
    (unknown,) = await stage.confirm_together(calls[1:2])
    assert isinstance(unknown, Refusal) and unknown.name == "pix.operation_not_found"


async def test_a_lock_held_too_long_is_told_and_nothing_is_evaluated(stage: Stage, party: Party):
    keys = await stage.requests(party, 4)
    call = await stage.confirm_call(party, keys[3], "000000")
    async with stage.locked("challenges", "operation_id", *keys):
        answers = await asyncio.gather(
            stage.approve(party, keys[0]),
            stage.resend(party, keys[1]),
            stage.cancel(party, keys[2]),
            stage.confirm_together([call]),
            return_exceptions=True,
        )
    assert isinstance(answers.pop(), LockNotWon)
    assert [(a.status, a.code, a.headers["retry-after"]) for a in answers] == [(503, "QIT000944", "1")] * 3
    assert {await stage.counts(key) for key in keys} == {(0, 0, 0, 0)}
    assert (await stage.approve(party, keys[0])).status == 202


async def test_an_account_locked_elsewhere_is_waited_for(stage: Stage, party: Party):
    key, other = await stage.requests(party, 2)
    async with stage.locked("accounts", "account_id", party.account.key):
        waiting = asyncio.create_task(stage.approve(party, key))
        assert (await stage.validate(party, other, wrong(await stage.token(party, other)))).code == "PXT000173"
        assert not waiting.done()
    assert (await waiting).status == 202


async def test_a_hot_account_pays_as_long_as_it_can(stage: Stage):
    party = await stage.party(balance=Brl(202_01 * 40))
    keys = await stage.requests(party, 60)
    answers = await asyncio.gather(*(stage.approve(party, key, process=n) for n, key in enumerate(keys)))
    assert Counter((answer.status, answer.code) for answer in answers) == {(202, None): 40, (400, "PXT000901"): 20}
    assert await stage.balance(party) == 0


async def test_accounts_in_crossed_order_never_deadlock(stage: Stage):
    parties = [await stage.party() for _ in range(4)]
    keys = [(party, key) for party in parties for key in await stage.requests(party, 12)]
    calls = [stage.approve(party, key, process=n) for n, (party, key) in enumerate(keys)]
    calls += [stage.approve(party, key, process=n) for n, (party, key) in enumerate(reversed(keys))]
    answers = await asyncio.gather(*calls)
    assert Counter(answer.status for answer in answers) == {202: 48, 400: 48}
    for party in parties:
        await stage.balance(party)


async def test_what_does_not_fit_any_more_is_rejected_and_the_rest_of_the_batch_is_not(stage: Stage):
    party = await stage.party(balance=Brl(300_00))
    keys = [await stage.request(party, transaction_amount=amount) for amount in (250, 100, 50)]
    calls = [await stage.confirm_call(party, key, await stage.token(party, key)) for key in keys]
    outcomes = [(a.challenge.status.value, a.challenge.rejection_reason) for a in await stage.confirm_together(calls)]
    assert outcomes == [("pending", None), ("rejected", "insufficient_funds"), ("pending", None)]
    assert await stage.balance(party) == 0


@pytest.mark.parametrize("is_right", [True, False])
@pytest.mark.parametrize("neighbours", [0, 3])
async def test_a_token_that_dies_while_its_call_waits_for_the_lock_is_dead(
    stage: Stage, party: Party, is_right: bool, neighbours: int
):
    key, *others = await stage.requests(party, neighbours + 1)
    token = await stage.token(party, key)
    await stage.execute(
        "update challenges set issued_at = t.at, expires_at = t.at + interval '5 minutes'"
        " from (select clock_timestamp() - interval '299.7 s' as at) t where operation_id = $1",
        key,
    )
    async with stage.locked("challenges", "operation_id", key):
        waiting = asyncio.create_task(stage.validate(party, key, token if is_right else wrong(token)))
        await asyncio.gather(*(stage.approve(party, other) for other in others))
        await asyncio.sleep(0.5)
        assert not waiting.done()
    assert (await waiting).code == "PXT000172"
    assert await stage.status(key) == PENDING
    assert await stage.counts(key) == (0, 0, 0, 0)


async def test_a_token_is_alive_until_its_last_moment(stage: Stage, party: Party):
    alive, dead = await stage.requests(party, 2)
    await stage.shift(alive, 295)
    await stage.shift(dead, 300)
    assert (await stage.approve(party, alive)).status == 202
    assert (await stage.approve(party, dead)).code == "PXT000172"


async def test_a_token_of_an_earlier_generation_is_wrong_and_says_so(stage: Stage, party: Party):
    key = await stage.request(party)
    old = await stage.token(party, key)
    await stage.shift(key, 30)
    assert (await stage.resend(party, key)).status == 202
    answer = await stage.validate(party, key, old)
    assert (answer.code, answer.json["extra_fields"]) == ("PXT000173", {"reason": "superseded_token"})
    rows = await stage.fetch("select verdict, generation from comparisons where operation_id = $1", key)
    assert rows == [("superseded", 2)]
    assert (await stage.approve(party, key)).status == 202


@pytest.mark.parametrize(
    "change",
    [
        "update credentials set revoked_at = clock_timestamp() where integrator_id = $1",
        "update integrators set active = false, version = version + 1 where integrator_id = $1",
    ],
)
async def test_a_caller_who_is_nobody_any_more_learns_and_changes_nothing(stage: Stage, party: Party, change: str):
    key = await stage.request(party)
    token = await stage.token(party, key)
    for process in range(2):
        assert (await stage.validate(party, key, wrong(token), process=process)).code == "PXT000173"  # now it is cached
    await stage.execute(change, party.key)
    calls = [
        (await stage.create(party)),
        *[await stage.validate(party, key, given, process=1) for given in (token, wrong(token), {"token": 1}, {})],
        *[await stage.validate(party, UNKNOWN, token), await stage.resend(party, key), await stage.cancel(party, key)],
    ]
    assert {(answer.status, answer.code) for answer in calls} == {(401, "GDF000014")}
    assert await stage.counts(key) == (2, 0, 0, 0)
    assert await stage.status(key) == PENDING


async def test_a_changed_integrator_counts_from_the_next_call(stage: Stage, party: Party):
    key = await stage.request(party)
    assert (await stage.validate(party, key, "000000")).code == "PXT000173"
    await stage.execute(
        "update integrators set fixed_token = 'abc123', version = version + 1 where integrator_id = $1", party.key
    )
    assert (await stage.validate(party, key, "ABC123")).status == 202
    assert (await stage.create(party)).status == 202


async def test_an_integrator_that_changes_all_the_time_is_told_to_come_again(stage: Stage, party: Party):
    key = await stage.request(party)
    principal = replace(
        await party.principal(stage.db), integrator=replace((await party.principal(stage.db)).integrator, version=0)
    )
    call = await stage.confirm_call(party, key, "000000")
    stale = replace(call, question=replace(call.question, principal=principal))
    with pytest.raises(PrincipalStale):
        await stage.desk.confirm(stale)


async def test_validate_repeats_its_answer_under_one_idempotency_key(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    first = [await stage.validate(party, key, wrong(token), idempotency_key="a", process=n) for n in range(3)]
    assert {(a.status, a.body) for a in first} == {(400, first[0].body)} and first[0].code == "PXT000173"
    assert (await stage.validate(party, key, token, idempotency_key="a")).code == "PXT000902"
    right = [await stage.validate(party, key, token, idempotency_key="b", process=n) for n in range(3)]
    assert {(a.status, a.body) for a in right} == {(202, right[0].body)}
    assert await stage.counts(key) == (2, 1, 1, 0)
    assert (await stage.validate(party, key, token)).code == "PXT000175"


async def test_a_rejection_is_repeated_under_its_key_and_an_expired_token_too(stage: Stage, party: Party):
    exceeded, expired = await stage.requests(party, 2)
    for _ in range(4):
        await stage.validate(party, exceeded, wrong(await stage.token(party, exceeded)))
    given = wrong(await stage.token(party, exceeded))
    answers = [await stage.validate(party, exceeded, given, idempotency_key="a") for _ in range(2)]
    assert answers[0].body == answers[1].body and answers[0].code == "PXT000171"
    await stage.shift(expired, 300)
    token = await stage.token(party, expired)
    assert (await stage.validate(party, expired, token, idempotency_key="a")).code == "PXT000172"
    assert (await stage.resend(party, expired)).status == 202
    assert (await stage.validate(party, expired, token, idempotency_key="a")).code == "PXT000172"
    assert (await stage.counts(expired))[0] == 0


async def test_an_answer_that_settles_nothing_is_not_kept(stage: Stage, party: Party):
    key = await stage.request(party)
    assert (await stage.validate(party, key, {}, idempotency_key="a")).code == "PXT000908"
    assert (await stage.approve(party, key, idempotency_key="a")).status == 202


async def test_many_calls_under_one_idempotency_key_are_one(stage: Stage, party: Party):
    key = await stage.request(party)
    given = wrong(await stage.token(party, key))
    answers = await asyncio.gather(
        *(stage.validate(party, key, given, idempotency_key="x", process=n) for n in range(50))
    )
    assert len({(a.status, a.body) for a in answers}) == 1
    assert (await stage.counts(key))[0] == 1


async def test_a_caller_who_goes_away_stops_nothing(stage: Stage, party: Party):
    keys = await stage.requests(party, 3)
    calls = [await stage.confirm_call(party, key, await stage.token(party, key)) for key in keys]
    callers = [asyncio.create_task(stage.desk.confirm(call)) for call in calls]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()

    async def are_all_approved() -> bool:
        return {await stage.counts(key) for key in keys} == {(1, 1, 1, 0)}

    await until(are_all_approved)


async def test_a_missing_token_key_costs_no_attempt(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.execute("update challenges set kid = 'gone' where operation_id = $1", key)
    assert (await stage.validate(party, key, "000000")).code == "PXT000174"
    assert await stage.counts(key) == (0, 0, 0, 0)


async def test_an_operation_of_another_integrator_is_unknown(stage: Stage, party: Party):
    stranger, key = await stage.party(), await stage.request(party)
    answers = []
    for account, operation in ((party, key), (party, UNKNOWN), (stranger, key), (stranger, UNKNOWN)):
        path = f"/account/{account.account.key}/pix_transfer/{operation}/validate_token"
        answers.append((await stage.call(stranger, "PUT", path, {"token": "000000"})).code)
    assert answers == ["PXT000004", "PXT000004", "PXT000023", "PXT000023"]
    path = f"/account/{party.account.key}/ted/{key}/validate_token"
    assert (await stage.call(party, "PUT", path, {"token": "000000"})).code == "TED000020"
    assert await stage.counts(key) == (0, 0, 0, 0)
