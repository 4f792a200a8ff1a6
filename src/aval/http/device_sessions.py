"""Device sessions: what a device sees and signs. No credential: session id and signature are the proof (§5.2)."""

import time
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.device import DeviceDecision
from aval.domain.errors import Refusal
from aval.http.device_body import NONCE, ApproveBody, DenyBody, read_signature, signed_fields
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.parts import Parts
from aval.http.rates import SessionRates
from aval.http.strict_json import decode
from aval.http.transfer_body import Errors
from aval.operations.sign_operation import SignCall
from aval.operations.transfer_desk import TransferDesk
from aval.storage.device_sessions import SessionOwner, find_session_owner

SESSION_REQUESTS_PER_MINUTE = 10  # spec transfers.md §5.2
Status = Literal["pending", "approved", "denied", "closed"]


class SessionItem(msgspec.Struct, kw_only=True):
    """One item of a batch, as it is shown and digested."""

    request_control_key: str
    payee_name: str | None
    payee_document_masked: str | None
    target: str | None
    amount: str


class SessionDetails(msgspec.Struct, kw_only=True):
    """What is shown and signed: the canonical form of this object goes into the challenge."""

    version: int
    operation: str
    operation_key: str
    account_key: str
    amount: str
    fee_amount: str
    payee_name: str | None
    payee_document_masked: str | None
    target: str | None
    item_count: int
    items_digest: str | None


class SessionAnswer(msgspec.Struct, kw_only=True):
    """A session; its nonce is new with each call while it is pending."""

    session_id: str
    session_status: Status
    nonce: str | msgspec.UnsetType = msgspec.UNSET
    nonce_expires_at: str | msgspec.UnsetType = msgspec.UNSET
    rp_id: str | None
    items: list[SessionItem] | None
    details: SessionDetails


class SessionState(msgspec.Struct, kw_only=True):
    """Where a session stands after a signature."""

    session_id: str
    session_status: Literal["approved", "denied"]


class DeviceSessions:
    """Handlers of device sessions."""

    def __init__(self, app: Parts) -> None:
        self._app = app
        self._rates = SessionRates(SESSION_REQUESTS_PER_MINUTE)

    @property
    def desk(self) -> TransferDesk:
        """Where calls on one operation are counted."""
        assert self._app.desk is not None
        return self._app.desk

    async def read(self, call: Call) -> Answer:
        """GET /device_sessions/{session_id}."""
        owner = await self._owner(call)
        opened = await self.desk.open_session(owner, _session_of(call))
        told: dict[str, Any] = {"session_id": opened.session_id, "session_status": opened.status.value}
        if opened.nonce is not None and opened.nonce_expires_at is not None:
            told |= {"nonce": opened.nonce, "nonce_expires_at": wire_datetime(opened.nonce_expires_at)}
        told |= {"rp_id": owner.party.rp_id, "items": opened.items, "details": opened.details}
        return json_answer(200, told)

    async def approve(self, call: Call) -> Answer:
        """POST /device_sessions/{session_id}/approve."""
        return await self._sign(call, decode(call.body, ApproveBody), DeviceDecision.APPROVE, None)

    async def deny(self, call: Call) -> Answer:
        """POST /device_sessions/{session_id}/deny."""
        body = decode(call.body, DenyBody)
        return await self._sign(call, body, DeviceDecision.DENY, body.reason)

    async def _sign(self, call: Call, body: ApproveBody, decision: DeviceDecision, reason: str | None) -> Answer:
        errors = Errors()
        device_key = errors.uuid(body.device_key, "device_key")
        body.nonce = errors.shaped(body.nonce, "nonce", NONCE)
        signature = read_signature(errors, body)
        errors.raise_any()
        owner = await self._owner(call)
        sign = SignCall(
            session_id=_session_of(call),
            decision=decision,
            reason=reason,
            device_key=device_key,
            nonce=body.nonce,
            signature=signature,
            told=signed_fields(body),
            correlation_id=call.correlation_id,
        )
        status = await self.desk.sign(owner, sign)
        return json_answer(200, {"session_id": sign.session_id, "session_status": status.value})

    async def _owner(self, call: Call) -> SessionOwner:
        session_id = _session_of(call)
        async with self._app.db.reading() as connection:
            owner = await find_session_owner(connection, session_id)
        if owner is None:
            raise Refusal("device.device_session_not_found")
        if owner.has_budgets:
            self._rates.check(session_id, time.monotonic())
        return owner


def _session_of(call: Call) -> UUID:
    return UUID(call.params["session_id"])


def routes(app: Parts) -> list[Route]:
    """List the routes of device sessions."""
    calls = DeviceSessions(app)
    one = "/device_sessions/{session_id}"
    unknown = "device.device_session_not_found"
    signing: Mapping[str, Any] = {
        "response": SessionState,
        "refusals": (
            unknown,
            "device.invalid_status",
            "device.invalid_nonce",
            "device.invalid_device_proof",
            "qit.too_many_requests",
        ),
    }

    def route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(method, path, handler, None, "public", "qit", 200, summary, **more)

    return [
        route(
            *("GET", one, calls.read, "See what a device is to sign"),
            response=SessionAnswer,
            refusals=(unknown, "qit.too_many_requests"),
        ),
        route("POST", f"{one}/approve", calls.approve, "Approve with a signature", request=ApproveBody, **signing),
        route("POST", f"{one}/deny", calls.deny, "Deny with a signature", request=DenyBody, **signing),
    ]
