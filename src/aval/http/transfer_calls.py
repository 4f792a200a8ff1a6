"""The calls Pix and TED have in common: from the wire to one operation, and its outcome back onto the wire."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge, Verdict
from aval.domain.errors import Refusal, entry, problem_body, schema_refusal
from aval.domain.token import Token
from aval.domain.transfer import Kind, Method, Status, Transfer
from aval.domain.view import rejection_name, snapshot_view, transfer_view
from aval.http.edge import Answer, Call, StateUnknown, decided
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.http.transfer_body import ResendBody, ValidateBody, fingerprint_of
from aval.http.transfer_reads import TransferReads
from aval.operations.cancel_transfer import CancelCall
from aval.operations.confirm_transfer import ConfirmCall, Confirmed, Rendered, Replay
from aval.operations.request_transfer import Requested
from aval.operations.resend_token import ResendCall
from aval.operations.transfer_desk import TransferDesk
from aval.storage.challenges import Question
from aval.storage.database import DatabaseUnavailable

NONCE_BYTES = 16


View = Callable[[Transfer, Challenge], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Views:
    """How each call that succeeded tells the operation."""

    created: View
    approved: View
    resent: View
    cancelled: View


_SETTLED_VIEW = partial(transfer_view, has_transaction_key=True)
SINGLE_VIEWS = Views(_SETTLED_VIEW, _SETTLED_VIEW, transfer_view, transfer_view)


class TransferCalls(TransferReads):
    """Handlers of one kind of transfer."""

    kind: ClassVar[Kind]
    views: ClassVar[Views] = SINGLE_VIEWS

    def __init__(self, app: Parts) -> None:
        super().__init__(app, self.kind)

    @property
    def desk(self) -> TransferDesk:
        """Where calls wait for their batch."""
        assert self.app.desk is not None
        return self.app.desk

    async def requested(self, call: Call, work: Awaitable[Requested]) -> Answer:
        """Let the desk judge a checked request and answer 202; a repeat says so in a header."""
        made = await decided(call, work)
        headers = {"idempotent-replayed": "true"} if made.is_replay else {}
        return Answer(202, _told(self.views.created, made.transfer, made.challenge), headers)

    async def validate(self, call: Call) -> Answer:
        """PUT …/validate_token."""
        text = decode(call.body, ValidateBody, allow_empty=True).token
        token = Token.parse(text) if text else None
        if text and token is None:
            raise schema_refusal(("token", "invalid_value"))
        question = self._question(call)
        confirm = ConfirmCall(
            question=question,
            kind=self.kind,
            token=token,
            fingerprint=self._fingerprint(call, (text or "").encode()),
            correlation_id=call.correlation_id,
            render=lambda outcome: self._kept(call, outcome),
        )
        outcome = await decided(call, self.desk.confirm(confirm))
        if isinstance(outcome, Replay):
            return await self._replayed(call, outcome)
        if not _is_waiting(call, outcome):
            return self._confirmed(outcome)
        return await self._settled(call, outcome)

    async def resend(self, call: Call) -> Answer:
        """PATCH …/resend_token."""
        chosen = decode(call.body, ResendBody, allow_empty=True).contact_type
        resend = ResendCall(
            question=self._question(call),
            kind=self.kind,
            method=Method(chosen) if chosen else None,
            fingerprint=self._fingerprint(call, (chosen or "").encode()),
            correlation_id=call.correlation_id,
            render=self._resent_kept,
        )
        outcome = await self.desk.resend(resend)
        return await self._replayed(call, outcome) if isinstance(outcome, Replay) else self._resent(outcome)

    async def cancel(self, call: Call) -> Answer:
        """PATCH …/cancel."""
        cancel = CancelCall(
            question=self._question(call),
            kind=self.kind,
            fingerprint=self._fingerprint(call, b""),
            correlation_id=call.correlation_id,
            render=lambda transfer, challenge: (200, _told(self.views.cancelled, transfer, challenge)),
        )
        outcome = await self.desk.cancel(cancel)
        if isinstance(outcome, Replay):
            return await self._replayed(call, outcome)
        if outcome.verdict is not Verdict.APPROVED:
            raise Refusal(f"{self.kind.family}.invalid_status")
        return Answer(200, _told(self.views.cancelled, outcome.transfer, outcome.challenge))

    def _question(self, call: Call) -> Question:
        return Question(
            principal=call.caller,
            account_key=UUID(call.params["account_key"]),
            operation_key=UUID(call.params[self.key_name]),
            path=call.path.lower(),
            idempotency_key=call.headers.get("idempotency-key"),
        )

    def _fingerprint(self, call: Call, body: bytes) -> bytes:
        if "idempotency-key" not in call.headers:
            return b""
        return fingerprint_of(self.app.keyring.current(), body)

    def _kept(self, call: Call, outcome: Confirmed) -> Rendered:
        if _is_waiting(call, outcome):
            return None
        answer = self._confirmed(outcome)
        return answer.status, answer.body

    def _resent(self, outcome: Confirmed) -> Answer:
        if outcome.verdict is not Verdict.APPROVED:
            return self._confirmed(outcome, is_resend=True)
        return Answer(202, _told(self.views.resent, outcome.transfer, outcome.challenge))

    def _resent_kept(self, outcome: Confirmed) -> tuple[int, bytes]:
        answer = self._resent(outcome)
        return answer.status, answer.body

    def _confirmed(self, outcome: Confirmed, *, is_resend: bool = False) -> Answer:
        """The answer to a verdict; what was remembered as a rejection shows its snapshot."""
        challenge = outcome.challenge
        match outcome.verdict:
            case Verdict.APPROVED if challenge.status is Status.REJECTED:
                return _rejected(outcome.transfer, challenge, str(challenge.rejection_reason))
            case Verdict.APPROVED:
                status = 202 if challenge.status is Status.PENDING else 201
                return Answer(status, _told(self.views.approved, outcome.transfer, challenge))
            case Verdict.EXHAUSTED | Verdict.ATTEMPTS_EXCEEDED:
                return _rejected(outcome.transfer, challenge, "attempts_exceeded", is_resend=is_resend)
            case Verdict.SUPERSEDED:
                return _problem(f"{self.kind.family}.incorrect_token", {"reason": "superseded_token"})
            case Verdict.TOKEN_REFUSED:
                raise schema_refusal(("token", "not_allowed"))
            case verdict:
                return _problem(f"{self.kind.family}.{ERRORS[verdict]}")

    async def _settled(self, call: Call, outcome: Confirmed) -> Answer:
        """Wait for the rail, then answer what became of it; kept under the Idempotency-Key before it leaves.

        Without a database the wait ends at once: approved it is, but what is not kept may not be told under a key.
        """
        call.release()
        integrator = call.caller.integrator
        challenge = outcome.challenge
        try:
            seen = await self.desk.settled(integrator.key, outcome.transfer.key, at_most=integrator.sync_wait)
            challenge = seen or challenge
        except DatabaseUnavailable as error:
            if "idempotency-key" in call.headers:
                raise StateUnknown from error
        answer = self._confirmed(Confirmed(outcome.transfer, challenge, Verdict.APPROVED))
        try:
            return await self._completed(call, answer)
        except DatabaseUnavailable as error:
            raise StateUnknown from error

    async def _completed(self, call: Call, answer: Answer) -> Answer:
        key = call.headers.get("idempotency-key")
        if key is None:
            return answer
        integrator_key, path = call.caller.integrator.key, call.path.lower()
        return Answer(*await self.desk.complete(integrator_key, path, key, status=answer.status, body=answer.body))

    async def _replayed(self, call: Call, replay: Replay) -> Answer:
        if replay.status is not None and replay.body is not None:
            return Answer(replay.status, replay.body, {"idempotent-replayed": "true"})
        transfer, challenge = await self.read_operation(call)
        return await self._completed(call, self._confirmed(Confirmed(transfer, challenge, Verdict.APPROVED)))


ERRORS = {
    Verdict.INCORRECT: "incorrect_token",
    Verdict.INVALID_STATUS: "invalid_status",
    Verdict.WINDOW_OVER: "invalid_status",
    Verdict.DEVICE_PENDING: "device_approval_pending",
    Verdict.TOKEN_REQUIRED: "token_required",
    Verdict.TOKEN_EXPIRED: "token_expired",
    Verdict.BUDGET_SPENT: "error_validating_token",
    Verdict.KEY_UNAVAILABLE: "error_validating_token",
}


def _is_waiting(call: Call, outcome: Confirmed) -> bool:
    is_sync = call.caller.integrator.settlement_mode == "sync"
    return is_sync and outcome.verdict is Verdict.APPROVED and outcome.challenge.status is Status.PENDING


def _told(view: View, transfer: Transfer, challenge: Challenge) -> bytes:
    return msgspec.json.encode(view(transfer, challenge))


def _rejected(transfer: Transfer, challenge: Challenge, reason: str, *, is_resend: bool = False) -> Answer:
    extra = snapshot_view(transfer, challenge, is_resend=is_resend)
    values = challenge.refusal or {}
    if reason == "limit_exceeded":
        extra["reason"] = values.get("reason")
    name = rejection_name(transfer, reason)
    status = entry(name).http
    assert status is not None
    return Answer(status, msgspec.json.encode(problem_body(name, values or {"reason": ""}, extra)))


def _problem(name: str, extra_fields: dict[str, Any] | None = None) -> Answer:
    status = entry(name).http
    assert status is not None
    return Answer(status, msgspec.json.encode(problem_body(name, {}, extra_fields)))
