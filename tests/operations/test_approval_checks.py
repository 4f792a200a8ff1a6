"""Step 12 of transfers.md §4.1: what is judged again when a right token comes, under the lock of the account."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from aval.domain.calendar import limit_window
from aval.operations.request_transfer import Rules
from tests.factories import Party
from tests.stage import Stage

_LIMIT = 'update accounts set limits = \'{{"pix": {{"{}": 20200}}}}\' where account_id = $1'
_BLOCK = "update accounts set status = '{}' where account_id = $1"
_POWER = "update account_approvers set {} where account_id = $1"
T6 = {
    "power gone": ("delete from account_approvers where account_id = $1", "approver_not_allowed", 906, None),
    "other powers": (_POWER.format("powers = '{ted}'"), "approver_not_allowed", 906, None),
    "above maximum": (_POWER.format("max_amount_centavos = 20200"), "approver_not_allowed", 906, None),
    "account blocked": (_BLOCK.format("blocked"), "account_unavailable", 918, None),
    "account closed": (_BLOCK.format("closed"), "account_unavailable", 918, None),
    "too large": (_LIMIT.format("operation_amount_limit"), "limit_exceeded", 914, "operation_amount_limit"),
    "too large by SMS": (_LIMIT.format("sms_amount_limit"), "limit_exceeded", 914, "sms_amount_limit"),
    "funds gone": (
        "update accounts set balance_centavos = 20200 where account_id = $1",
        "insufficient_funds",
        901,
        None,
    ),
    "all at once": (
        "with none as (delete from account_approvers where account_id = $1)"
        " update accounts set status = 'blocked', balance_centavos = 0 where account_id = $1",
        "approver_not_allowed",
        906,
        None,
    ),
}


@pytest.mark.parametrize("case", T6)
async def test_a_right_token_is_not_enough_when_an_approval_check_fails(stage: Stage, party: Party, case: str):
    statement, reason, number, limit = T6[case]
    key = await stage.request(party)
    await stage.execute(statement, party.account.key)
    answer = await stage.approve(party, key)
    extra = answer.json["extra_fields"]
    assert (answer.code, extra["pix_transfer_data"]["pix_transfer_status"]) == (f"PXT000{number}", "rejected")
    assert extra.get("reason") == limit and (limit or "") in answer.json["description"]
    assert await stage.status(key) == ("rejected", reason)
    assert await stage.counts(key) == (1, 0, 0, 1)
    ((body,),) = await stage.fetch("select body from events where operation_id = $1", key)
    assert f'"error_code":"PXT000{number}"' in body
    assert (await stage.approve(party, key)).code == "PXT000175"


async def test_an_approver_who_is_no_longer_active_approves_nothing(stage: Stage, party: Party):
    key = await stage.request(party)
    await stage.execute("update approvers set active = false where integrator_id = $1", party.key)
    assert (await stage.approve(party, key)).code == "PXT000906"


async def test_ted_hours_are_judged_again_at_approval(own_stage: Stage):
    today = (await own_stage.value("select clock_timestamp()")).date()
    closed = frozenset(today + timedelta(days=days) for days in (-1, 0, 1))
    stage = await Stage.make(own_stage.db, own_stage.open_as, rules=Rules(holidays=closed))
    party = await stage.party()
    key = await stage.request(party, "ted")
    await stage.execute("update integrators set ted_hours = true, version = version + 1")
    answer = await stage.approve(party, key, "ted")
    assert (answer.code, answer.json["extra_fields"]["ted_data"]["ted_status"]) == ("TED000011", "rejected")
    assert (await stage.create(party, "ted")).code == "TED000011"


async def limit_of_now(stage: Stage, party: Party, centavos: int) -> None:
    """A limit on the sum of the current window."""
    name = limit_window(await stage.value("select clock_timestamp()"))[0]
    await stage.execute(
        "update accounts set limits = $3 where integrator_id = $1 and account_id = $2",
        party.key,
        party.account.key,
        {"pix": {f"{name}_amount_limit": centavos}},
    )


async def test_a_sum_is_never_exceeded_by_calls_at_once(stage: Stage, party: Party):
    await limit_of_now(stage, party, 1_000_00)
    keys = await stage.requests(party, 12, transaction_amount=300)
    answers = await asyncio.gather(*(stage.approve(party, key, process=n) for n, key in enumerate(keys)))
    assert Counter((a.status, a.code) for a in answers) == {(202, None): 3, (400, "PXT000914"): 9}
    assert (await stage.create(party, transaction_amount=100.01)).code == "PXT000914"
    assert (await stage.create(party, transaction_amount=100)).status == 202


async def same_account_key(stage: Stage, party: Party, other: Party) -> Party:
    """The party, with its account under the key of the other's: an integrator may choose its keys."""
    async with stage.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        for table in ("accounts", "account_approvers", "ledger_entries"):
            await connection.execute(
                f"update {table} set account_id = $2 where integrator_id = $1", party.key, other.account.key
            )
    return replace(party, account=replace(party.account, key=other.account.key))


async def test_equal_account_keys_of_two_integrators_have_sums_of_their_own(stage: Stage, party: Party):
    twin = await same_account_key(stage, await stage.party(), party)
    keys = []
    for owner in (party, twin):
        await limit_of_now(stage, owner, 500_00)
        keys.append(await stage.request(owner, transaction_amount=300))
    calls = [
        await stage.confirm_call(owner, key, await stage.token(owner, key))
        for owner, key in zip((party, twin), keys, strict=True)
    ]
    answers = await stage.confirm_together(calls)
    assert [answer.challenge.status.value for answer in answers] == ["pending", "pending"]
