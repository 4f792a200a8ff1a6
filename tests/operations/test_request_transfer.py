"""Creating transfers set-wise: one operation per request key, one transfer per end_to_end_id, each row for itself."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest

from aval.domain.errors import Refusal
from aval.domain.money import Brl
from aval.domain.request import TransferRequest
from aval.operations.coalesce import Postponed
from aval.operations.request_transfer import Requested, Rules, request_transfers
from aval.operations.transfer_desk import TransferDesk
from tests.factories import Party, make_keyring
from tests.stage import PENDING, Stage

E2E = "E12345678202611231430aB3dE5fG7h{}"


def by_key(party: Party, **change: object) -> dict[str, object]:
    """A Pix to a key, which names its end_to_end_id."""
    body = party.pix(pix_transfer_type="key", target_pix_key="52998224725", **change)
    del body["target_account"]
    return body


async def test_a_request_stores_an_operation_a_challenge_and_a_promised_message(stage: Stage, party: Party):
    key = await stage.request(party)
    assert await stage.status(key) == PENDING
    message = await stage.fetch(
        "select topic, generation, channel, state, claim_count from outbox where operation_id = $1", key
    )
    assert message == [("token", 1, "sms", "ready", 0)]
    assert await stage.counts(key) == (0, 0, 0, 0)
    assert await stage.balance(party) == 1_000_000_00


async def test_one_key_is_one_operation_however_often_it_is_asked_for_at_once(stage: Stage, party: Party):
    body = party.pix()
    calls = [stage.call(party, "POST", "pix_transfer", body, process=n) for n in range(40)]
    answers = await asyncio.gather(*calls)
    assert {a.status for a in answers} == {202} and len({a.json["pix_transfer_key"] for a in answers}) == 1
    assert Counter(a.headers.get("idempotent-replayed") for a in answers) == {None: 1, "true": 39}
    count = "select count(*) from operations where integrator_id = $1"
    assert await stage.value(count, party.key) == 1
    assert await stage.value("select count(*) from outbox where integrator_id = $1", party.key) == 1


async def test_one_key_with_other_bodies_at_once_is_one_operation_and_conflicts(stage: Stage, party: Party):
    key = str(uuid4())
    bodies = [party.pix(request_control_key=key, transaction_amount=1 + n % 4) for n in range(20)]
    answers = await asyncio.gather(
        *(stage.call(party, "POST", "pix_transfer", body, process=n) for n, body in enumerate(bodies))
    )
    assert Counter((a.status, a.code) for a in answers) == {(202, None): 5, (409, "PXT000902"): 15}


async def test_who_never_wins_is_told_to_come_again(
    stage: Stage, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that others take and free again between two looks; it cannot be in earnest, as nothing is ever freed."""

    async def taken(*_: object) -> frozenset[UUID]:
        return frozenset()

    body = party.pix()
    with monkeypatch.context() as patched:
        patched.setattr("aval.operations.request_transfer.insert_transfers", taken)
        refused = await stage.call(party, "POST", "pix_transfer", body)
    assert (refused.status, refused.code) == (503, "QIT000944")
    made = await stage.call(party, "POST", "pix_transfer", body)
    assert (made.status, "idempotent-replayed" in made.headers) == (202, False)


async def test_kinds_and_integrators_have_request_keys_of_their_own(stage: Stage, party: Party):
    key, other = str(uuid4()), await stage.party()
    made = [
        await stage.create(owner, kind, request_control_key=key)
        for owner in (party, other)
        for kind in ("pix_transfer", "ted")
    ]
    assert [answer.status for answer in made] == [202] * 4


async def test_a_request_key_of_another_account_is_a_conflict(stage: Stage, party: Party):
    body = party.pix()
    await stage.call(party, "POST", "pix_transfer", body)
    stranger = await stage.party()
    path = f"/account/{stranger.account.key}/pix_transfer"
    assert (await stage.call(party, "POST", path, body)).code == "PXT000004"


async def test_one_end_to_end_id_serves_one_transfer(stage: Stage, party: Party):
    answers = await asyncio.gather(
        *(
            stage.call(party, "POST", "pix_transfer", by_key(party, end_to_end_id=E2E.format(1)), process=n)
            for n in range(24)
        )
    )
    assert Counter((a.status, a.code) for a in answers) == {(202, None): 1, (409, "PXT000907"): 23}
    (winner,) = [a for a in answers if a.status == 202]
    assert (await stage.cancel(party, UUID(winner.json["pix_transfer_key"]))).status == 200
    again = await stage.call(party, "POST", "pix_transfer", by_key(party, end_to_end_id=E2E.format(1)))
    assert again.code == "PXT000907"
    other = await stage.party()
    mine = await stage.call(other, "POST", "pix_transfer", by_key(other, end_to_end_id=E2E.format(1)))
    assert mine.status == 202


async def test_a_row_that_cannot_be_written_fails_alone(stage: Stage, party: Party):
    keys = [str(uuid4()) for _ in range(6)]
    await stage.execute(f"alter table operations add check (request_control_key <> '{keys[2]}')")
    answers = await asyncio.gather(*(stage.create(party, request_control_key=key) for key in keys))
    assert [answer.status for answer in answers] == [202, 202, 500, 202, 202, 202]
    count = "select count(*) from {} where integrator_id = $1"
    assert [await stage.value(count.format(t), party.key) for t in ("operations", "challenges", "outbox")] == [5] * 3


async def test_refused_requests_store_nothing_and_their_neighbours_are_stored(stage: Stage, party: Party):
    bodies = [party.pix(), party.pix(transaction_amount=9_999_999.99), party.pix()]
    bodies[2]["tfa_info"] = {"approver_document_number": "52998224725", "contact_type": "sms"}
    answers = await asyncio.gather(*(stage.call(party, "POST", "pix_transfer", body) for body in bodies))
    assert [answer.code for answer in answers] == [None, "PXT000901", "PXT000906"]
    assert await stage.value("select count(*) from operations where integrator_id = $1", party.key) == 1
    again = await stage.call(party, "POST", "pix_transfer", bodies[1] | {"transaction_amount": 1})
    assert again.status == 202  # the key of a refused request is free


async def test_the_balance_must_cover_amount_and_fee_but_is_not_held(stage: Stage):
    party = await stage.party(balance=Brl(10_00))
    await stage.execute("update accounts set pix_fee_centavos = 1 where account_id = $1", party.account.key)
    assert (await stage.create(party, transaction_amount=10)).code == "PXT000901"
    for _ in range(3):
        assert (await stage.create(party, transaction_amount=9.99)).status == 202
    assert await stage.balance(party) == 10_00


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("update accounts set status = 'blocked' where integrator_id = $1", "PXT000918"),
        ("update approvers set active = false where integrator_id = $1", "PXT000906"),
        ("update account_approvers set powers = '{}' where integrator_id = $1", "PXT000906"),
        ("update account_approvers set max_amount_centavos = 20200 where integrator_id = $1", "PXT000906"),
        ("update contacts set removed_at = clock_timestamp() where integrator_id = $1", "PXT000913"),
        ("update contacts set usable_at = clock_timestamp() + interval '1 s' where integrator_id = $1", "PXT000913"),
        ("update accounts set balance_centavos = 20200 where integrator_id = $1", "PXT000901"),
    ],
)
async def test_what_is_refused_says_why(stage: Stage, party: Party, statement: str, code: str):
    await stage.execute(statement, party.key)
    assert (await stage.create(party)).code == code
    assert await stage.value("select count(*) from operations where integrator_id = $1", party.key) == 0


async def test_a_channel_closed_by_its_breaker_closes_it_for_live_integrators_only(own_stage: Stage):
    await own_stage.execute(
        "update channel_states set closed_until = clock_timestamp() + interval '1 minute' where channel = 'sms'"
    )
    live = await own_stage.party(mode="live", ted_hours=False, budgets=False)
    email = {"approver_document_number": live.document_number, "contact_type": "email"}
    assert (await own_stage.create(live)).code == "PXT000910"
    assert (await own_stage.create(live, tfa_info=email)).status == 202
    assert (await own_stage.create(await own_stage.party())).status == 202


async def test_creates_do_not_wait_for_approvals_of_their_account(stage: Stage, party: Party):
    async with stage.locked("accounts", "account_id", party.account.key):
        assert (await stage.create(party)).status == 202


async def test_one_stale_caller_is_read_anew_among_neighbours(stage: Stage, party: Party):
    other = await stage.party()
    for owner in (party, other):
        assert (await stage.create(owner)).status == 202
    await stage.execute("update integrators set version = version + 1 where integrator_id = $1", other.key)
    answers = await asyncio.gather(*(stage.create(owner) for owner in (party, other, party, other)))
    assert [answer.status for answer in answers] == [202] * 4


TWIN = """
insert into operations
select (jsonb_populate_record(o, jsonb_build_object('operation_id', gen_random_uuid(),
        'request_control_key', $2::uuid, 'end_to_end_id', null))).*
  from operations o where o.operation_id = $1
"""


async def test_batches_with_the_same_keys_in_another_order_do_not_block_each_other(
    stage: Stage, party: Party, monkeypatch: pytest.MonkeyPatch
):
    asked: list[TransferRequest] = []

    async def gather(_: TransferDesk, request: TransferRequest) -> Requested:
        asked.append(request)
        raise Refusal("qit.not_found")

    made = await stage.request(party)
    first, held_up, last = sorted(uuid4() for _ in range(3))
    with monkeypatch.context() as patched:
        patched.setattr(TransferDesk, "request", gather)
        for key in (first, held_up, last, last, held_up, first):
            await stage.call(party, "POST", "pix_transfer", party.pix(request_control_key=str(key)))
    api, keyring, rules = await stage.open_as("aval_app_api"), make_keyring(), Rules()

    async def batch(requests: list[TransferRequest]) -> list[Requested | Exception | Postponed]:
        return await request_transfers(api, requests=requests, keyring=keyring, rules=rules, may_wait=False)

    async with stage.db.transaction() as connection:
        await connection.execute(TWIN, made, held_up)
        both = asyncio.gather(batch(asked[:3]), batch(asked[3:]))
        await asyncio.sleep(0.3)  # both wait for the one key
    results = [result for results in await both for result in results]
    assert sum(isinstance(result, Requested) for result in results) == 2
    assert sum(isinstance(result, Postponed) for result in results) == 4
