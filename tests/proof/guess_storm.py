"""Proof of TK1 and TK2: never a sixth comparison, never a second approval, whatever the parallelism.

An attacker guesses over HTTP at two API processes while a worker settles. The oracle derives the real tokens from the
deployment's keys. Comparisons are counted twice: from what the answers told, and from the rows. Once without the limits
of transfers.md §8.3, once with their defaults.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from aval.domain.token import SYMBOLS, Token
from tests.factories import Party, Reply, make_party
from tests.proof.deployment import RunningAval, figure, live_tokens, running_deployment
from tests.world import ITEMS, body_of, item_body

pytestmark = pytest.mark.proof

OPERATIONS_A_ROUND = 2_000
ROUNDS = figure(1, 15)
GUESSES = 20_000  # a round
BURSTS = 40  # operations of a round that 20 to 200 guesses hit at once
RACERS = 32
RACES = figure(160, 3_125)  # 32 right tokens each
KINDS = ["pix_transfer", "ted", "pix_transfer", "ted", *ITEMS]
ITEMS_OF_A_BATCH = 3
IN_FLIGHT = 256  # more than the largest burst
OPERATIONS_OF_AN_APPROVER = 5  # the defaults stop messages nobody answers at 6
SETTLED_WITHIN_S = 60

NOT_BUDGETED: dict[str, Any] = {"mode": "live", "budgets": False, "requests_per_second": None, "ted_hours": False}
DEFAULTS: dict[str, Any] = {"mode": "live", "ted_hours": False}

WRONG, EXCEEDED = {"PXT000173", "TED000084"}, {"PXT000171", "TED000082"}
INVALID_STATUS, LIMITED = {"PXT000175", "PXT000180", "TED000086", "TED000102"}, {"QIT000943"}
# A digits budget ends a token; a busy database answers 503 and has judged nothing.
NOT_EVALUATED = INVALID_STATUS | LIMITED | {"TED000083", "QIT000944"}


@dataclass
class Target:
    """An operation under attack, and what the attacker was told of it."""

    key: UUID
    kind: str
    party: Party
    items: int = 1
    token: Token = field(default_factory=lambda: Token(""), repr=False)
    answers: Counter[str] = field(default_factory=Counter)
    is_renewed: bool = False
    has_right_guess: bool = False

    @property
    def path(self) -> str:
        return f"/account/{self.party.account.key}/{self.kind}/{self.key}"

    @property
    def approvals(self) -> int:
        return self.answers["approved"]

    @property
    def wrong(self) -> int:
        """Evaluated wrong comparisons, as told: every `wrong`, and the fifth behind the first `exceeded`."""
        return self.answers["wrong"] + (self.answers["exceeded"] > 0)


@pytest.fixture(scope="module")
async def aval() -> AsyncIterator[RunningAval]:
    async with running_deployment(apis=2, workers=1) as running:
        yield running


async def test_no_sixth_comparison(aval: RunningAval, chance: random.Random) -> None:
    parties = await make_parties(aval, 8, NOT_BUDGETED)
    for _ in range(ROUNDS):
        targets = await make_targets(aval, parties, OPERATIONS_A_ROUND)
        await storm(aval, chance, targets)
        await check(aval, targets)
        only_wrong = [t for t in targets if not (t.is_renewed or t.has_right_guess or t.answers["not evaluated"])]
        assert [t for t in only_wrong if not t.answers["exceeded"]] == [], "wrong guesses that were not counted"
        assert len(only_wrong) > len(targets) // 2


async def test_no_sixth_comparison_under_the_default_limits(aval: RunningAval, chance: random.Random) -> None:
    for _ in range(ROUNDS):
        parties = await make_parties(aval, OPERATIONS_A_ROUND // OPERATIONS_OF_AN_APPROVER, DEFAULTS)
        targets = await make_targets(aval, parties, OPERATIONS_A_ROUND)
        await storm(aval, chance, targets)
        await check(aval, targets)
        assert sum(t.answers["limited"] for t in targets), "the limits were not on"


async def test_approved_at_most_once(aval: RunningAval, chance: random.Random) -> None:
    parties = await make_parties(aval, 8, NOT_BUDGETED)
    targets = await make_targets(aval, parties, RACES)
    rivals = [chance.choice(list(RIVALS)) for _ in targets]
    await run_all((race(aval, target, rival) for target, rival in zip(targets, rivals, strict=True)), 4)
    await check(aval, targets)
    for target, rival in zip(targets, rivals, strict=True):
        ends = target.approvals + target.answers["cancelled"] + (target.answers["exceeded"] > 0)
        assert (ends == 1) if rival != "window over" else (ends == 0), (rival, target)
        assert target.approvals == 1 or rival != "none", target
        assert target.approvals == 0 or "before" not in rival, target
    await check_settled(aval, parties, targets)


async def make_parties(aval: RunningAval, count: int, settings: dict[str, Any]) -> list[Party]:
    return await run_all((make_party(aval.db, **settings) for _ in range(count)), 8)


async def make_targets(aval: RunningAval, parties: Sequence[Party], count: int) -> list[Target]:
    async def make(number: int) -> Target:
        party, kind = parties[number % len(parties)], KINDS[number // len(parties) % len(KINDS)]
        items = [item_body(party, kind, transaction_amount=1) for _ in range(ITEMS_OF_A_BATCH)] if kind in ITEMS else []
        body = body_of(party, kind, **({ITEMS[kind]: items} if items else {"transaction_amount": 1}))
        answer = await aval.call("POST", f"/account/{party.account.key}/{kind}", body, key=party.api_key)
        assert answer.status == 202, answer
        return Target(UUID(answer.json[f"{kind}_key"]), kind, party, items=len(items) or 1)

    targets = await run_all(map(make, range(count)), 64)
    tokens = await live_tokens(aval.db, [target.key for target in targets])
    for target in targets:
        target.token = tokens[target.key]
    await run_sql(aval, "update aval.challenges set can_resend_at = issued_at where operation_id = any($1)", targets)
    return targets


async def storm(aval: RunningAval, chance: random.Random, targets: Sequence[Target]) -> None:
    """Guess at every operation, the guesses at one operation all at once; some are renewed meanwhile."""
    sizes = [chance.randint(20, 200) for _ in range(BURSTS)]
    each, more = divmod(GUESSES - sum(sizes), len(targets) - BURSTS)
    sizes += [each + (place < more) for place in range(len(targets) - BURSTS)]
    calls = [call for target, size in zip(targets, sizes, strict=True) for call in volley(aval, chance, target, size)]
    assert sum(sizes) == GUESSES
    await run_all(calls, IN_FLIGHT)


def volley(aval: RunningAval, chance: random.Random, target: Target, size: int) -> list[Awaitable[None]]:
    target.has_right_guess = chance.random() < 0.3
    right = chance.randint(1, size // 3) if target.has_right_guess else 0
    guesses = [target.token.text] * right + [wrong_token(chance, target) for _ in range(size - right)]
    chance.shuffle(guesses)
    calls: list[Awaitable[None]] = [guess(aval, target, text) for text in guesses]
    target.is_renewed = chance.random() < 0.1
    if target.is_renewed:
        calls.insert(chance.randrange(size), resend(aval, target))
    return calls


def wrong_token(chance: random.Random, target: Target) -> str:
    symbols = "0123456789" if target.kind.startswith("ted") else SYMBOLS
    while True:
        text = "".join(chance.choices(symbols, k=6))
        if text != target.token.text:
            return text


async def guess(aval: RunningAval, target: Target, text: str) -> None:
    answer = await aval.call("PUT", f"{target.path}/validate_token", {"token": text}, key=target.party.api_key)
    target.answers[outcome_of(answer)] += 1
    assert target.wrong + target.approvals <= 5, target  # at once; `check` looks at the rows as well


def outcome_of(answer: Reply) -> str:
    if answer.status in (201, 202):
        return "approved"
    codes = {"wrong": WRONG, "exceeded": EXCEEDED, "limited": LIMITED, "not evaluated": NOT_EVALUATED}
    found = next((name for name, known in codes.items() if answer.code in known), None)
    assert found is not None, answer
    return found


async def resend(aval: RunningAval, target: Target) -> None:
    answer = await aval.call("PATCH", f"{target.path}/resend_token", key=target.party.api_key)
    assert answer.status == 202 or answer.code in EXCEEDED | NOT_EVALUATED, answer


async def cancel(aval: RunningAval, target: Target) -> None:
    answer = await aval.call("PATCH", f"{target.path}/cancel", key=target.party.api_key)
    assert answer.status == 200 or answer.code in NOT_EVALUATED, answer
    target.answers["cancelled"] += answer.status == 200


async def exhaust(aval: RunningAval, target: Target) -> None:
    fixed = random.Random(target.key.int)
    await asyncio.gather(*(guess(aval, target, wrong_token(fixed, target)) for _ in range(5)))


async def end_window(aval: RunningAval, target: Target) -> None:
    shift = (
        "update aval.challenges set issued_at = issued_at - interval '1 hour', expires_at = expires_at - interval"
        " '1 hour', approval_deadline = approval_deadline - interval '1 hour' where operation_id = any($1)"
    )
    await run_sql(aval, shift, [target])


# What happens beside 32 right tokens, or before them.
RIVALS: dict[str, Callable[[RunningAval, Target], Awaitable[None]] | None] = {
    "none": None,
    "cancel": cancel,
    "wrong tokens": exhaust,
    "cancelled before": cancel,
    "exhausted before": exhaust,
    "window over": end_window,
}


async def race(aval: RunningAval, target: Target, rival: str) -> None:
    act = RIVALS[rival]
    right = [guess(aval, target, target.token.text) for _ in range(RACERS)]
    if act is None:
        await asyncio.gather(*right)
    elif rival in ("cancel", "wrong tokens"):
        middle = RACERS // 2
        await asyncio.gather(*right[:middle], act(aval, target), *right[middle:])
    else:
        await act(aval, target)
        await asyncio.gather(*right)


async def check(aval: RunningAval, targets: Sequence[Target]) -> None:
    """Hold what was told against the rows of every operation."""
    rows = await fetch(
        aval,
        "select c.operation_id, c.status, c.rejection_reason, c.attempts_used,"
        " array(select k.verdict from aval.comparisons k where k.operation_id = c.operation_id) as verdicts,"
        " (select count(*) from aval.ledger_entries e where e.source_id = c.operation_id"
        "   and e.entry_type = 'transfer') as debits,"
        " (select count(*) from aval.settlement_jobs j join aval.operations o using (integrator_id, operation_id)"
        "   where c.operation_id = coalesce(o.batch_id, o.operation_id)) as jobs"
        " from aval.challenges c where c.operation_id = any($1)",
        targets,
    )
    found = {row["operation_id"]: row for row in rows}
    for target in targets:
        check_one(target, found[target.key])


def check_one(target: Target, row: Any) -> None:
    said = (target, dict(row))
    right = row["verdicts"].count("right")
    wrong = len(row["verdicts"]) - right
    assert len(row["verdicts"]) <= 5 and target.wrong + target.approvals <= 5, said
    assert (wrong, right) == (target.wrong, target.approvals) and row["attempts_used"] == wrong, said
    assert right <= 1 and row["debits"] == right and row["jobs"] == right * target.items, said
    assert (row["status"] in ("pending", "sent", "approved")) == (right == 1), said
    is_exhausted = row["rejection_reason"] == "attempts_exceeded"
    assert is_exhausted == (wrong == 5) == (target.answers["exceeded"] > 0), said


async def check_settled(aval: RunningAval, parties: Sequence[Party], targets: Sequence[Target]) -> None:
    """Every approved transfer or item is sent in the end, and its account paid for it once."""
    waiting = (
        "select operation_id from aval.challenges join aval.operations o using (integrator_id, operation_id)"
        " where status = 'pending' and coalesce(o.batch_id, operation_id) = any($1)"
    )
    for _ in range(SETTLED_WITHIN_S * 10):
        if not await fetch(aval, waiting, targets):
            break
        await asyncio.sleep(0.1)
    assert await fetch(aval, waiting, targets) == []
    paid = Counter[UUID]()
    for target in targets:
        paid[target.party.account.key] += target.items * target.approvals
    async with aval.db.connection() as connection:
        rows = await connection.fetch("select account_id, balance_centavos from aval.accounts")
    balances = {row["account_id"]: row["balance_centavos"] for row in rows}
    for party in parties:
        assert balances[party.account.key] == 100_000_000 - 100 * paid[party.account.key]


async def run_all(calls: Iterable[Awaitable[Any]], at_once: int) -> list[Any]:
    """Await everything in order of its start, so many at once; the first failure ends it."""
    waiting = iter(enumerate(calls))
    results: dict[int, Any] = {}

    async def lane() -> None:
        for place, call in waiting:
            results[place] = await call

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(lane())
    return [results[place] for place in sorted(results)]


async def fetch(aval: RunningAval, query: str, targets: Iterable[Target]) -> list[Any]:
    async with aval.db.connection() as connection:
        return await connection.fetch(query, [target.key for target in targets])


async def run_sql(aval: RunningAval, statement: str, targets: Iterable[Target]) -> None:
    async with aval.db.connection() as connection:
        await connection.execute(statement, [target.key for target in targets])
