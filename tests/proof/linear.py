"""Proof of TK6 (T5), and that a call is counted though its client has left: what happens to one operation at once
could have happened one after another. Proof of DV6 as well: what a device signed counts before it is disabled or never.

Two to eight clients create, validate, resend, cancel, advance and read one operation through two API processes, up to
40 calls a history; some hang up before they are answered, so that nobody knows whether their call took effect. A search
after Wing and Gong then looks for an order, within the times of the calls, in which a pure reference model written from
transfers.md §2.7, §4.1 and §4.2 gives every answer that was given.
Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from tests.devices.authenticator import AppKey
from tests.devices.registering import registered
from tests.devices.signing import request_by_device
from tests.factories import Party, Reply, make_keyring, make_party
from tests.proof.deployment import SEED, RunningAval, figure, running_deployment, token_of
from tests.proof.model import CODES
from tests.world import World

pytestmark = pytest.mark.proof

HISTORIES = figure(300, 5_000)
CALLS_MAX = 40
LANES = 4
LEAVERS = figure(20, 400)
REVOCATIONS = figure(500, 10_000)
LIFETIME, COOLDOWN, WINDOW, ATTEMPTS_MAX, RESENDS_MAX = 300, 30, 3_600, 5, 5
# All of the time that is let pass is a multiple of 50 s, and no history may last so long that it matters beside that.
ADVANCES = {50: 8, 100: 3, 300: 3, 3_000: 1}
LASTS_MAX_S = 25.0
LEAVES_AFTER_S, COUNTED_WITHIN_S = 0.6, 5.0
WAITING = "pending_2fa_approval"


class State(NamedTuple):
    """One operation, as the contract says it behaves; times in seconds, let pass on purpose."""

    status: str = WAITING
    reason: str | None = None
    generation: int = 1
    attempts: int = 0
    resends_left: int = RESENDS_MAX
    since_issue: int = 0
    since_create: int = 0

    @property
    def approval(self) -> tuple[int, int] | tuple[None, None]:
        """Generation and attempts left, as answers tell them."""
        return (self.generation, ATTEMPTS_MAX - self.attempts) if self.status == WAITING else (None, None)


Answer = tuple[Any, ...]
Step = tuple[str, Any]  # what is called, and with what


def step(state: State | None, call: Step) -> tuple[State | None, Answer]:
    """What one call does, and what it is answered."""
    what, given = call
    if what == "create":
        state = state or State()
        return state, ("created", state.status, *state.approval)
    if state is None:
        return None, ("unknown",)
    if what == "read":
        return state, ("read", state.status, state.reason, *state.approval)
    if what == "row":
        return state, ("row", state.status, state.reason, state.generation, state.attempts, state.resends_left)
    if what == "advance":
        state = _later(state, given)
        return state, ("advanced", *state.approval)
    if what != "cancel" and state.reason == "attempts_exceeded":
        return state, ("exceeded",)
    if state.status != WAITING:
        return state, ("invalid status",)
    return {"validate": _validate, "resend": _resend, "cancel": _cancel}[what](state, given)


def _later(state: State, seconds: int) -> State:
    if state.status != WAITING:
        return state
    state = state._replace(since_issue=state.since_issue + seconds, since_create=state.since_create + seconds)
    is_over = state.since_create >= WINDOW
    return state._replace(status="rejected", reason="approval_window_expired") if is_over else state


def _validate(state: State, generation: int) -> tuple[State, Answer]:
    """`generation` whose token is given; 0: none's."""
    if state.since_issue >= LIFETIME:
        return state, ("expired",)
    if generation == state.generation:
        return state._replace(status="pending"), ("approved",)
    state = state._replace(attempts=state.attempts + 1)
    if state.attempts == ATTEMPTS_MAX:
        return state._replace(status="rejected", reason="attempts_exceeded"), ("exceeded",)
    return state, ("superseded" if 0 < generation < state.generation else "wrong",)


def _resend(state: State, _: None) -> tuple[State, Answer]:
    if not state.resends_left:
        return state, ("no resend left",)
    if state.since_issue < COOLDOWN:
        return state, ("too soon",)
    state = state._replace(generation=state.generation + 1, resends_left=state.resends_left - 1, since_issue=0)
    return state, ("resent", *state.approval)


def _cancel(state: State, _: None) -> tuple[State, Answer]:
    return state._replace(status="cancelled"), ("done",)


class Call(NamedTuple):
    """One call of a history; without an answer it may have taken effect at any later time, or never."""

    step: Step
    invoked: float
    returned: float
    answer: Answer | None


def is_linearizable(history: Sequence[Call], start: State | None = None) -> bool:
    """Look for an order of the calls that the model agrees with and that contradicts no time."""
    calls = sorted(history, key=lambda call: call.invoked)
    answered = sum(1 << place for place, call in enumerate(calls) if call.answer is not None)
    seen: set[tuple[int, State | None]] = set()
    todo: list[tuple[int, State | None]] = [(0, start)]
    while todo:
        done, state = todo.pop()
        if done & answered == answered:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        left = [place for place in range(len(calls)) if not done >> place & 1]
        first_return = min(calls[place].returned for place in left)
        for place in left:
            call = calls[place]
            if call.invoked > first_return:
                break
            after, answer = step(state, call.step)
            if call.answer in (None, answer):
                todo.append((done | 1 << place, after))
    return False


def _line(*calls: tuple[str, Any, Answer | None, float, float]) -> list[Call]:
    return [Call((what, given), *times, answer) for what, given, answer, *times in calls]


LATE = math.inf
POSSIBLE = {
    "one after another": _line(
        ("validate", 0, ("wrong",), 0, 1),
        ("validate", 1, ("approved",), 2, 3),
        ("cancel", None, ("invalid status",), 4, 5),
    ),
    "two at once, in the other order": _line(
        ("validate", 1, ("invalid status",), 0, 9), ("cancel", None, ("done",), 1, 2)
    ),
    "an unanswered call has taken effect": _line(
        ("advance", 50, ("advanced", 1, 5), 0, 1),
        ("resend", None, None, 2, LATE),
        ("validate", 1, ("superseded",), 3, 4),
    ),
    "an unanswered call has not": _line(("cancel", None, None, 0, LATE), ("validate", 1, ("approved",), 1, 2)),
    "an unanswered call takes effect late": _line(
        ("cancel", None, None, 0, LATE),
        ("read", None, ("read", WAITING, None, 1, 5), 1, 2),
        ("read", None, ("read", "cancelled", None, None, None), 3, 4),
    ),
}
IMPOSSIBLE = {
    "approved twice": _line(("validate", 1, ("approved",), 0, 9), ("validate", 1, ("approved",), 0, 9)),
    "a sixth attempt": _line(
        *[("validate", 0, ("wrong",), 0, 9)] * 5, ("read", None, ("read", WAITING, None, 1, 0), 10, 11)
    ),
    "an attempt came back": _line(
        ("validate", 0, ("wrong",), 0, 1),
        ("read", None, ("read", WAITING, None, 1, 4), 2, 3),
        ("read", None, ("read", WAITING, None, 1, 5), 4, 5),
    ),
    "an answer out of its time": _line(
        ("cancel", None, ("done",), 0, 1), ("read", None, ("read", WAITING, None, 1, 5), 2, 3)
    ),
    "an old token after a resend that was answered": _line(
        ("advance", 50, ("advanced", 1, 5), 0, 1),
        ("resend", None, ("resent", 2, 5), 2, 3),
        ("validate", 1, ("approved",), 4, 5),
    ),
    "two resends within a cooldown": _line(
        ("advance", 50, ("advanced", 1, 5), 0, 1),
        ("resend", None, ("resent", 2, 5), 2, 9),
        ("resend", None, ("resent", 3, 5), 2, 9),
    ),
    "a resend gave attempts back": _line(
        ("validate", 0, ("wrong",), 0, 1),
        ("advance", 50, ("advanced", 1, 4), 2, 3),
        ("resend", None, ("resent", 2, 5), 4, 5),
    ),
}


@pytest.mark.parametrize("case", POSSIBLE)
def test_the_search_finds_an_order_where_there_is_one(case: str) -> None:
    assert is_linearizable(POSSIBLE[case], State())


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_the_search_finds_no_order_where_there_is_none(case: str) -> None:
    assert not is_linearizable(IMPOSSIBLE[case], State())


@pytest.fixture(scope="module")
async def aval() -> AsyncIterator[RunningAval]:
    async with running_deployment(apis=2, workers=0, AVAL_SWEEP_INTERVAL="30") as running:
        yield running


@pytest.fixture(scope="module")
async def party(aval: RunningAval) -> Party:
    alphabets = {"pix_transfer": "crockford32", "ted": "crockford32"}
    free: dict[str, Any] = {"budgets": False, "ted_hours": False, "requests_per_second": None}
    return await make_party(aval.db, settlement_mode="async", token_alphabets=alphabets, **free)


@dataclass
class Play:
    """One history while it is made."""

    aval: RunningAval
    party: Party
    number: int
    kind: str = "pix_transfer"
    body: dict[str, Any] = field(default_factory=dict)  # of the create
    key: UUID | None = None
    tokens: list[str] = field(default_factory=list)  # of each generation, its number less 1
    calls: list[Call] = field(default_factory=list)
    refused: int = 0

    async def run(self) -> None:
        chance = random.Random(f"{SEED} {self.number}")
        self.kind = chance.choice(["pix_transfer", "ted"])
        self.body = self.party.pix(transaction_amount=1, request_control_key=str(uuid4()))
        if self.kind == "ted":
            del self.body["pix_transfer_type"]
        clients = chance.randint(2, 8)
        calls = chance.randint(clients, CALLS_MAX - clients - 1)
        turns = iter(range(calls))
        await asyncio.gather(*(self._client(random.Random(chance.getrandbits(32)), turns) for _ in range(clients)))
        await asyncio.sleep(0.05)
        await self._look()

    async def _client(self, chance: random.Random, turns: Any) -> None:
        await self._make(("create", None))
        for _ in turns:
            if chance.random() < 0.3:
                await asyncio.sleep(chance.uniform(0, 0.01))
            await self._make(self._next(chance), chance.uniform(0, 0.01) if chance.random() < 0.08 else None)

    def _next(self, chance: random.Random) -> Step:
        (what,) = chance.choices(["validate", "resend", "advance", "read", "cancel", "create"], [40, 22, 14, 12, 2, 4])
        if what == "validate":
            return what, chance.choices([0, 1, 2, 3, 4], [30, 4, 4, 2, 1])[0]
        if what == "advance":
            return what, chance.choices(list(ADVANCES), list(ADVANCES.values()))[0]
        return what, None

    async def _make(self, call: Step, cut_after_s: float | None = None) -> None:
        """Make one call and write down what came of it."""
        method, path, body = await self._request(call)
        invoked = time.monotonic()
        if cut_after_s is not None and call[0] not in ("create", "read"):
            await self.aval.cut(method, path, body, key=self.party.api_key, after_s=cut_after_s, headers={})
            self.calls.append(Call(call, invoked, math.inf, None))
            return
        answer = await self.aval.call(method, path, body, key=self.party.api_key)
        returned = time.monotonic()
        if answer.code == "QIT000944":  # nothing was kept
            self.refused += 1
            return
        if self.key is None:
            await self._learn(UUID(answer.json[f"{self.kind}_key"]))
        self.calls.append(Call(call, invoked, returned, self._said(call[0], answer)))

    async def _request(self, call: Step) -> tuple[str, str, Any]:
        what, given = call
        many = f"/account/{self.party.account.key}/{self.kind}"
        match what:
            case "create":
                return "POST", many, self.body
            case "validate":
                token = self.tokens[given - 1] if given else "UUUUUU"
                return "PUT", f"{many}/{self.key}/validate_token", {"token": token}
            case "resend":
                return "PATCH", f"{many}/{self.key}/resend_token", None
            case "cancel":
                return "PATCH", f"{many}/{self.key}/cancel", None
            case "advance":
                return "POST", f"/sandbox/operations/{self.key}/advance", {"seconds": given}
            case _:
                return "GET", f"{many}/{self.key}/outgoing", None

    async def _learn(self, key: UUID) -> None:
        """The tokens of all generations, before any of them is issued."""
        row = {**(await self._row(key)), "alphabets": "c" * (RESENDS_MAX + 1)}
        self.tokens = [token_of(make_keyring(), row, number + 1).text for number in range(RESENDS_MAX + 1)]
        self.key = key

    async def _row(self, key: UUID) -> dict[str, Any]:
        async with self.aval.db.connection() as connection:
            row = await connection.fetchrow(
                "select o.*, c.* from aval.operations o join aval.challenges c using (integrator_id, operation_id)"
                " where operation_id = $1",
                key,
            )
        return dict(row)

    async def _look(self) -> None:
        """What is stored in the end is the last answer."""
        assert self.key is not None
        invoked, row = time.monotonic(), await self._row(self.key)
        told = (row["status"], row["rejection_reason"], row["generation"], row["attempts_used"], row["resends_left"])
        self.calls.append(Call(("row", None), invoked, time.monotonic(), ("row", *told)))

    def _said(self, what: str, answer: Reply) -> Answer:
        if answer.status >= 400:
            names = {code: name for name, code in CODES[self.kind].items()}
            is_old = answer.json.get("extra_fields", {}).get("reason") == "superseded_token"
            return ("superseded" if is_old else names[str(answer.code)],)
        told = answer.json
        approval = told.get("approval", {})
        seen = (approval.get("generation"), approval.get("attempts_remaining"))
        status = told.get("ted_status" if self.kind == "ted" else "pix_transfer_status")
        match what:
            case "create":
                return ("created", status, *seen)
            case "validate":
                return ("approved",) if status == "pending" else (status,)
            case "resend":
                return ("resent", *seen)
            case "cancel":
                return ("done",) if status == "cancelled" else (status,)
            case "advance":
                return ("advanced", *seen)
            case _:
                reason = told.get("rejection_reason") or told.get("refusal_reason", {}).get("enumerator")
                return ("read", status, reason, *seen)


async def test_every_concurrent_history_is_linearizable(
    aval: RunningAval, party: Party, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: Counter[str] = Counter()
    numbers = iter(range(HISTORIES))

    async def lane() -> None:
        for number in numbers:
            play = Play(aval, party, number)
            await play.run()
            last = max(call.returned for call in play.calls if call.answer is not None)
            if last - play.calls[0].invoked > LASTS_MAX_S:
                seen["too slow to judge"] += 1
                continue
            assert len(play.calls) <= CALLS_MAX
            if not is_linearizable(play.calls):
                told = "\n".join(map(str, sorted(play.calls, key=lambda call: call.invoked)))
                raise AssertionError(f"history {number} of AVAL_PROOF_SEED={SEED} is not linearizable:\n{told}")
            seen.update(call.answer[0] if call.answer else "unanswered" for call in play.calls)
            seen["refused"] += play.refused

    async with asyncio.TaskGroup() as group:
        for _ in range(LANES):
            group.create_task(lane())
    with capsys.disabled():
        print(f"\nlinear: seed {SEED}, {HISTORIES} histories, {sum(seen.values())} calls: {dict(seen)}")
    assert seen["too slow to judge"] <= HISTORIES // 20
    wanted = "approved wrong superseded exceeded expired resent done unanswered".split()
    assert all(seen[answer] for answer in ("invalid status", "too soon", *wanted)), seen


async def test_a_call_whose_client_left_is_counted_all_the_same(aval: RunningAval, party: Party) -> None:
    """§4.1: a disconnect changes nothing. The call waits for its operation's row while its client goes."""
    numbers = iter(range(LEAVERS))

    async def lane() -> None:
        for number in numbers:
            await _leave(Play(aval, party, -1 - number))

    await asyncio.gather(*(lane() for _ in range(LANES)))


async def _leave(play: Play) -> None:
    play.body = play.party.pix(transaction_amount=1)
    await play._make(("create", None))
    assert play.key is not None
    async with play.aval.db.transaction() as holder:
        await holder.execute("select from aval.challenges where operation_id = $1 for no key update", play.key)
        leaving = asyncio.create_task(play._make(("validate", 0), cut_after_s=LEAVES_AFTER_S))
        while not await holder.fetchval(_BLOCKED):
            assert not leaving.done(), "the client was gone before its call came as far as the row"
            await asyncio.sleep(0.02)
        await leaving
        await asyncio.sleep(0.2)
    ends_at = time.monotonic() + COUNTED_WITHIN_S
    while (await play._row(play.key))["attempts_used"] == 0:
        assert time.monotonic() < ends_at, "an attempt was not counted, because its client had left"
        await asyncio.sleep(0.05)


_BLOCKED = "select count(*) from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"


async def test_a_revoked_device_is_dead_at_once(world: World, chance: random.Random) -> None:
    """DV6: validate and disable race; by the database's clock no approval comes after the revocation."""
    party, numbers, seen = await make_party(world.db), iter(range(REVOCATIONS)), Counter[str | None]()

    async def lane() -> None:
        for _ in numbers:
            device = await registered(world, party, AppKey())
            signing = await request_by_device(device, transaction_amount=1)
            assert (await signing.sign()).status == 200
            calls = [signing.validate(), device.call("DELETE", "/disable")]
            order = chance.sample([0, 1], 2)
            replies = await asyncio.gather(*(calls[place] for place in order))
            validated, disabled = replies[order.index(0)], replies[order.index(1)]
            assert (disabled.status, disabled.json["device_status"]) == (200, "disabled")
            seen[validated.code] += 1
            assert (validated.status, validated.code) in ((202, None), (409, "PXT000905"))
            (row,) = await world.fetch(_REVOKED, signing.key, device.device_key)
            assert row["is_approved"] is (validated.status == 202)
            assert not row["is_approved"] or row["consumed_at"] < row["disabled_at"]
            assert (await signing.validate()).code == ("PXT000175" if row["is_approved"] else "PXT000905")

    await asyncio.gather(*(lane() for _ in range(LANES)))
    print(f"{REVOCATIONS} revocations: {dict(seen)}")
    assert len(seen) == 2  # either came first now and then


_REVOKED = (
    "select c.consumed_at is not null as is_approved, c.consumed_at, d.disabled_at from challenges c, devices d"
    " where c.operation_id = $1 and d.device_id = $2"
)
