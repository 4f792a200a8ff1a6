"""Proof of TK5 and of AU1's first half: a reference model of one operation, compared with Aval after each step.

Random sequences of create, resend, switch of channel, validate, cancel, read and passing time run through the API's
application on a real database, many at once, so that calls of different operations share their batches. The model is
written from transfers.md §2.7, §4.1 and §4.2 and knows nothing of Aval's own state machine. Each sequence has its own
seed; a difference prints it with all its steps.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from aval.domain.token import SYMBOLS
from aval.http import batches, pix, sandbox, ted
from aval.http.app import build_app
from aval.storage.database import Database
from tests.factories import Client, Party, Reply, make_keyring, make_parts, make_party
from tests.oidc_issuer import Issuer
from tests.proof.cases.purchase_runs import CODES as PURCHASE_CODES
from tests.proof.cases.purchase_runs import POLICIES, Buyer, check_points
from tests.proof.cases.purchase_runs import Run as PurchaseRun
from tests.proof.deployment import SEED, figure, token_of
from tests.redemption_stage import issuer as issuer
from tests.redemption_stage import make_redemption_stage
from tests.world import ITEMS, body_of

pytestmark = pytest.mark.proof

SEQUENCES = figure(2_000, 50_000)
PURCHASES = figure(500, 10_000)
STEPS_MAX = 12
LANES = 24
LIFETIME, ATTEMPTS_MAX = 300.0, 5
# Calls take time: none is made within so many seconds of a moment at which its answer changes.
MARGIN = 20.0

PARTIES: list[dict[str, Any]] = [
    {},
    {"max_resends": 2, "resend_cooldown_seconds": 60, "approval_window_minutes": 10},
    {"max_resends": 0, "token_alphabets": {"pix_transfer": "digits", "ted": "crockford32"}},
    {"fixed_token": "q1w2e3"},
]
CODES = {
    "pix_transfer": {
        "malformed": "QIT000001",
        "required": "PXT000908",
        "expired": "PXT000172",
        "wrong": "PXT000173",
        "exceeded": "PXT000171",
        "invalid status": "PXT000175",
        "too soon": "PXT000903",
        "no resend left": "PXT000904",
    },
    "ted": {
        "malformed": "QIT000001",
        "required": "TED000110",
        "expired": "TED000083",
        "wrong": "TED000084",
        "exceeded": "TED000082",
        "invalid status": "TED000086",
        "too soon": "TED000903",
        "no resend left": "TED000904",
    },
}
CODES["pix_transfer_batch"] = CODES["pix_transfer"] | {"invalid status": "PXT000180"}
CODES["ted_batch"] = CODES["ted"] | {"invalid status": "TED000102"}
STEPS = {
    "wrong": 30,
    "right": 8,
    "superseded": 16,
    "malformed": 8,
    "missing": 4,
    "resend": 24,
    "switch": 12,
    "advance": 24,
    "cancel": 3,
    "read": 6,
}


@dataclass
class Reference:
    """One operation, as the contract says it behaves. Times are seconds since it was created."""

    kind: str
    settings: dict[str, Any]
    status: str = "pending_2fa_approval"
    reason: str | None = None
    method: str = "sms"
    generation: int = 1
    attempts: int = 0
    issued_at: float = 0.0
    can_resend_at: float = 0.0
    resends_left: int = 0
    sent: list[str] = field(default_factory=lambda: ["sms"])
    judged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cooldown = float(self.settings.get("resend_cooldown_seconds", 30))
        self.window = 60.0 * self.settings.get("approval_window_minutes", 60)
        self.can_resend_at, self.resends_left = self.cooldown, self.settings.get("max_resends", 5)

    @property
    def is_batch(self) -> bool:
        return self.kind in ITEMS

    @property
    def moments(self) -> list[float]:
        """When an answer may change."""
        return [self.issued_at + LIFETIME, self.can_resend_at, self.window]

    def seen(self, now: float) -> tuple[str, str | None]:
        """Status and reason as everybody sees them: from its deadline on a waiting operation is rejected."""
        if self.status == "pending_2fa_approval" and now >= self.window:
            return "rejected", "approval_window_expired"
        return self.status, self.reason

    def end_if_due(self, now: float) -> None:
        """What every call but a read writes down."""
        if self.seen(now) != (self.status, self.reason):
            self.status, self.reason = self.seen(now)
            self.judged.append("window over")

    def _is_closed(self, now: float) -> str | None:
        if self.reason == "attempts_exceeded":
            return "exceeded"
        self.end_if_due(now)
        return None if self.status == "pending_2fa_approval" else "invalid status"

    def validate(self, guess: str, now: float) -> str:
        """`guess`: right, wrong, superseded, missing or malformed; what it is answered."""
        if guess == "malformed":
            return "malformed"
        closed = self._is_closed(now)
        if closed is not None:
            return closed
        if guess == "missing":
            return "required"
        if now >= self.issued_at + LIFETIME:
            return "expired"
        self.judged.append(guess)
        if guess == "right":
            self.status = "approved" if self.is_batch else "pending"
            return "approved"
        self.attempts += 1
        if self.attempts == ATTEMPTS_MAX:
            self.status, self.reason = "rejected", "attempts_exceeded"
            return "exceeded"
        return guess

    def resend(self, method: str | None, now: float) -> str:
        closed = self._is_closed(now)
        if closed is not None:
            return closed
        if self.resends_left == 0:
            return "no resend left"
        if now < self.can_resend_at:
            return "too soon"
        self.method = method or self.method
        self.generation += 1
        self.resends_left -= 1
        self.issued_at, self.can_resend_at = now, now + self.cooldown
        self.sent.append(self.method)
        return "resent"

    def cancel(self, now: float) -> str:
        closed = self._is_closed(now)
        if closed is not None:
            return "invalid status"
        self.status = "cancelled"
        self.judged.append("cancelled")
        return "done"


@pytest.fixture
async def desk(db: Database, db_as: Callable[[str], Awaitable[Database]]) -> Any:
    parts = make_parts(await db_as("aval_app_api"))
    return build_app(parts, [feature.routes(parts) for feature in (pix, ted, batches, sandbox)])


async def test_every_sequence_goes_as_the_model_says(
    desk: Any, db: Database, chance: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    parties = [await make_party(db, **settings) for settings in PARTIES]
    seen: Counter[str] = Counter()
    numbers, equal = iter(range(SEQUENCES)), list[str]()

    async def lane() -> None:
        for number in numbers:
            place = number % len(parties)
            call = Client(desk, parties[place].api_key)
            run = Run(random.Random(f"{SEED} {number}"), call, db, parties[place], equal)
            try:
                await run.play(PARTIES[place])
            except BaseException:
                print(f"sequence {number} of AVAL_PROOF_SEED={SEED}: {run.log}")
                raise
            seen.update(f"{step.split(':')[0]}: {answer}" for step, answer in run.log)

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())
    await check_audit(db)
    with capsys.disabled():
        print(f"model: {SEQUENCES} sequences, {sum(seen.values())} steps, 0 differences")
    wanted = {"right: approved", "superseded: superseded", "superseded: exceeded", "resend: resent", "cancel: done"}
    assert wanted <= set(seen) and set(CODES["ted"]) <= {step.partition(": ")[2] for step in seen}, seen


async def test_every_sequence_on_purchases_goes_as_the_model_says(
    dsn: str, issuer: Issuer, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    """Purchases of participants who go on buying: statuses, tokens, points, events, reversals, change of phone."""
    seen: Counter[str] = Counter()
    numbers = iter(range(PURCHASES))
    async with make_redemption_stage(dsn, issuer) as stage:
        operator = await stage.operator()
        clubs = []
        for policy in POLICIES:
            campaign = await stage.campaign()
            await stage.policy(campaign, **policy, risk={"max_pending_purchases": None})
            clubs.append((campaign, await stage.application(campaign), policy))

        async def lane(place: int) -> None:
            campaign, application, policy = clubs[place % len(clubs)]
            buyer = await Buyer.make(stage, campaign, application, operator=operator, policy=policy)
            for number in numbers:
                run = PurchaseRun(random.Random(f"{SEED} purchase {number}"), buyer)
                try:
                    await run.play()
                except BaseException:
                    print(f"purchase {number} of AVAL_PROOF_SEED={SEED}: {run.log}")
                    raise
                seen.update(f"{step.split(' ')[0]}: {answer}" for step, answer in run.log)

        async with asyncio.TaskGroup() as group:
            for place in range(LANES):
                group.create_task(lane(place))
        await check_points(stage.db)
    with capsys.disabled():
        print(f"model: {PURCHASES} purchases, {sum(seen.values())} steps, 0 differences")
    answers = {step.partition(": ")[2] for step in seen}
    assert answers >= set(PURCHASE_CODES), set(PURCHASE_CODES) - answers


@dataclass
class Run:
    """One sequence: what the model says beside what Aval does."""

    chance: random.Random
    call: Client
    db: Database
    party: Party
    equal: list[str]
    log: list[tuple[str, str]] = field(default_factory=list)

    async def play(self, settings: dict[str, Any]) -> None:
        await self._create(settings)
        for _ in range(self.chance.randint(3, STEPS_MAX)):
            await self._leave_the_margins()
            (step,) = self.chance.choices(list(STEPS), list(STEPS.values()))
            if step == "superseded" and self.model.generation == 1:
                step = "wrong"
            await getattr(self, f"_{step}", self._guess)(step)
            await self._compare()
        if self.model.seen(self.now)[0] != self.model.status:
            await self._cancel("cancel")  # somebody has to notice that its window is over
        await self._check_rows()

    @property
    def now(self) -> float:
        return self.advanced + time.monotonic() - self.started

    async def _create(self, settings: dict[str, Any]) -> None:
        kind, method = self.chance.choice(list(CODES)), self.chance.choice(["sms", "email"])
        amount = {} if kind in ITEMS else {"transaction_amount": 1}
        body = body_of(self.party, kind, tfa_info={**self.party.tfa_info, "contact_type": method}, **amount)
        path = f"/account/{self.party.account.key}/{kind}"
        self.started, self.advanced = time.monotonic(), 0.0
        answer = await self.call("POST", path, body)
        assert answer.status == 202, answer
        self.key = UUID(answer.json[f"{kind}_key"])
        self.path = f"{path}/{self.key}"
        self.model = Reference(kind, settings, method=method, sent=[method])
        self.fixed_token: str | None = settings.get("fixed_token")
        self._check_approval(answer)

    async def _leave_the_margins(self) -> None:
        while any(abs(self.now - moment) < MARGIN for moment in self.model.moments if self._is_waiting()):
            await self._pass(MARGIN)

    def _is_waiting(self) -> bool:
        return self.model.seen(self.now)[0] == "pending_2fa_approval"

    async def _advance(self, step: str) -> None:
        seconds = self.chance.choice([25, 45, 100, 250, 290, 310, 550, 900, 3_000])
        how = self.chance.choice([self._pass, self._advance_in_the_sandbox])
        await how(seconds)
        self.log.append((f"{step}: {seconds}", how.__name__))

    async def _pass(self, seconds: float) -> None:
        """Let time pass without anybody noticing."""
        if self.model.status == "pending_2fa_approval":
            self.advanced += seconds
            async with self.db.connection() as connection:
                await connection.execute(_SHIFT, self.key, timedelta(seconds=seconds))

    async def _advance_in_the_sandbox(self, seconds: float) -> None:
        answer = await self.call("POST", f"/sandbox/operations/{self.key}/advance", {"seconds": int(seconds)})
        assert answer.status == 200, answer
        if self.model.status == "pending_2fa_approval":
            self.advanced += seconds
        self.model.end_if_due(self.now)
        self._check_approval(answer)

    async def _guess(self, step: str) -> None:
        row = await self._row()
        tokens = [token_of(make_keyring(), row, number + 1).text for number in range(row["generation"])]
        self._check_new(tokens)
        if self.fixed_token is not None:
            tokens = [self.fixed_token.upper()] * row["generation"]
        body, says = self._body(step, tokens, row["alphabets"][-1])
        expected = self.model.validate(says, self.now)
        answer = await self.call("PUT", f"{self.path}/validate_token", body)
        self._check_answer(f"{step}: {body}", answer, expected)

    def _check_new(self, tokens: list[str]) -> None:
        """Each generation has a token of its own; of a million six-digit ones two may be equal, not three times."""
        self.equal += ["token"] * (len(tokens) - len(set(tokens)))
        assert len(self.equal) < 3, "a resend kept the token"

    def _body(self, step: str, tokens: list[str], alphabet: str) -> tuple[Any, str]:
        match step:
            case "right":
                return {"token": self._disguised(tokens[-1], alphabet)}, "right"
            case "superseded":
                former = self.chance.choice(tokens[:-1])
                # An older token that equals the live one counts as right: the live one is compared first.
                return {"token": former}, "right" if former == tokens[-1] else "superseded"
            case "missing":
                return self.chance.choice([None, {}, {"token": None}, {"token": ""}]), "missing"
            case "malformed":
                spoilt = [329123, True, ["329123"], "12345", "1234567", "12345é", "１23456", "329-ad", "\u017f23456"]
                return {"token": self.chance.choice(spoilt)}, "malformed"
            case _:
                return {"token": self._wrong_token(tokens)}, "wrong"

    def _wrong_token(self, tokens: list[str]) -> str:
        while True:
            text = "".join(self.chance.choices(SYMBOLS + "U", k=6))
            if text not in tokens:
                return text

    def _disguised(self, token: str, alphabet: str) -> str:
        folded = token.translate(str.maketrans("10", "lo")) if alphabet == "c" and not self.fixed_token else token
        return self.chance.choice([token, f" {token}\n", token.lower(), folded])

    async def _resend(self, step: str) -> None:
        await self._renewed(step, None)

    async def _switch(self, step: str) -> None:
        await self._renewed(step, self.chance.choice(["sms", "email"]))

    async def _renewed(self, step: str, method: str | None) -> None:
        expected = self.model.resend(method, self.now)
        answer = await self.call("PATCH", f"{self.path}/resend_token", method and {"contact_type": method})
        self._check_answer(f"{step}: {method}", answer, expected)
        if expected == "too soon":
            wait = self.model.can_resend_at - self.now
            assert wait - 1 < int(answer.headers["retry-after"]) < wait + MARGIN, (answer, wait)

    async def _cancel(self, step: str) -> None:
        expected = self.model.cancel(self.now)
        self._check_answer(step, await self.call("PATCH", f"{self.path}/cancel"), expected)

    async def _read(self, step: str) -> None:
        answer = await self.call("GET", self.path if self.model.is_batch else f"{self.path}/outgoing")
        status, reason = self.model.seen(self.now)
        self.log.append((step, status))
        told = answer.json.get("rejection_reason") or answer.json.get("refusal_reason", {}).get("enumerator")
        assert (answer.json[self.status_name], told) == (status, reason), answer
        self._check_approval(answer)

    @property
    def status_name(self) -> str:
        return f"{self.model.kind}_status"

    def _check_answer(self, step: str, answer: Reply, expected: str) -> None:
        self.log.append((step, expected))
        if expected in ("approved", "resent", "done"):
            success = 200 if expected == "done" else 201 if expected == "approved" and self.model.is_batch else 202
            assert answer.status == success, (answer, expected)
            assert answer.json[self.status_name] == self.model.status, answer
            return self._check_approval(answer)
        extra = answer.json["extra_fields"]
        wanted = CODES[self.model.kind]["wrong" if expected == "superseded" else expected]
        assert answer.code == wanted, (answer, expected)
        assert (extra.get("reason") == "superseded_token") == (expected == "superseded"), answer
        if expected == "exceeded":
            assert extra[f"{self.model.kind}_data"][self.status_name] == "rejected", answer

    def _check_approval(self, answer: Reply) -> None:
        """`approval` is in every answer about an operation that waits, and says what the model says."""
        if not self._is_waiting():
            assert "approval" not in answer.json, answer
            return
        model, told = self.model, answer.json["approval"]
        said = (told["method"], told["generation"], told["attempts_remaining"], told["can_resend_at"] is not None)
        assert said == (model.method, model.generation, ATTEMPTS_MAX - model.attempts, model.resends_left > 0), answer

    async def _row(self) -> Any:
        async with self.db.connection() as connection:
            return await connection.fetchrow(
                "select * from aval.operations join aval.challenges c using (integrator_id, operation_id)"
                " where operation_id = $1",
                self.key,
            )

    async def _compare(self) -> None:
        """What is stored is what the model says."""
        row, model = await self._row(), self.model
        stored = (row["method"], row["generation"], row["attempts_used"], row["resends_left"])
        assert stored == (model.method, model.generation, model.attempts, model.resends_left), dict(row)
        assert (row["status"], row["rejection_reason"]) == (model.status, model.reason), dict(row)
        lived = (row["expires_at"] - row["issued_at"]).total_seconds()
        shifted = row["approval_deadline"].timestamp() - row["issued_at"].timestamp()
        assert lived == LIFETIME and abs(shifted - (model.window - model.issued_at)) < MARGIN, dict(row)

    async def _check_rows(self) -> None:
        """The history: one comparison each, one message each generation, an event for the end, audit for all."""
        async with self.db.connection() as connection:
            row: Any = await connection.fetchrow(_HISTORY, self.key)
        compared = [word for word in self.model.judged if word in ("right", "wrong", "superseded")]
        ends = [word for word in self.model.judged if word in ("window over", "cancelled")]
        assert row["verdicts"] == compared, (dict(row), compared)
        assert row["numbers"] == [*range(1, len(compared) + 1)], dict(row)
        assert row["channels"] == self.model.sent and row["generations"] == [*range(1, self.model.generation + 1)], row
        assert row["events"] == (self.model.status in ("rejected", "cancelled")), dict(row)
        assert row["debits"] == (self.model.status in ("pending", "approved")), dict(row)
        assert (row["judged"], row["resent"]) == (len(compared) + len(ends), self.model.generation - 1), dict(row)


_SHIFT = """
update aval.challenges set issued_at = issued_at - $2::interval, expires_at = expires_at - $2::interval,
       can_resend_at = can_resend_at - $2::interval, approval_deadline = approval_deadline - $2::interval
 where operation_id = $1
"""
_HISTORY = """
select array(select verdict from aval.comparisons where operation_id = $1 order by comparison_no) as verdicts,
       array(select comparison_no from aval.comparisons where operation_id = $1 order by comparison_no) as numbers,
       array(select channel from aval.outbox where operation_id = $1 order by generation) as channels,
       array(select generation from aval.outbox where operation_id = $1 order by generation) as generations,
       (select count(*) from aval.events where operation_id = $1) as events,
       (select count(*) from aval.ledger_entries where source_id = $1) as debits,
       (select count(*) from aval.audit where operation_id = $1 and action = 'operation.judged') as judged,
       (select count(*) from aval.audit where operation_id = $1 and action = 'token.resent') as resent
"""


async def check_audit(db: Database) -> None:
    """AU1: each comparison and each end has one audit row that says the same, of the very same transaction."""
    async with db.connection() as connection:
        lonely = await connection.fetchval(
            "select count(*) from aval.comparisons k where 1 <> (select count(*) from aval.audit a"
            " where a.operation_id = k.operation_id and a.xmin = k.xmin and a.at = k.judged_at"
            " and a.details->>'comparison' = k.verdict and (a.details->>'generation')::int = k.generation)"
        )
        untold = await connection.fetchval(
            "select count(*) from aval.events e where 1 <> (select count(*) from aval.audit a"
            " where a.operation_id = e.operation_id and a.xmin = e.xmin and a.details->>'status' <> 'pending')"
        )
        resent = await connection.fetchval(
            "select count(*) from aval.outbox m where m.generation > 1 and 1 <> (select count(*) from aval.audit a"
            " where a.operation_id = m.operation_id and a.xmin = m.xmin and a.action = 'token.resent'"
            " and (a.details->>'generation')::int = m.generation)"
        )
    assert (lonely, untold, resent) == (0, 0, 0)
