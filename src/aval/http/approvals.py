"""What the approver's page asks beyond the device session (docs/adr/0030). No credential, as for device sessions."""

import hmac
import time
from typing import Literal
from uuid import UUID

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.device_proof import base64url, from_base64url
from aval.domain.errors import Refusal
from aval.http.device_body import NONCE
from aval.http.device_sessions import SESSION_REQUESTS_PER_MINUTE
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.parts import Parts
from aval.http.rates import SessionRates
from aval.http.strict_json import decode
from aval.http.transfer_body import Errors
from aval.storage.approvals import (
    PageOwner,
    find_fresh_signature,
    find_page_owner,
    list_new_payees,
    list_passkeys,
    list_waiting,
)


class PasskeyFacts(msgspec.Struct, kw_only=True):
    """A passkey that may sign, so that the browser asks for that one; its name tells of its owner, and stays here."""

    device_key: str
    credential_id: str


class RegistrationFacts(msgspec.Struct, kw_only=True):
    """What a new passkey has to answer, and where the page may hand it over."""

    challenge: str
    expires_at: str
    origins: list[str]


class ApprovalFacts(msgspec.Struct, kw_only=True):
    """What the page of a session shows beyond it; `new_payees` are request_control_keys."""

    session_id: str
    purpose: Literal["register", "approve"]
    integrator_name: str
    locale: Literal["pt-BR", "en"]
    account_number_masked: str
    rp_id: str | None
    registration: RegistrationFacts | None
    passkeys: list[PasskeyFacts]
    new_payees: list[str]


class WaitingBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The signature that was just given: who can repeat it is the page that made it."""

    nonce: str
    signature: str


class WaitingItem(msgspec.Struct, kw_only=True):
    """One more operation that waits; of a batch the total."""

    session_id: str
    operation: str
    amount: str
    payee_name: str | None
    item_count: int
    approval_deadline: str


class WaitingAnswer(msgspec.Struct, kw_only=True):
    """What else waits for the approver on this account."""

    waiting: list[WaitingItem]


class Approvals:
    """Handlers of the approver's page."""

    def __init__(self, app: Parts) -> None:
        self._app = app
        self._rates = SessionRates(SESSION_REQUESTS_PER_MINUTE)

    async def facts(self, call: Call) -> Answer:
        """GET /approve/{session_id}/facts."""
        session_id = UUID(call.params["session_id"])
        async with self._app.db.reading() as connection:
            owner = await self._owner(await find_page_owner(connection, session_id), session_id)
            passkeys = await list_passkeys(connection, owner)
            new_payees = [] if owner.operation_key is None else await list_new_payees(connection, owner)
        told = ApprovalFacts(
            session_id=str(session_id),
            purpose="register" if owner.operation_key is None else "approve",
            integrator_name=owner.integrator_name,
            locale="en" if owner.locale == "en" else "pt-BR",
            account_number_masked=owner.account_number_masked,
            rp_id=owner.rp_id,
            registration=_registration(owner),
            passkeys=[
                PasskeyFacts(
                    device_key=str(passkey.device_key),
                    credential_id=base64url(passkey.credential_id),
                )
                for passkey in passkeys
            ],
            new_payees=[str(key) for key in new_payees],
        )
        return json_answer(200, told)

    async def waiting(self, call: Call) -> Answer:
        """POST /approve/{session_id}/waiting."""
        body, errors = decode(call.body, WaitingBody), Errors()
        nonce, signature = errors.shaped(body.nonce, "nonce", NONCE), from_base64url(body.signature)
        if not signature:
            errors.add("signature")
        errors.raise_any()
        session_id = UUID(call.params["session_id"])
        async with self._app.db.reading() as connection:
            await self._owner(await find_page_owner(connection, session_id), session_id)
            signed = await find_fresh_signature(connection, session_id, nonce)
            if signed is None or not hmac.compare_digest(from_base64url(signed.signature) or b"", signature or b""):
                raise Refusal("device.invalid_device_proof")
            waiting = await list_waiting(connection, signed)
        told = [
            WaitingItem(
                session_id=str(each.session_id),
                operation=each.kind.value,
                amount=each.amount.details(),
                payee_name=each.payee_name,
                item_count=each.item_count,
                approval_deadline=wire_datetime(each.approval_deadline),
            )
            for each in waiting
        ]
        return json_answer(200, WaitingAnswer(waiting=told))

    async def _owner(self, owner: PageOwner | None, session_id: UUID) -> PageOwner:
        if owner is None:
            raise Refusal("device.device_session_not_found")
        if owner.has_budgets:
            self._rates.check(session_id, time.monotonic())
        return owner


def _registration(owner: PageOwner) -> RegistrationFacts | None:
    if owner.operation_key is not None:
        return None
    assert owner.challenge is not None and owner.challenge_expires_at is not None
    if not owner.is_challenge_open:
        raise Refusal("device.invalid_nonce")
    return RegistrationFacts(
        challenge=base64url(owner.challenge),
        expires_at=wire_datetime(owner.challenge_expires_at),
        origins=[origin for origin in owner.origins if origin.startswith("http")],
    )


def routes(app: Parts) -> list[Route]:
    """List the routes behind the approver's page."""
    calls = Approvals(app)
    one, unknown = "/approve/{session_id}", "device.device_session_not_found"
    facts = Route(
        *("GET", f"{one}/facts", calls.facts, None, "public", "qit", 200, "Facts beside a device session"),
        response=ApprovalFacts,
        refusals=(unknown, "device.invalid_nonce", "qit.too_many_requests"),
    )
    waiting = Route(
        *("POST", f"{one}/waiting", calls.waiting, None, "public", "qit", 200, "See what else waits after signing"),
        request=WaitingBody,
        response=WaitingAnswer,
        refusals=(unknown, "device.invalid_device_proof", "qit.too_many_requests"),
    )
    return [facts, waiting]
