"""Cancel: from waiting for approval only, once, with its webhook."""

import asyncio
from collections import Counter

from tests.factories import Party
from tests.stage import Stage, wrong


async def test_what_waits_can_be_cancelled_once(stage: Stage, party: Party):
    key = await stage.request(party)
    answer = await stage.cancel(party, key)
    assert (answer.status, answer.json["pix_transfer_status"]) == (200, "cancelled") and "approval" not in answer.json
    assert (await stage.cancel(party, key)).code == "PXT000175"
    assert (await stage.approve(party, key)).code == "PXT000175"
    assert await stage.counts(key) == (0, 0, 0, 1)
    ((body, sequence),) = await stage.fetch("select body, sequence from events where operation_id = $1", key)
    assert '"pix_transfer_status":"cancelled"' in body and "error_code" not in body and sequence == 1


async def test_many_cancels_at_once_are_one(stage: Stage, party: Party):
    key = await stage.request(party)
    answers = await asyncio.gather(*(stage.cancel(party, key, process=n) for n in range(20)))
    assert Counter((a.status, a.code) for a in answers) == {(200, None): 1, (400, "PXT000175"): 19}
    assert await stage.counts(key) == (0, 0, 0, 1)


async def test_cancel_and_the_right_token_at_once_leave_one_winner(stage: Stage, party: Party):
    for key in await stage.requests(party, 10):
        cancelled, approved = await asyncio.gather(stage.cancel(party, key), stage.approve(party, key, process=1))
        assert sorted((cancelled.status, approved.status)) in ([200, 400], [202, 400])
        _, debits, jobs, webhooks = await stage.counts(key)
        assert (debits, jobs, webhooks) == ((0, 0, 1) if cancelled.status == 200 else (1, 1, 0))
    await stage.balance(party)


async def test_rejected_for_attempts_answers_invalid_status_here(stage: Stage, party: Party):
    key = await stage.request(party)
    token = await stage.token(party, key)
    for _ in range(5):
        await stage.validate(party, key, wrong(token))
    answer = await stage.cancel(party, key)
    assert (answer.code, answer.json["extra_fields"]) == ("PXT000175", {})


async def test_a_cancel_is_repeated_under_its_key(stage: Stage, party: Party):
    key = await stage.request(party)
    answers = [await stage.cancel(party, key, idempotency_key="c") for _ in range(3)]
    assert {(a.status, a.body) for a in answers} == {(200, answers[0].body)}
    assert (await stage.cancel(party, key)).code == "PXT000175"


async def test_a_cancelled_ted_tells_its_webhook_in_full(stage: Stage, party: Party):
    key = await stage.request(party, "ted")
    assert (await stage.cancel(party, key, "ted")).json["ted_status"] == "cancelled"
    assert await stage.events(key) == [(1, "baas.ted.outgoing_ted")]
    ((body,),) = await stage.fetch("select body from events where operation_id = $1", key)
    assert '"refusal_reason":{}' in body and '"updated_at"' not in body
    assert (await stage.cancel(party, key, "ted")).code == "TED000086"
