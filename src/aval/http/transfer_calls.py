"""The calls Pix and TED have in common: from the wire to one operation, and its outcome back onto the wire."""

from typing import Any, ClassVar
from uuid import UUID

import msgspec

from aval.domain.challenge import Challenge, Verdict
from aval.domain.errors import Refusal, entry, problem_body, schema_refusal
from aval.domain.request import TransferRequest
from aval.domain.token import Token
from aval.domain.transfer import Kind, Method, Status, Transfer
from aval.domain.view import rejection_name, snapshot_view, transfer_view
from aval.http.edge import Answer, Call, Handler, Route, StateUnknown
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.http.transfer_body import ResendBody, ValidateBody, fingerprint_of
from aval.http.transfer_reads import TransferReads
from aval.operations.cancel_transfer import CancelCall
from aval.operations.confirm_transfer import ConfirmCall, Confirmed, Rendered, Replay
from aval.operations.resend_token import ResendCall
from aval.operations.transfer_desk import TransferDesk
from aval.storage.challenges import Question
from aval.storage.database import DatabaseUnavailable

NONCE_BYTES = 16


class TransferCalls(TransferReads):
    """Handlers of one kind of single transfer."""

    kind: ClassVar[Kind]

    def __init__(self, app: Parts) -> None:
        super().__init__(app, self.kind)

    @property
    def desk(self) -> TransferDesk:
        """Where calls wait for their batch."""
        assert self.app.desk is not None
        return self.app.desk

    async def requested(self, call: Call, request: TransferRequest) -> Answer:
        """Hand a checked request over and answer 202; a repeat says so in a header."""
        made = await _decided(call, self.desk.request(request))
        headers = {"idempotent-replayed": "true"} if made.is_replay else {}
        return Answer(202, _short(made.transfer, made.challenge, has_transaction_key=True), headers)

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
        outcome = await _decided(call, self.desk.confirm(confirm))
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
            render=lambda transfer, challenge: (200, _short(transfer, challenge)),
        )
        outcome = await self.desk.cancel(cancel)
        if isinstance(outcome, Replay):
            return await self._replayed(call, outcome)
        if outcome.verdict is not Verdict.APPROVED:
            raise Refusal(f"{self.kind.family}.invalid_status")
        return Answer(200, _short(outcome.transfer, outcome.challenge))

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
        return Answer(202, _short(outcome.transfer, outcome.challenge))

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
                status = 201 if challenge.status is Status.SENT else 202
                return Answer(status, _short(outcome.transfer, challenge, has_transaction_key=True))
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


async def _decided(call: Call, work: Any) -> Any:
    """Run what PostgreSQL decides: a refusal from there has verified the caller."""
    try:
        result = await work
    except Refusal:
        call.is_verified = True
        raise
    call.is_verified = True
    return result


def _is_waiting(call: Call, outcome: Confirmed) -> bool:
    is_sync = call.caller.integrator.settlement_mode == "sync"
    return is_sync and outcome.verdict is Verdict.APPROVED and outcome.challenge.status is Status.PENDING


def _short(transfer: Transfer, challenge: Challenge, *, has_transaction_key: bool = False) -> bytes:
    return msgspec.json.encode(transfer_view(transfer, challenge, has_transaction_key=has_transaction_key))


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


Slugs = tuple[str, ...]

_READ = ("account_not_found", "operation_not_found")
_CANCEL = ("account_not_found", "operation_not_found", "invalid_status")
_TOKEN_CALLS = (*_CANCEL, "attempts_exceeded", "idempotency_conflict")
_CREATE = (
    "account_not_found",
    "account_unavailable",
    "idempotency_conflict",
    "tfa_info_required",
    "approver_not_allowed",
    "contact_not_available",
    "device_not_available",
    "channel_closed_on_create",
    "limit_exceeded",
    "insufficient_funds",
)
_VALIDATE = (
    *_TOKEN_CALLS,
    "token_required",
    "token_expired",
    "incorrect_token",
    "error_validating_token",
    "device_approval_pending",
    "approver_not_allowed",
    "account_unavailable",
    "limit_exceeded",
    "insufficient_funds",
    "target_account_not_found",
    "rail_refused",
)
_RESEND = (
    *_TOKEN_CALLS,
    "resend_not_available",
    "resend_limit_reached",
    "resend_too_soon",
    "contact_not_available",
    "limit_exceeded",
    "channel_closed_on_resend",
)


def transfer_routes(
    calls: TransferCalls,
    *,
    create: Handler,
    request: type[msgspec.Struct],
    answer: type[msgspec.Struct],
    detail: type[msgspec.Struct],
    create_refusals: tuple[str, ...],
) -> list[Route]:
    """List the routes of one kind of single transfer (transfers.md §3.1)."""
    family: Any = calls.kind.family
    name = calls.kind.value
    many = f"/account/{{account_key}}/{name}"
    one = f"{many}/{{{calls.key_name}}}"

    def route(method: str, path: str, handler: Handler, success: int, summary: str, slugs: Slugs, **more: Any) -> Route:
        scope = "transfers:read" if method == "GET" else "transfers:write"
        refusals = tuple(f"{family}.{slug}" for slug in slugs)
        more.setdefault("response", answer)
        return Route(method, path, handler, scope, "integrator", family, success, summary, refusals=refusals, **more)

    hot = {"is_hot": True}
    bare = {"empty_body": True}
    created = (*_CREATE, *create_refusals)
    validated = (*_VALIDATE, *(slug for slug in create_refusals if slug == "outside_ted_hours"))
    listed = {"response": calls.list_type(detail), "query": calls.list_query()}
    read = f"{one}/{{{calls.direction_name}}}"
    return [
        route("POST", many, create, 202, f"Request a {name}", created, request=request, **hot),
        route(
            "PUT",
            f"{one}/validate_token",
            calls.validate,
            202,
            "Approve with the token",
            validated,
            request=ValidateBody,
            **bare,
            **hot,
        ),
        route(
            "PATCH", f"{one}/resend_token", calls.resend, 202, "Send a new token", _RESEND, request=ResendBody, **bare
        ),
        route("PATCH", f"{one}/cancel", calls.cancel, 200, "Cancel while it waits for approval", _CANCEL, **bare),
        route("GET", read, calls.read_one, 200, "Read one transfer", _READ, response=detail),
        route("GET", f"{many}s", calls.list_all, 200, "List transfers", _READ[:1], **listed),
    ]
