"""Proof of ST7 and TN4 to TN6: a repetition is one operation and one answer, whoever asks how often and loses what.

Two API processes and a worker answer over HTTP; each group of eight comes at the same moment, over both. A lost answer
is a connection the caller cuts right after sending: what was decided then is read from the rows, and its repetition
has to be that very answer.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.factories import Party, Reply, make_party
from tests.proof.deployment import RunningAval, figure, live_tokens, running_deployment
from tests.stage import wrong
from tests.world import ITEMS, item_body
from tests.world import body_of as request_of

pytestmark = pytest.mark.proof

RACERS = 8
END_TO_END_IDS = figure(100, 1_000)
REQUEST_KEYS = figure(500, 10_000)
CONFLICTS = figure(200, 1_000)
ITEM_KEYS = figure(60, 1_000)
TOKEN_CALLS = figure(200, 5_000)
SEVERED = figure(24, 400)
AT_ONCE = 12
KINDS = ("pix_transfer", "ted", *ITEMS)
CONFLICT = {"PXT000902", "TED000902"}
SETTINGS: dict[str, Any] = {"budgets": False}


@pytest.fixture(scope="module")
async def aval() -> AsyncIterator[RunningAval]:
    async with running_deployment(apis=2, workers=1) as running:
        yield running


@pytest.fixture(scope="module")
async def party(aval: RunningAval) -> Party:
    return await make_party(aval.db, **SETTINGS)


def body_of(party: Party, kind: str, **change: Any) -> dict[str, Any]:
    """A request for little money; the amount of a batch is that of each of its three items."""
    amount = change.pop("transaction_amount", 1)
    if kind in ITEMS:
        items = [item_body(party, kind, transaction_amount=amount) for _ in range(3)]
        return request_of(party, kind, **{ITEMS[kind]: items} | change)
    return request_of(party, kind, transaction_amount=amount, **change)


def priced_in(body: dict[str, Any]) -> list[dict[str, Any]]:
    """What of a request has an amount and a target: itself, or its items."""
    return next((body[name] for name in ITEMS.values() if name in body), [body])


async def create(aval: RunningAval, party: Party, kind: str, body: dict[str, Any]) -> Reply:
    return await aval.call("POST", f"/account/{party.account.key}/{kind}", body, key=party.api_key)


async def made(aval: RunningAval, party: Party, kind: str, **change: Any) -> UUID:
    answer = await create(aval, party, kind, body_of(party, kind, **change))
    assert answer.status == 202, answer
    return UUID(answer.json[f"{kind}_key"])


async def count(aval: RunningAval, query: str, *arguments: object) -> Any:
    async with aval.db.connection() as connection:
        return await connection.fetchval(query, *arguments)


async def each(trial: Callable[[int], Awaitable[None]], number: int) -> None:
    """Run trials by their number, a few at once."""
    numbers = iter(range(number))

    async def lane() -> None:
        for place in numbers:
            await trial(place)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(lane())


async def test_an_end_to_end_id_serves_one_transfer(aval: RunningAval, party: Party, chance: random.Random) -> None:
    other = await make_party(aval.db, **SETTINGS)

    async def trial(number: int) -> None:
        name = f"E12345678{datetime.now(UTC):%Y%m%d%H%M}{number:04d}{chance.randrange(10**7):07d}"
        fields = {"pix_transfer_type": "key", "target_pix_key": "52998224725", "end_to_end_id": name}

        def body(of: Party) -> dict[str, Any]:
            return {
                name: value for name, value in body_of(of, "pix_transfer", **fields).items() if name != "target_account"
            }

        answers = await asyncio.gather(*(create(aval, party, "pix_transfer", body(party)) for _ in range(RACERS)))
        (first,) = [answer for answer in answers if answer.status == 202]
        assert [answer.code for answer in answers if answer is not first] == ["PXT000907"] * (RACERS - 1)
        path = f"/account/{party.account.key}/pix_transfer/{first.json['pix_transfer_key']}"
        assert (await aval.call("PATCH", f"{path}/cancel", key=party.api_key)).status == 200
        assert (await create(aval, party, "pix_transfer", body(party))).code == "PXT000907", "whatever its outcome"
        if number % 10 == 0:
            assert (await create(aval, other, "pix_transfer", body(other))).status == 202, "per integrator"

    await each(trial, END_TO_END_IDS)
    assert (
        await count(aval, "select count(*) from aval.operations where integrator_id = $1", party.key) == END_TO_END_IDS
    )


async def test_the_same_request_is_one_operation(aval: RunningAval, chance: random.Random) -> None:
    parties = [await make_party(aval.db, **SETTINGS) for _ in range(4)]

    async def trial(number: int) -> None:
        party, kind = chance.choice(parties), KINDS[number % 4]
        body = body_of(party, kind, transaction_amount=10)
        answers = await asyncio.gather(*(post(aval, party, kind, spelt(body, place)) for place in range(RACERS)))
        assert {answer.status for answer in answers} == {202}, answers
        assert len({answer.json[f"{kind}_key"] for answer in answers}) == 1
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == RACERS - 1
        assert len({answer.body for answer in answers}) == 1
        if number % 5 == 0:
            await check_current(aval, party, kind, body, UUID(answers[0].json[f"{kind}_key"]))

    await each(trial, REQUEST_KEYS)
    keys = [party.key for party in parties]
    requested = "select count(*) from aval.operations where batch_id is null and integrator_id = any($1)"
    assert await count(aval, requested, keys) == REQUEST_KEYS
    assert await count(aval, "select count(*) from aval.outbox where integrator_id = any($1)", keys) == REQUEST_KEYS


async def check_current(aval: RunningAval, party: Party, kind: str, body: dict[str, Any], key: UUID) -> None:
    """A repetition tells what the operation is now."""
    path = f"/account/{party.account.key}/{kind}/{key}"
    assert (await aval.call("PATCH", f"{path}/cancel", key=party.api_key)).status == 200
    again = await create(aval, party, kind, body)
    assert (again.status, again.json[f"{kind}_status"], again.headers["idempotent-replayed"]) == (
        202,
        "cancelled",
        "true",
    )


def spelt(body: dict[str, Any], place: int) -> str:
    """The same request in other words: order of keys, spaces, 10 and 10.0 and 10.00, null and absent."""
    body = json.loads(json.dumps(body))
    for priced in priced_in(body):
        members = list(priced.items())
        if place % 2:
            members.reverse()
        if place % 4 > 1 and "pix_transfer_type" in priced:
            members.append(("pix_message", None))
        priced.clear()
        priced.update(dict(members) | {"transaction_amount": "?"})
    if place % 2:
        body = dict(reversed(body.items()))
    amount = ["10", "10.0", "10.00"][place % 3]
    return json.dumps(body, indent=place % 2 or None).replace('"?"', amount)


async def post(aval: RunningAval, party: Party, kind: str, text: str) -> Reply:
    return await aval.call("POST", f"/account/{party.account.key}/{kind}", text.encode(), key=party.api_key)


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(
    aval: RunningAval, chance: random.Random
) -> None:
    party = await make_party(aval.db, **SETTINGS)
    changes: list[Callable[[dict[str, Any]], None]] = [
        lambda body: priced_in(body)[-1].update(transaction_amount=1.01),
        lambda body: body.update(tfa_info={**body["tfa_info"], "contact_type": "email"}),
        lambda body: priced_in(body)[-1]["target_account"].update(account_number="7654322"),
        lambda body: priced_in(body)[-1]["target_account"].update(owner_name="Maria Sousa"),
        lambda body: priced_in(body)[-1]["target_account"].update(owner_document_number="11144477735"),
        lambda body: priced_in(body)[-1]["target_account"].update(ispb="11111111"),
    ]

    async def trial(number: int) -> None:
        kind = KINDS[number % 4]
        bodies = []
        for place in range(RACERS):
            bodies.append(json.loads(json.dumps(bodies[0] if bodies else body_of(party, kind))))
            if place:
                chance.choice(changes)(bodies[-1])
        if number % 3:
            bodies.sort(key=lambda _: chance.random())
        answers = await asyncio.gather(*(create(aval, party, kind, body) for body in bodies))
        taken = [body for body, answer in zip(bodies, answers, strict=True) if answer.status == 202]
        assert taken and all(body == taken[0] for body in taken), "two bodies were taken"
        refused = [answer for body, answer in zip(bodies, answers, strict=True) if body != taken[0]]
        assert {answer.code for answer in refused} <= CONFLICT and {answer.status for answer in refused} <= {409}
        await check_untouched(aval, party, kind, taken[0], changes, chance)

    await each(trial, CONFLICTS)
    requested = "select count(*) from aval.operations where batch_id is null and integrator_id = $1"
    assert await count(aval, requested, party.key) == CONFLICTS


async def check_untouched(
    aval: RunningAval, party: Party, kind: str, body: dict[str, Any], changes: Sequence[Any], chance: random.Random
) -> None:
    everything = (
        "select md5(row(o.*, c.*)::text) from aval.operations o"
        " join aval.challenges c using (integrator_id, operation_id)"
        " where o.request_control_key = $1 and o.batch_id is null"
    )
    before = await count(aval, everything, UUID(body["request_control_key"]))
    other = json.loads(json.dumps(body))
    while other == body:
        chance.choice(changes)(other)
    answer = await create(aval, party, kind, other)
    assert (answer.status, answer.code in CONFLICT) == (409, True), answer
    assert await count(aval, everything, UUID(body["request_control_key"])) == before


async def test_a_key_of_an_item_serves_one_transfer(aval: RunningAval, chance: random.Random) -> None:
    """Singles and batches ask for the same key at once: one is stored whole, of the others nothing."""
    party = await make_party(aval.db, **SETTINGS)

    async def trial(number: int) -> None:
        kind = list(ITEMS)[number % 2]
        single = kind.removesuffix("_batch")
        shared = [item_body(party, kind, transaction_amount=1) for _ in range(2)]
        alone = [(single, item | {"tfa_info": party.tfa_info}) for item in shared]
        batches = []
        for _ in range(RACERS - 2):
            items = [item_body(party, kind, transaction_amount=1), *shared]
            chance.shuffle(items)
            batches.append((kind, request_of(party, kind, **{ITEMS[kind]: items})))
        calls = [*alone, *batches] if number % 3 else batches
        chance.shuffle(calls)
        answers = await asyncio.gather(*(create(aval, party, of, body) for of, body in calls))
        assert {answer.status for answer in answers} <= {202, 400, 409}, answers
        assert {answer.code for answer in answers if answer.status != 202} <= CONFLICT | {"PXT000917", "TED000917"}
        taken = [(of, body) for (of, body), answer in zip(calls, answers, strict=True) if answer.status == 202]
        batch = [body for of, body in taken if of == kind]
        assert taken and len(taken) == (1 if batch else len([of for of, _ in taken if of == single])), taken
        asked = {UUID(item["request_control_key"]) for _, body in calls for item in priced_in(body)}
        stored = "select count(*) from aval.operations where kind = $1 and request_control_key = any($2)"
        assert await count(aval, stored, single, list(asked)) == (3 if batch else len(taken)), taken

    await each(trial, ITEM_KEYS)


@dataclass(frozen=True)
class Repeated:
    """A call that is made under an Idempotency-Key, and what it may do once."""

    party: Party
    method: str
    path: str
    body: Any
    statuses: set[int]
    attempts_used: int = 0
    generation: int = 1
    other_body: Any = None

    @property
    def operation(self) -> UUID:
        return UUID(self.path.split("/")[4])


Scene = Callable[[RunningAval, Party, str], Awaitable[Repeated]]


async def waiting(aval: RunningAval, party: Party, kind: str) -> tuple[str, UUID, str]:
    """An operation, its key and its token."""
    key = await made(aval, party, kind)
    return f"/account/{party.account.key}/{kind}/{key}", key, (await live_tokens(aval.db, [key]))[key].text


async def wrong_token(aval: RunningAval, party: Party, kind: str) -> Repeated:
    path, _, token = await waiting(aval, party, kind)
    body, other = {"token": wrong(token)}, {"token": token}
    return Repeated(party, "PUT", f"{path}/validate_token", body, {400}, attempts_used=1, other_body=other)


async def right_token(aval: RunningAval, party: Party, kind: str) -> Repeated:
    path, _, token = await waiting(aval, party, kind)
    body, other = {"token": token}, {"token": wrong(token)}
    return Repeated(party, "PUT", f"{path}/validate_token", body, {201, 202}, other_body=other)


async def fifth_wrong_token(aval: RunningAval, party: Party, kind: str) -> Repeated:
    repeated = await wrong_token(aval, party, kind)
    for _ in range(4):
        assert (await aval.call("PUT", repeated.path, repeated.body, key=party.api_key)).status == 400
    return replace(repeated, attempts_used=5)


async def expired_token(aval: RunningAval, party: Party, kind: str) -> Repeated:
    repeated = await right_token(aval, party, kind)
    await run_sql(aval, f"{_MOVE} issued_at - interval '5 minutes', expires_at = issued_at {_OF}", repeated.operation)
    return replace(repeated, statuses={400})


async def refused_approval(aval: RunningAval, _: Party, kind: str) -> Repeated:
    """The right token on an account that was blocked meanwhile: a rejected body."""
    party = await make_party(aval.db, **SETTINGS)
    repeated = await right_token(aval, party, kind)
    await run_sql(aval, "update aval.accounts set status = 'blocked' where account_id = $1", party.account.key)
    return replace(repeated, statuses={400})


async def resend(aval: RunningAval, party: Party, kind: str) -> Repeated:
    path, key, _ = await waiting(aval, party, kind)
    await run_sql(aval, f"update aval.challenges set can_resend_at = issued_at {_OF}", key)
    body, other = {"contact_type": "email"}, {"contact_type": "sms"}
    return Repeated(party, "PATCH", f"{path}/resend_token", body, {202}, generation=2, other_body=other)


async def cancel(aval: RunningAval, party: Party, kind: str) -> Repeated:
    path, _, _ = await waiting(aval, party, kind)
    return Repeated(party, "PATCH", f"{path}/cancel", None, {200})


_MOVE, _OF = "update aval.challenges set issued_at =", "where operation_id = $1"
SCENES: dict[str, Scene] = {
    "wrong token": wrong_token,
    "right token": right_token,
    "right token, synchronous": right_token,
    "fifth wrong token": fifth_wrong_token,
    "expired token": expired_token,
    "refused approval": refused_approval,
    "resend": resend,
    "cancel": cancel,
}


async def run_sql(aval: RunningAval, statement: str, key: UUID) -> None:
    async with aval.db.connection() as connection:
        await connection.execute(statement, key)


@pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "lost"])
async def test_the_same_idempotency_key_repeats_the_same_answer(
    is_lost: bool, aval: RunningAval, party: Party, chance: random.Random
) -> None:
    patient = await make_party(aval.db, settlement_mode="sync", **SETTINGS)
    lost_after_commit = 0

    async def trial(number: int) -> None:
        nonlocal lost_after_commit
        name = list(SCENES)[number % len(SCENES)]
        kind = KINDS[number // len(SCENES) % 4]
        repeated = await SCENES[name](aval, patient if "synchronous" in name else party, kind)
        headers = {"Idempotency-Key": f"{name.replace(' ', '-').replace(',', '')}:{uuid4()}"}
        told = None
        if is_lost:
            told = await lose(aval, repeated, headers, chance.choice([0.0, 0.002, 0.01]))
            lost_after_commit += told is not None
        await check_repeated(aval, repeated, headers, told)

    await each(trial, TOKEN_CALLS // 2)
    assert not is_lost or lost_after_commit > TOKEN_CALLS // 8, "hardly an answer was lost after its commit"


async def test_an_answer_lost_between_database_and_api_is_repeated_too(
    aval: RunningAval, party: Party, chance: random.Random
) -> None:
    """The session to PostgreSQL is ended while it decides: 503 when nothing was kept, 500 when that is not known.

    The repetition then tells which it was.
    """
    lost = Counter[str]()
    for number in range(SEVERED):
        scene = (wrong_token, right_token, resend, cancel)[number % 4]
        repeated = await scene(aval, party, KINDS[number // 4 % 4])
        headers = {"Idempotency-Key": str(uuid4())}
        calling = asyncio.create_task(
            aval.call(repeated.method, repeated.path, repeated.body, key=party.api_key, headers=headers)
        )
        await asyncio.sleep(chance.uniform(0, 0.005))
        await count(aval, _SEVER)
        answer = await calling
        assert answer.status in (500, 503) or answer.status in repeated.statuses, answer
        told = await kept_answer(aval, headers["Idempotency-Key"])
        assert told is None or answer.status != 503, (answer, told)
        lost["committed" if told else "nothing"] += answer.status in (500, 503)
        await asyncio.sleep(0.05)  # until the API has seen which of its sessions are gone
        await check_repeated(aval, repeated, headers, told)
    assert lost.total(), "no answer was lost"


_SEVER = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'aval api'"


async def kept_answer(aval: RunningAval, key: str) -> tuple[int, bytes] | None:
    """What is kept under an Idempotency-Key."""
    query = "select status, body from aval.idempotency_keys where idempotency_key = $1 and status is not null"
    async with aval.db.connection() as connection:
        row = await connection.fetchrow(query, key)
    return None if row is None else (row["status"], row["body"])


async def lose(
    aval: RunningAval, repeated: Repeated, headers: dict[str, str], after_s: float
) -> tuple[int, bytes] | None:
    """Cut the connection; what would have been answered, or None if it was cut before anybody read the request."""
    await aval.cut(
        repeated.method, repeated.path, repeated.body, key=repeated.party.api_key, after_s=after_s, headers=headers
    )
    for _ in range(20):
        if (told := await kept_answer(aval, headers["Idempotency-Key"])) is not None:
            return told
        await asyncio.sleep(0.02)
    return None


async def check_repeated(
    aval: RunningAval, repeated: Repeated, headers: dict[str, str], told: tuple[int, bytes] | None
) -> None:
    async def call(body: Any) -> Reply:
        return await aval.call(repeated.method, repeated.path, body, key=repeated.party.api_key, headers=headers)

    answers = list(await asyncio.gather(*(call(repeated.body) for _ in range(RACERS))))
    if repeated.other_body is not None:
        answer = await call(repeated.other_body)
        assert (answer.status, answer.code in CONFLICT) == (409, True), answer
    answers.append(await call(repeated.body))
    first = told or (answers[0].status, answers[0].body)
    assert {(answer.status, answer.body) for answer in answers} == {first}, (repeated, first, answers)
    assert first[0] in repeated.statuses, (repeated, first)
    async with aval.db.connection() as connection:
        row: Any = await connection.fetchrow(_DONE, repeated.operation)
    assert (row["attempts_used"], row["generation"], row["messages"]) == (
        repeated.attempts_used,
        repeated.generation,
        repeated.generation,
    ), (repeated, dict(row))
    assert row["debits"] <= 1 and row["right_ones"] <= 1 and row["resent"] == repeated.generation - 1, dict(row)


_DONE = """
select attempts_used, generation, (select count(*) from aval.outbox where operation_id = $1) as messages,
       (select count(*) from aval.ledger_entries where source_id = $1 and entry_type = 'transfer') as debits,
       (select count(*) from aval.comparisons where operation_id = $1 and verdict = 'right') as right_ones,
       (select count(*) from aval.audit where operation_id = $1 and action = 'token.resent') as resent
  from aval.challenges where operation_id = $1
"""


async def test_what_is_not_kept_can_be_repeated_under_its_key(aval: RunningAval, party: Party) -> None:
    for kind in KINDS:
        path, key, token = await waiting(aval, party, kind)
        headers = {"Idempotency-Key": str(uuid4())}

        async def call(method: str, call: str, body: Any, path: str = path, headers: Any = headers) -> Reply:
            return await aval.call(method, f"{path}/{call}", body, key=party.api_key, headers=headers)

        assert [(await call("PATCH", "resend_token", None)).status for _ in range(2)] == [429, 429]
        await run_sql(aval, f"update aval.challenges set can_resend_at = issued_at {_OF}", key)
        resent = [await call("PATCH", "resend_token", None) for _ in range(2)]
        assert [(answer.status, answer.body) for answer in resent] == [(202, resent[0].body)] * 2
        assert resent[0].json["approval"]["generation"] == 2
        assert (await call("PUT", "validate_token", {})).status == 400  # a key belongs to its path
        assert (await call("PUT", "validate_token", {"token": token})).json["extra_fields"][
            "reason"
        ] == "superseded_token"


async def test_a_key_is_free_again_after_a_day(aval: RunningAval, party: Party) -> None:
    for kind in KINDS:
        repeated = await wrong_token(aval, party, kind)
        headers = {"Idempotency-Key": str(uuid4())}
        for used, age in ((1, "23 hours 59 minutes"), (1, "1 minute"), (2, "0 minutes"), (2, "0 minutes")):
            answer = await aval.call("PUT", repeated.path, repeated.body, key=party.api_key, headers=headers)
            assert answer.status == 400
            spent = "select attempts_used from aval.challenges where operation_id = $1"
            assert await count(aval, spent, repeated.operation) == used
            await run_sql(
                aval,
                f"update aval.idempotency_keys set created_at = created_at - interval '{age}'"
                " where path like '%' || $1::uuid || '%'",
                repeated.operation,
            )
