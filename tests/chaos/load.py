"""Callers: they request transfers, race right and wrong tokens for each, and remember every answer they got."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

from aval.storage.database import DatabaseUnavailable
from tests.chaos.batches import ITEMS_OF, batch_body
from tests.chaos.parties import Integrator
from tests.factories import Reply
from tests.proof.deployment import AvalProcess, RunningAval, live_tokens

PAUSE_S = 0.4
KINDS = ["pix_transfer", "ted", "pix_transfer", "ted", "pix_transfer", "ted", *ITEMS_OF]
ITEMS_MAX = 5  # of a batch
# Weights of the centavos that tell the core what to do (transfers.md §10); not 97, of which nothing ever ends.
CENTAVOS = {"01": 70, "91": 4, "92": 4, "93": 4, "94": 1, "95": 4, "96": 1, "98": 5, "99": 4}
NO_HEADERS: Mapping[str, str] = {}
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Outcome(Enum):
    """What a token call came to, as its caller knows."""

    APPROVED = "approved"  # also when the rail has refused it meanwhile
    INCORRECT = "incorrect"
    EXCEEDED = "exceeded"
    INVALID_STATUS = "invalid_status"
    REFUSED = "refused"  # a budget is spent, or has ended the token: nothing was evaluated, and will not be soon
    NOTHING = "nothing"  # told that nothing was evaluated
    UNKNOWN = "unknown"  # no answer, or one that says the state may have changed


_BY_CODE = {
    **dict.fromkeys(("PXT000173", "TED000084"), Outcome.INCORRECT),
    **dict.fromkeys(("PXT000171", "TED000082"), Outcome.EXCEEDED),
    **dict.fromkeys(("PXT000175", "PXT000180", "TED000086", "TED000102"), Outcome.INVALID_STATUS),
    **dict.fromkeys(("PXT000132", "PXT000919", "TED000006", "TED000919"), Outcome.APPROVED),
    **dict.fromkeys(("QIT000943", "PXT000172", "TED000083"), Outcome.REFUSED),
    "QIT000944": Outcome.NOTHING,
    "QIT000500": Outcome.UNKNOWN,
}
_ANSWERS = frozenset({Outcome.APPROVED, Outcome.INCORRECT, Outcome.EXCEEDED, Outcome.INVALID_STATUS})
_REPEATED_ALIKE = frozenset({Outcome.APPROVED, Outcome.INCORRECT, Outcome.EXCEEDED})


@dataclass(slots=True)
class Timed:
    """One HTTP exchange: when, with which process, and how it ended (no status: no answer)."""

    api: AvalProcess
    what: str
    started_at: float
    ended_at: float
    status: int | None
    code: str | None
    retry_after: str | None


@dataclass(slots=True)
class TokenCall:
    """One validate_token call of an integrator, repeated under its Idempotency-Key if it has one."""

    is_right: bool
    idempotency_key: str | None
    outcome: Outcome = Outcome.NOTHING
    is_unsure: bool = False  # some try of it may have been evaluated without an answer
    answer: tuple[int, bytes] | None = None


@dataclass(slots=True)
class Operation:
    """A transfer as its caller sees it."""

    integrator: Integrator
    kind: str
    key: UUID
    request_control_key: str
    token: str = field(repr=False, default="")
    calls: list[TokenCall] = field(default_factory=list)
    cancelled: Outcome = Outcome.NOTHING
    incorrect_told: int = 0
    approved_told: bool = False

    @property
    def path(self) -> str:
        """Where its token calls go."""
        return f"/account/{self.integrator.party.account.key}/{self.kind}/{self.key}"


class Load:
    """Callers and what they remember; `violations` grows with every answer that breaks a promise.

    A caller who knows nothing yet asks again until `has_ended`.
    """

    def __init__(
        self,
        aval: RunningAval,
        integrators: Sequence[Integrator],
        violations: list[str],
        is_down: Callable[[AvalProcess], bool],
    ) -> None:
        self.operations: list[Operation] = []
        self.answers: list[Timed] = []
        self.validates = 0  # answered by a process that had a database
        self.has_ended = False
        self.statuses: Counter[str] = Counter()
        self._aval = aval
        self._integrators = integrators
        self._violations = violations
        self._is_down = is_down

    async def run(self, chance: random.Random, stopping: asyncio.Event) -> None:
        """One caller: transfer after transfer until told to stop."""
        while not stopping.is_set():
            operation = await self._request(chance)
            if operation is not None:
                await self._race(operation, chance)
                await self._finish(operation, chance)

    async def send(
        self, api: AvalProcess, method: str, path: str, body: Any, key: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> Reply | None:
        """One HTTP request; None when no whole answer came."""
        started_at = time.monotonic()
        reply = None
        try:
            reply = await self._aval.call(method, path, body, key=key, api=api, headers=headers)
        except (OSError, TimeoutError) as failure:
            self.statuses[type(failure).__name__] += 1
        last = path.rpartition("/")[2]
        self._note(api, f"{method} {last}{' with a key' if headers else ''}", started_at, reply)
        return reply

    async def read(self, operation: Operation) -> Reply | None:
        """GET one operation."""
        path = operation.path if operation.kind in ITEMS_OF else f"{operation.path}/outgoing"
        return await self.send(self._aval.apis[0], "GET", path, None, operation.integrator.party.api_key)

    def _note(self, api: AvalProcess, what: str, started_at: float, reply: Reply | None) -> None:
        status = None if reply is None else reply.status
        code = None if reply is None or status is None or status < 400 else reply.code
        waits = None if reply is None else reply.headers.get("retry-after")
        self.answers.append(Timed(api, what, started_at, time.monotonic(), status, code, waits))
        self.statuses[f"{status} {code or ''}".strip()] += 1
        if status == 503 and waits != "1":
            self._violations.append(f"OP5: 503 with Retry-After {waits}")

    async def _request(self, chance: random.Random) -> Operation | None:
        """Make a transfer; the same request is repeated until its outcome is known."""
        (integrator,) = chance.choices(self._integrators, [5, 6, 1])
        party, kind = integrator.party, chance.choice(KINDS)
        body = _body(integrator, chance, kind)
        control_key = body["request_control_key"]
        while not self.has_ended:
            path = f"/account/{party.account.key}/{kind}"
            reply = await self.send(self._chosen(chance), "POST", path, body, party.api_key)
            if reply is not None and reply.status == 202:
                operation = Operation(integrator, kind, UUID(reply.json[f"{kind}_key"]), control_key)
                operation.token = await self._token_of(operation)
                self.operations.append(operation)
                return operation
            if reply is not None and reply.status < 500:
                self._refused(integrator, reply)
                await asyncio.sleep(PAUSE_S)
                return None
            await asyncio.sleep(PAUSE_S)
        return None

    def _refused(self, integrator: Integrator, reply: Reply) -> None:
        is_budget = integrator.name == "budgeted" and reply.code in ("QIT000943", "PXT000914", "TED000914")
        if not is_budget:
            self._violations.append(f"a request was answered {reply.status} {reply.code}")

    async def _token_of(self, operation: Operation) -> str:
        while not self.has_ended:
            try:
                return (await live_tokens(self._aval.db, [operation.key]))[operation.key].text
            except DatabaseUnavailable:
                await asyncio.sleep(PAUSE_S)
            except KeyError:
                self._violations.append(f"{operation.key} was answered 202 and is not there")
                break
        return "000000"

    async def _race(self, operation: Operation, chance: random.Random) -> None:
        """Right and wrong tokens at the same moment, over all API processes; sometimes with a cancel among them."""
        rights = [True] * chance.choices([0, 1, 2, 3], [2, 3, 3, 2])[0]
        wrongs = [False] * chance.choices(range(7), [4, 4, 3, 2, 2, 2, 2])[0]
        calls = [
            TokenCall(is_right, str(uuid4()) if chance.random() < 0.5 else None) for is_right in [*rights, *wrongs]
        ]
        chance.shuffle(calls)
        operation.calls += calls
        works = [self._validate(operation, call, chance) for call in calls]
        if chance.random() < 0.04:
            works.append(self._cancel(operation, chance))
        await asyncio.gather(*works)

    async def _finish(self, operation: Operation, chance: random.Random) -> None:
        """Submit the right token until it is known that the operation has ended, but leave a few as they are."""
        if chance.random() < 0.05:
            return
        while not self.has_ended:
            call = TokenCall(is_right=True, idempotency_key=str(uuid4()))
            operation.calls.append(call)
            await self._validate(operation, call, chance)
            if call.answer is not None or call.outcome is Outcome.REFUSED:
                return
            await asyncio.sleep(PAUSE_S)

    async def _cancel(self, operation: Operation, chance: random.Random) -> None:
        api, key = self._chosen(chance), operation.integrator.party.api_key
        reply = await self.send(api, "PATCH", f"{operation.path}/cancel", {}, key)
        if reply is None:
            operation.cancelled = Outcome.UNKNOWN
        elif reply.status == 200:
            operation.cancelled = Outcome.APPROVED
        else:
            operation.cancelled = _BY_CODE.get(str(reply.code), Outcome.UNKNOWN)

    async def _validate(self, operation: Operation, call: TokenCall, chance: random.Random) -> None:
        token = operation.token if call.is_right else _wrong_token(operation.token, chance)
        headers = {"Idempotency-Key": call.idempotency_key} if call.idempotency_key else {}
        while not self.has_ended:
            reply = await self._submit(operation, token, headers, chance)
            outcome = self._outcome_of(operation, reply)
            call.is_unsure = call.is_unsure or outcome is Outcome.UNKNOWN
            if outcome is Outcome.REFUSED:
                call.outcome = outcome
                return
            if reply is not None and outcome in _ANSWERS:
                call.outcome, call.answer = outcome, (reply.status, reply.body)
                await self._look_after(operation, call)
                if headers and outcome in _REPEATED_ALIKE and chance.random() < 0.2:
                    self._compare(operation, call, await self._submit(operation, token, headers, chance))
                return
            if not headers:
                return
            await asyncio.sleep(PAUSE_S)

    async def _submit(
        self, operation: Operation, token: str, headers: dict[str, str], chance: random.Random
    ) -> Reply | None:
        key, path = operation.integrator.party.api_key, f"{operation.path}/validate_token"
        reply = await self.send(self._chosen(chance), "PUT", path, {"token": token}, key, headers)
        self.validates += reply is not None and reply.status != 503
        return reply

    def _chosen(self, chance: random.Random) -> AvalProcess:
        """Any API process; like a load balancer, seldom one that gives no answers."""
        standing = [api for api in self._aval.apis if not self._is_down(api)]
        return chance.choice(standing if standing and chance.random() < 0.95 else self._aval.apis)

    def _outcome_of(self, operation: Operation, reply: Reply | None) -> Outcome:
        if reply is None:
            return Outcome.UNKNOWN
        if reply.status in (201, 202):
            return Outcome.APPROVED
        outcome = _BY_CODE.get(str(reply.code))
        if outcome is None or (outcome is Outcome.REFUSED and operation.integrator.name != "budgeted"):
            self._violations.append(f"a token was answered {reply.status} {reply.code}")
        return outcome or Outcome.UNKNOWN

    def _compare(self, operation: Operation, call: TokenCall, again: Reply | None) -> None:
        outcome = self._outcome_of(operation, again)
        if again is not None and outcome in _ANSWERS and (again.status, again.body) != call.answer:
            self._violations.append(f"TK3: {operation.key} repeated: {call.answer}, then {again.status} {again.body!r}")

    async def _look_after(self, operation: Operation, call: TokenCall) -> None:
        """What was answered has been committed: another connection sees it at once."""
        operation.incorrect_told += call.outcome is Outcome.INCORRECT
        operation.approved_told = operation.approved_told or call.outcome is Outcome.APPROVED
        incorrect, is_approved = operation.incorrect_told, operation.approved_told
        try:
            async with self._aval.db.connection() as connection:
                row = await connection.fetchrow(
                    "select attempts_used, consumed_at is not null as is_approved from aval.challenges"
                    " where operation_id = $1",
                    operation.key,
                )
        except DatabaseUnavailable:
            return
        if row is None or row["attempts_used"] < incorrect:
            self._violations.append(f"TK3: {operation.key}: {incorrect} wrong tokens answered, counted: {row}")
        elif is_approved and not row["is_approved"]:
            self._violations.append(f"TK3: {operation.key} was answered as approved and is not")


def _body(integrator: Integrator, chance: random.Random, kind: str) -> dict[str, Any]:
    if kind in ITEMS_OF:
        return batch_body(integrator, chance, kind, chance.randint(1, ITEMS_MAX))
    (centavos,) = chance.choices(list(CENTAVOS), list(CENTAVOS.values()))
    body = integrator.party.pix(transaction_amount=float(f"{chance.randint(1, 40)}.{centavos}"))
    if kind == "ted":
        del body["pix_transfer_type"]
    return body


def _wrong_token(right: str, chance: random.Random) -> str:
    while True:
        token = "".join(chance.choices(SYMBOLS, k=6))
        if token != right:
            return token
