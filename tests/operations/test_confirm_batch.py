"""One token approves a batch: one debit, and every item is pending with a settlement of its own, or nothing moves."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

import pytest

from aval.domain.calendar import limit_window
from aval.domain.challenge import Verdict
from aval.domain.errors import Refusal
from aval.domain.transfer import Kind, Method, Status, details_digest_of
from aval.operations.confirm_transfer import ConfirmCall, Confirmed, confirm_transfers
from aval.operations.request_transfer import Rules
from aval.storage.batches import read_item_counts
from aval.storage.requests import read_operation
from tests.batches import (
    AMOUNTS,
    CountingDatabase,
    approve,
    batch_request,
    cancel,
    confirm,
    items,
    keys_of,
    outcomes,
    question,
    request_in,
    requested,
    resend,
    seen,
    stored_of,
)
from tests.factories import Party, make_keyring
from tests.stage import PENDING, Stage, wrong

TOTAL = sum(AMOUNTS)
SETTLING = ("pending", None)


async def ledger_of(stage: Stage, *keys: UUID) -> list[tuple[UUID, str, int]]:
    return await stage.fetch(
        "select source_id, entry_type, amount_centavos from ledger_entries where source_id = any($1)"
        " order by entry_type desc",
        list(keys),
    )


async def test_the_right_token_debits_once_and_promises_every_item(stage: Stage, party: Party):
    await stage.execute("update accounts set pix_fee_centavos = 7 where account_id = $1", party.account.key)
    before = await stage.balance(party)
    request = await batch_request(stage, party)
    await stage.desk.request_batch(request)
    confirmed = await approve(stage, party, request.key)
    assert isinstance(confirmed, Confirmed) and confirmed.challenge.status is Status.APPROVED
    assert await seen(stage, party, *keys_of(request)) == [("approved", None), *[SETTLING] * 3]
    assert await ledger_of(stage, *keys_of(request)) == [(request.key, "transfer", TOTAL), (request.key, "fee", 21)]
    assert await stage.balance(party) == before - TOTAL - 21
    assert await stored_of(stage, *keys_of(request)) == [4, 4, 3, 1]
    jobs = "select operation_id, rail_reference, item_no from settlement_jobs where operation_id = any($1)"
    wanted = {(asked.key, asked.key, 1) for asked in request.items}
    assert set(await stage.fetch(jobs, keys_of(request))) == wanted
    assert await stage.counts(request.key) == (1, 1, 0, 0)
    async with stage.db.connection() as connection:
        counts = await read_item_counts(connection, [(party.key, request.key)])
    assert (counts[request.key].pending, counts[request.key].sent, counts[request.key].rejected) == (3, 0, 0)


async def test_an_item_carries_the_approval_of_its_batch(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    await stage.desk.request_batch(request)
    await resend_at_once(stage, party, request.key)
    await confirm(stage, party, request.key, wrong(await stage.token(party, request.key)))
    await approve(stage, party, request.key)
    columns = (
        "method, contact_id, generation, attempts_used, kid, alphabets, approval_deadline, consumed_at, updated_at"
    )
    rows = await stage.fetch(
        f"select {columns} from challenges where operation_id = any($1)",  # noqa: S608
        keys_of(request),
    )
    assert len(rows) == 4 and len(set(rows)) == 1 and rows[0][2:4] == (2, 1)
    assert await stage.value(
        "select bool_and(event_sequence = 0) from challenges where operation_id = any($1)", keys_of(request)
    )


async def resend_at_once(stage: Stage, party: Party, key: UUID) -> Confirmed:
    await stage.shift(key, 31)
    resent = await resend(stage, party, key)
    assert isinstance(resent, Confirmed)
    return resent


async def test_wrong_tokens_reject_the_batch_and_with_it_its_items(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    await stage.desk.request_batch(request)
    token = wrong(await stage.token(party, request.key))
    verdicts = [(await confirm(stage, party, request.key, token)).verdict for _ in range(6)]
    assert verdicts == [Verdict.INCORRECT] * 4 + [Verdict.EXHAUSTED, Verdict.ATTEMPTS_EXCEEDED]
    rejected = ("rejected", "attempts_exceeded")
    assert await seen(stage, party, *keys_of(request)) == [rejected] * 4
    assert await stored_of(stage, *keys_of(request)) == [4, 1, 0, 1]
    assert await stage.events(request.key) == [(1, "aval.pix_transfer_batch.finished")]
    body = await stage.value("select body from events where operation_id = $1", request.key)
    assert '"items_pending":0,"items_sent":0,"items_rejected":3,"rejection_reason":"attempts_exceeded"' in body


_LIMIT = 'update accounts set limits = \'{{"pix": {{"{}": {}}}}}\' where account_id = $1'
_POWER = "update account_approvers set {} where account_id = $1"
T6 = {
    "power gone": (_POWER.format("powers = '{pix_transfer}'"), "approver_not_allowed"),
    "total above maximum": (_POWER.format(f"max_amount_centavos = {TOTAL - 1}"), "approver_not_allowed"),
    "account blocked": ("update accounts set status = 'blocked' where account_id = $1", "account_unavailable"),
    "item too large": (_LIMIT.format("operation_amount_limit", max(AMOUNTS) - 1), "operation_amount_limit"),
    "batch too large": (_LIMIT.format("batch_amount_limit", TOTAL - 1), "batch_amount_limit"),
    "sum too large": (_LIMIT.format("{window}", TOTAL - 1), "{window}"),
    "total too large by SMS": (_LIMIT.format("sms_amount_limit", TOTAL - 1), "sms_amount_limit"),
    "one centavo short": (
        f"update accounts set balance_centavos = {TOTAL - 1} where account_id = $1",
        "insufficient_funds",
    ),
}
T4 = {
    "largest item at its limit": _LIMIT.format("operation_amount_limit", max(AMOUNTS)),
    "total at the limit of batches": _LIMIT.format("batch_amount_limit", TOTAL),
    "sum at its limit": _LIMIT.format("{window}", TOTAL),
    "total at the limit of SMS": _LIMIT.format("sms_amount_limit", TOTAL),
    "total at the maximum": _POWER.format(f"max_amount_centavos = {TOTAL}"),
}


async def window_of(stage: Stage) -> str:
    """The name of the limit on sums that holds now."""
    return f"{limit_window(await stage.value('select clock_timestamp()'))[0]}_amount_limit"


@pytest.mark.parametrize("case", T6)
async def test_a_right_token_is_not_enough_when_an_approval_check_fails(stage: Stage, party: Party, case: str):
    statement, reason = T6[case]
    window = await window_of(stage)
    request = await batch_request(stage, party)
    await stage.desk.request_batch(request)
    before = await stage.value("select balance_centavos from accounts where account_id = $1", party.account.key)
    await stage.execute(statement.replace("{window}", window), party.account.key)
    confirmed = await approve(stage, party, request.key)
    assert isinstance(confirmed, Confirmed)
    limit = reason.replace("{window}", window)
    is_limit = limit.endswith("_limit")
    assert confirmed.challenge.rejection_reason == ("limit_exceeded" if is_limit else reason)
    assert confirmed.challenge.refusal == ({"reason": limit} if is_limit else None)
    assert await stored_of(stage, *keys_of(request)) == [4, 1, 0, 1]
    assert {status for status, _ in await seen(stage, party, *keys_of(request))} == {"rejected"}
    left = await stage.value("select balance_centavos from accounts where account_id = $1", party.account.key)
    assert left == (TOTAL - 1 if case == "one centavo short" else before)


@pytest.mark.parametrize("case", T4)
async def test_what_reaches_a_limit_and_not_more_is_approved(stage: Stage, party: Party, case: str):
    await stage.execute(T4[case].replace("{window}", await window_of(stage)), party.account.key)
    key = (await requested(stage, party)).transfer.key
    assert (await approve(stage, party, key)).verdict is Verdict.APPROVED
    assert await seen(stage, party, key) == [("approved", None)]


async def test_a_limit_is_judged_when_a_batch_is_requested(stage: Stage, party: Party):
    for name, amount in (("operation_amount_limit", max(AMOUNTS)), ("batch_amount_limit", TOTAL)):
        await stage.execute(_LIMIT.format(name, amount - 1), party.account.key)
        with pytest.raises(Refusal, match="limit_exceeded") as refused:
            await requested(stage, party)
        assert refused.value.extra_fields == {"reason": name}


async def test_items_count_in_the_sums_of_singles_once_they_are_approved(stage: Stage, party: Party):
    statement = _LIMIT.format(await window_of(stage), TOTAL + 20201)
    await stage.execute(statement, party.account.key)
    first, second = [(await requested(stage, party)).transfer.key for _ in range(2)]
    single = await stage.request(party)
    await approve(stage, party, first)
    assert (await stage.create(party, transaction_amount=202.02)).code == "PXT000914"
    await approve(stage, party, second)
    assert await seen(stage, party, first, second) == [("approved", None), ("rejected", "limit_exceeded")]
    assert (await stage.approve(party, single)).status == 202
    assert (await stage.create(party, transaction_amount=0.01)).code == "PXT000914"


async def test_batches_of_one_account_in_one_transaction_share_balance_and_limit(stage: Stage, party: Party):
    await stage.execute(_LIMIT.format(await window_of(stage), 2 * TOTAL), party.account.key)
    keys = [(await requested(stage, party)).transfer.key for _ in range(3)]
    calls = [
        ConfirmCall(
            await question(stage, party, key),
            Kind.PIX_TRANSFER_BATCH,
            (await stage.confirm_call(party, key, await stage.token(party, key))).token,
            b"",
            "tests",
            lambda _: None,
        )
        for key in keys
    ]
    await confirm_transfers(stage.parts.db, calls=calls, keyring=make_keyring(), rules=Rules(), may_wait=False)
    assert [status for status, _ in await seen(stage, party, *keys)] == ["approved", "approved", "rejected"]
    assert await stage.value(
        "select count(*) from settlement_jobs j join operations o using (integrator_id, operation_id)"
        " where o.batch_id = any($1)",
        keys,
    ) == 2 * len(AMOUNTS)


async def test_ted_hours_hold_for_a_batch(own_stage: Stage):
    today = (await own_stage.value("select clock_timestamp()")).date()
    closed = frozenset(today + timedelta(days=days) for days in (-1, 0, 1))
    stage = await Stage.make(own_stage.db, own_stage.open_as, rules=Rules(holidays=closed))
    party = await stage.party()
    key = (await requested(stage, party, kind=Kind.TED_BATCH)).transfer.key
    await stage.execute("update integrators set ted_hours = true, version = version + 1")
    await approve(stage, party, key, Kind.TED_BATCH)
    assert await seen(stage, party, key) == [("rejected", "outside_ted_hours")]
    with pytest.raises(Refusal, match="outside_ted_hours"):
        await requested(stage, party, kind=Kind.TED_BATCH)


@pytest.mark.parametrize("is_exact", [True, False])
async def test_of_two_batches_that_only_one_is_covered_by_the_balance_one_is_approved(own_stage: Stage, is_exact: bool):
    party = await own_stage.party()
    keys = [(await requested(own_stage, party)).transfer.key for _ in range(2)]
    left = 0 if is_exact else TOTAL - 1
    await own_stage.execute("update accounts set balance_centavos = $1", TOTAL + left)
    await asyncio.gather(*(approve(own_stage, party, key) for key in keys))
    states = Counter(await seen(own_stage, party, *keys))
    assert states == {("approved", None): 1, ("rejected", "insufficient_funds"): 1}
    assert await own_stage.value("select balance_centavos from accounts") == left


async def test_of_32_right_tokens_one_debits_and_promises(own_stage: Stage):
    """Over two API processes, so that calls meet in the database as well as in one desk."""
    party = await own_stage.party()
    request = await batch_request(own_stage, party, items=items(*range(1, 51)))
    await own_stage.desk.request_batch(request)
    token = await own_stage.token(party, request.key)
    other = await Stage.make(own_stage.db, own_stage.open_as)
    calls = [confirm((own_stage, other)[n % 2], party, request.key, token) for n in range(32)]
    verdicts = Counter(result.verdict for result in await outcomes(*calls))
    assert verdicts == {Verdict.APPROVED: 1, Verdict.INVALID_STATUS: 31}
    assert await stored_of(own_stage, *keys_of(request)) == [51, 51, 50, 1]
    assert await ledger_of(own_stage, *keys_of(request)) == [(request.key, "transfer", sum(range(1, 51)))]
    assert await own_stage.balance(party) == 100_000_000 - sum(range(1, 51))


async def test_a_batch_that_is_cancelled_while_it_is_approved_ends_one_way(own_stage: Stage):
    party = await own_stage.party()
    ways = Counter()
    for n in range(10):
        request = await batch_request(own_stage, party)
        await own_stage.desk.request_batch(request)
        calls = [approve(own_stage, party, request.key), cancel(own_stage, party, request.key)]
        results = await outcomes(*(calls if n % 2 else reversed(calls)))
        assert Counter(result.verdict for result in results) == {Verdict.APPROVED: 1, Verdict.INVALID_STATUS: 1}
        (status, _), *shown = await seen(own_stage, party, *keys_of(request))
        is_approved = status == "approved"
        assert await stored_of(own_stage, *keys_of(request)) == ([4, 4, 3, 1] if is_approved else [4, 1, 0, 1])
        assert set(shown) == {SETTLING if is_approved else ("cancelled", None)}
        assert await own_stage.counts(request.key) == ((1, 1, 0, 0) if is_approved else (0, 0, 0, 1))
        ways[status] += 1
    assert sum(ways.values()) == 10


async def test_a_process_that_dies_while_it_approves_leaves_everything_as_it_was(own_stage: Stage):
    party = await own_stage.party()
    request = await batch_request(own_stage, party)
    await own_stage.desk.request_batch(request)
    last = request.items[-1].key
    await own_stage.execute(f"alter table settlement_jobs add constraint killed check (operation_id <> '{last}')")
    with pytest.raises(Exception, match="killed"):
        await approve(own_stage, party, request.key)
    assert await seen(own_stage, party, *keys_of(request)) == [PENDING] * 4
    assert await stored_of(own_stage, *keys_of(request)) == [4, 1, 0, 1]
    assert await own_stage.counts(request.key) == (0, 0, 0, 0)
    assert await own_stage.balance(party) == 100_000_000
    await own_stage.execute("alter table settlement_jobs drop constraint killed")
    await approve(own_stage, party, request.key)
    assert await stored_of(own_stage, *keys_of(request)) == [4, 4, 3, 1]


async def test_items_that_are_not_what_was_approved_abandon_the_transaction(own_stage: Stage):
    """Rows are only ever added by their batch; should one come from elsewhere, no money moves."""
    party = await own_stage.party()
    request = await batch_request(own_stage, party)
    await own_stage.desk.request_batch(request)
    await own_stage.execute(
        "insert into operations select (jsonb_populate_record(o, jsonb_build_object('operation_id', gen_random_uuid(),"
        " 'request_control_key', gen_random_uuid(), 'item_no', 9))).* from operations o where operation_id = $1",
        request.items[0].key,
    )
    with pytest.raises(AssertionError):
        await approve(own_stage, party, request.key)
    assert await seen(own_stage, party, request.key) == [PENDING]
    assert await own_stage.balance(party) == 100_000_000


EDITED_BATCHES = {  # of the batch, of its largest item
    "payee": ("", "facts = jsonb_set(o.facts, '{payee_name}', '\"Mallory\"')"),
    "amount": ("amount_centavos = o.amount_centavos + 1", "amount_centavos = o.amount_centavos + 1"),
    "place": ("", "item_no = 9"),
}


@pytest.mark.parametrize("case", EDITED_BATCHES)
async def test_items_that_are_not_what_was_shown_abandon_the_transaction(own_stage: Stage, case: str):
    """Whoever can write to the tables can write the digest of an item as well; that of all items is in the token."""
    party = await own_stage.party()
    request = await batch_request(own_stage, party)
    await own_stage.desk.request_batch(request)
    await own_stage.execute("alter table operations disable trigger user")
    for key, edit in zip(keys_of(request), EDITED_BATCHES[case], strict=False):
        if edit:
            await own_stage.execute(f"update operations o set {edit} where operation_id = $1", key)  # noqa: S608
    async with own_stage.db.connection() as connection:
        edited = await read_operation(connection, party.key, request.items[0].key)
    assert edited is not None
    await own_stage.execute(
        "update operations set details_digest = $2 where operation_id = $1", edited[0].key, details_digest_of(edited[0])
    )
    with pytest.raises(AssertionError):
        await approve(own_stage, party, request.key)
    assert await seen(own_stage, party, request.key) == [PENDING]
    assert await own_stage.balance(party) == 100_000_000


@pytest.mark.parametrize("kind", [Kind.PIX_TRANSFER_BATCH, Kind.TED_BATCH])
async def test_no_token_call_is_made_on_an_item(stage: Stage, party: Party, kind: Kind):
    single = Kind.PIX_TRANSFER if kind is Kind.PIX_TRANSFER_BATCH else Kind.TED
    request = await batch_request(stage, party, kind=kind)
    await stage.desk.request_batch(request)
    key = request.items[0].key
    for is_approved in (False, True):
        if is_approved:
            await approve(stage, party, request.key, kind)
        for asked in (single, kind):
            calls = (
                confirm(stage, party, key, "123456", asked),
                resend(stage, party, key, asked),
                cancel(stage, party, key, asked),
            )
            names = [result.name for result in await outcomes(*calls)]
            assert names == [f"{asked.family}.operation_not_found"] * 3
    assert await seen(stage, party, key) == [SETTLING]


async def test_a_resend_brings_a_new_token_for_the_whole_batch(stage: Stage, party: Party):
    key = (await requested(stage, party)).transfer.key
    superseded = await stage.token(party, key)
    resent = await resend_at_once(stage, party, key)
    assert resent.challenge.generation == 2
    assert (await confirm(stage, party, key, superseded)).verdict is Verdict.SUPERSEDED
    await stage.execute(_LIMIT.format("email_amount_limit", TOTAL - 1), party.account.key)
    await stage.shift(key, 31)
    with pytest.raises(Refusal, match="limit_exceeded") as refused:
        await resend(stage, party, key, method=Method.EMAIL)
    assert refused.value.extra_fields == {"reason": "email_amount_limit"}
    assert (await approve(stage, party, key)).verdict is Verdict.APPROVED


async def test_a_cancelled_batch_takes_its_items_along(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    await stage.desk.request_batch(request)
    await cancel(stage, party, request.key)
    assert await seen(stage, party, *keys_of(request)) == [("cancelled", None)] * 4
    body = await stage.value("select body from events where operation_id = $1", request.key)
    assert '"items_pending":0,"items_sent":0,"items_rejected":0,"rejection_reason":null' in body
    assert await stored_of(stage, *keys_of(request)) == [4, 1, 0, 1]


async def test_a_batch_past_its_window_is_rejected_for_every_reader_and_call(stage: Stage, party: Party):
    request = await batch_request(stage, party)
    await stage.desk.request_batch(request)
    token = await stage.token(party, request.key)
    await stage.shift(request.key, 3_600)
    over = ("rejected", "approval_window_expired")
    assert await seen(stage, party, *keys_of(request)) == [over] * 4
    assert (await confirm(stage, party, request.key, token)).verdict is Verdict.WINDOW_OVER
    assert await stage.status(request.key) == over
    assert await stored_of(stage, *keys_of(request)) == [4, 1, 0, 1]


async def test_approving_a_thousand_items_costs_a_handful_of_statements(own_stage: Stage):
    party = await own_stage.party()
    request = await batch_request(own_stage, party, items=items(*range(1, 1001)))
    await request_in(own_stage.parts.db, request)
    call = await own_stage.confirm_call(party, request.key, await own_stage.token(party, request.key))
    counted = CountingDatabase(own_stage.parts.db)
    call = ConfirmCall(call.question, request.kind, call.token, b"", "tests", lambda _: None)
    (result,) = await confirm_transfers(counted, calls=[call], keyring=make_keyring(), rules=Rules())  # type: ignore[arg-type]
    assert result.verdict is Verdict.APPROVED
    assert counted.statements <= 11
    assert await own_stage.value("select count(*) from settlement_jobs") == 1_000
    async with own_stage.db.connection() as connection:
        assert await read_operation(connection, party.key, request.items[-1].key) is not None
