"""The schema repeats the rules: what no code may do, PostgreSQL refuses as well (promises.md D9, D11, D12)."""

from itertools import product
from uuid import UUID

import pytest

from aval.domain.transfer import TRANSITIONS, Status
from aval.operations.resend_token import expiry
from aval.storage.challenges import lock_operations, write_decisions
from aval.storage.database import CheckViolation, RestrictViolation, UniqueViolation
from tests.factories import Party
from tests.stage import PENDING, Stage, wrong

BAD_CHALLENGES = {
    "six attempts": "attempts_used = 6",
    "fewer than no attempts": "attempts_used = -1",
    "five attempts and still waiting": "attempts_used = 5",
    "generation none": "generation = 0, alphabets = ''",
    "generation without alphabet": "generation = 2",
    "alphabet nobody knows": "alphabets = 'x'",
    "token of another lifetime": "expires_at = issued_at + interval '301 seconds'",
    "status nobody knows": "status = 'paid'",
    "message without contact": "contact_id = null",
    "device with contact": "method = 'device'",
    "rejected without reason": "status = 'rejected'",
    "reason without rejection": "rejection_reason = 'rail_refused'",
    "approved after five": "attempts_used = 5, status = 'rejected', rejection_reason = 'x', consumed_at = now()",
    "fewer resends than none": "resends_left = -1",
}
BAD_ROWS = {
    "negative balance": "update accounts set balance_centavos = -1 where account_id = $2 and $1 <> $2",
    "comparison six": "insert into comparisons select integrator_id, operation_id, 6, 1, 'wrong', 'digits',"
    " approver_id, true, now() from operations where operation_id = $1 and account_id = $2",
    "comparison none": "insert into comparisons select integrator_id, operation_id, 0, 1, 'wrong', 'digits',"
    " approver_id, true, now() from operations where operation_id = $1 and account_id = $2",
    "entry of nothing": "insert into ledger_entries (integrator_id, source_id, entry_type, account_id, direction,"
    " contra_account, amount_centavos, created_at) select integrator_id, operation_id, 'transfer', account_id, 'debit',"
    " 'settlement', 0, now() from operations where operation_id = $1 and account_id = $2",
    "entry in the wrong direction": "insert into ledger_entries (integrator_id, source_id, entry_type, account_id,"
    " direction, contra_account, amount_centavos, created_at) select integrator_id, operation_id, 'transfer_refund',"
    " account_id, 'debit', 'settlement', 1, now() from operations where operation_id = $1 and account_id = $2",
    "an operation for nothing": "insert into operations select integrator_id, gen_random_uuid(), kind, account_id,"
    " approver_id, credential_id, batch_id, item_no, gen_random_uuid(), request_fingerprint, null, 0, 0, facts,"
    " details_digest, nonce, correlation_id, created_at from operations where operation_id = $1 and account_id = $2",
}


@pytest.mark.parametrize("case", BAD_CHALLENGES)
async def test_a_challenge_that_cannot_be_is_refused(stage: Stage, party: Party, case: str):
    key = await stage.request(party)
    with pytest.raises(CheckViolation):
        await stage.execute(f"update challenges set {BAD_CHALLENGES[case]} where operation_id = $1", key)


@pytest.mark.parametrize("case", BAD_ROWS)
async def test_a_row_that_cannot_be_is_refused(stage: Stage, party: Party, case: str):
    key = await stage.request(party)
    with pytest.raises(CheckViolation):
        await stage.execute(BAD_ROWS[case], key, party.account.key)


@pytest.mark.parametrize(("former", "later"), list(product(Status, Status)))
async def test_a_status_moves_only_by_the_table(stage: Stage, party: Party, former: Status, later: Status):
    key = await stage.request(party)
    reason = "rejection_reason = case when $2 = 'rejected' then 'rail_refused' end"
    async with stage.db.transaction() as connection:
        await connection.execute("set local session_replication_role = replica")
        await connection.execute(
            f"update challenges set status = $2, {reason} where operation_id = $1", key, former.value
        )
    move = f"update challenges set status = $2, {reason} where operation_id = $1"
    if later is former or later in TRANSITIONS[former]:
        await stage.execute(move, key, later.value)
    else:
        with pytest.raises(CheckViolation):
            await stage.execute(move, key, later.value)


@pytest.mark.parametrize("change", ["attempts_used = 1", "generation = 1, alphabets = 'c'"])
async def test_what_is_counted_is_never_counted_back(stage: Stage, party: Party, change: str):
    key = await stage.request(party)
    await stage.execute(
        "update challenges set attempts_used = 2, generation = 2, alphabets = 'cc' where operation_id = $1", key
    )
    with pytest.raises(CheckViolation):
        await stage.execute(f"update challenges set {change} where operation_id = $1", key)


async def history(stage: Stage, party: Party) -> UUID:
    """An operation with a row in every table of history."""
    key = await stage.request(party)
    await stage.validate(party, key, wrong(await stage.token(party, key)))
    await stage.cancel(party, key)
    return key


COLUMNS = {
    "operations": (
        "amount_centavos = amount_centavos + 1",
        "facts = '{}'",
        "approver_id = account_id",
        "nonce = nonce",
    ),
    "comparisons": ("verdict = 'right'", "judged_at = judged_at - interval '1 day'"),
    "events": ("body = ''", "sequence = 9"),
    "audit": ("actor = 'nobody'", "at = now()"),
}


@pytest.mark.parametrize("table", COLUMNS)
async def test_history_takes_no_change_not_even_from_its_owner(stage: Stage, party: Party, table: str):
    key = await history(stage, party)
    for change in COLUMNS[table]:
        with pytest.raises(RestrictViolation):
            await stage.execute(f"update {table} set {change} where operation_id = $1", key)
    with pytest.raises(RestrictViolation):
        await stage.execute(f"delete from {table} where operation_id = $1", key)


async def test_neither_ledger_nor_challenges_lose_a_row(stage: Stage, party: Party):
    key = await history(stage, party)
    for statement in (
        "delete from challenges where operation_id = $1",
        "delete from ledger_entries where account_id = $1",
        "update ledger_entries set amount_centavos = 1 where account_id = $1",
    ):
        with pytest.raises(RestrictViolation):
            await stage.execute(statement, key if "challenges" in statement else party.account.key)


_AGAIN = (
    "insert into operations select integrator_id, gen_random_uuid(), kind, account_id, approver_id, credential_id,"
    " batch_id, item_no, {}, request_fingerprint, {}, amount_centavos, 0, facts, details_digest, nonce, correlation_id,"
    " created_at from operations where operation_id = $1"
)
UNIQUE = {
    "request_control_key": _AGAIN.format("request_control_key", "null"),
    "end_to_end_id": _AGAIN.format("gen_random_uuid()", "end_to_end_id"),
    "comparison": "insert into comparisons select * from comparisons where operation_id = $1",
    "sequence": "insert into events (integrator_id, event_id, operation_id, operation_kind, sequence, event_type, body,"
    " correlation_id, created_at) select integrator_id, gen_random_uuid(), operation_id, operation_kind, sequence,"
    " event_type, body, correlation_id, created_at from events where operation_id = $1",
}


@pytest.mark.parametrize("case", UNIQUE)
async def test_what_is_unique_is_unique_in_the_schema(stage: Stage, party: Party, case: str):
    key = await history(stage, party)
    with pytest.raises(UniqueViolation):
        await stage.execute(UNIQUE[case], key)


async def test_an_approval_settles_and_books_once_in_the_schema(stage: Stage, party: Party):
    key = await stage.request(party)
    assert (await stage.approve(party, key)).status == 202
    for table, column in (("settlement_jobs", "operation_id"), ("ledger_entries", "source_id")):
        with pytest.raises(UniqueViolation):
            await stage.execute(f"insert into {table} select * from {table} where {column} = $1", key)


async def test_a_decision_about_what_was_not_locked_so_is_abandoned(stage: Stage, party: Party):
    """The row count of the conditional UPDATE is checked: nothing of a decision stays that did not move its row."""
    key, other = await stage.requests(party, 2)
    calls = [await stage.confirm_call(party, k, wrong(await stage.token(party, k))) for k in (key, other)]
    await stage.confirm_together(calls)
    before = await stage.counts(key)
    async with stage.db.connection() as connection:
        locked = await lock_operations(connection, [(party.key, key), (party.key, other)], may_wait=True)
    await stage.execute("update challenges set attempts_used = 2 where operation_id = $1", key)
    now = await stage.value("select clock_timestamp()")
    decisions = [expiry(*found, now, actor="worker", correlation_id="tests") for found in locked.values()]
    with pytest.raises(AssertionError):
        async with stage.db.transaction() as connection:
            await write_decisions(connection, decisions)
    assert await stage.counts(key) == before
    assert await stage.status(other) == await stage.status(key) == PENDING
