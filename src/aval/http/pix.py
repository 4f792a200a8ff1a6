"""Pix transfers: POST, validate, resend, cancel, GET one and lists (transfers.md §3.2)."""

import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.pix_key import generated_end_to_end_id
from aval.domain.request import TransferRequest
from aval.domain.transfer import Kind, Method, Payee
from aval.http.edge import Answer, Call, Route
from aval.http.parts import Parts
from aval.http.pix_body import CheckedPix, PixItemBody, PixTransferBody, check_pix
from aval.http.strict_json import decode
from aval.http.transfer_answers import PixTransferAnswer, PixTransferDetail
from aval.http.transfer_body import Errors, canonical, fingerprint_of, missing_tfa_info, read_tfa_info
from aval.http.transfer_calls import NONCE_BYTES, TransferCalls
from aval.http.transfer_routes import Bodies, single_routes
from aval.operations.find_payee import find_payee
from aval.operations.fresh import fresh_key

ENTROPY_BYTES = 16


def routes(app: Parts) -> list[Route]:
    """List the routes of Pix transfers."""
    pix = PixTransfers(app)
    answers = Bodies.of_single(PixTransferBody, PixTransferAnswer, PixTransferDetail)
    faults = ("invalid_pix_key", "invalid_end_to_end_id", "duplicate_end_to_end_id")
    return single_routes(pix, pix.create, answers, faults)


class PixTransfers(TransferCalls):
    """Handlers of Pix transfers."""

    kind = Kind.PIX_TRANSFER

    async def create(self, call: Call) -> Answer:
        """POST /account/{k}/pix_transfer."""
        body = decode(call.body, PixTransferBody)
        keyring = self.app.keyring.current()
        account_key = UUID(call.params["account_key"])
        errors = Errors()
        checked = check_pix(errors, body)
        approver = read_tfa_info(errors, body.tfa_info, keyring)
        errors.raise_any()
        payee, refusal = None, missing_tfa_info(self.kind) if approver is None else None
        if refusal is None:
            payee, refusal = await self._payee(call, checked, account_key)
        request = TransferRequest(
            principal=call.caller,
            kind=self.kind,
            account_key=account_key,
            key=fresh_key(),
            nonce=secrets.token_bytes(NONCE_BYTES),
            request_control_key=checked.request_control_key,
            fingerprint=fingerprint_of(keyring, account_key.bytes, canonical(body)),
            correlation_id=call.correlation_id,
            amount=checked.amount,
            payee=payee,
            **pix_fields(call, body),
            approver_index=approver.index if approver else b"",
            method=approver.method if approver else Method.SMS,
            session_id=approver.session_id if approver else None,
            refusal=refusal,
        )
        return await self.requested(call, self.desk.request(request))

    async def _payee(self, call: Call, checked: CheckedPix, account_key: UUID) -> tuple[Payee | None, Refusal | None]:
        owner = None
        if checked.pix_key is not None:
            owner = await find_payee(
                self.app.db,
                self.app.rails,
                self.app.keyring.current(),
                integrator=call.caller.integrator,
                account_key=account_key,
                pix_key=checked.pix_key,
            )
        return checked.judged(owner)


def pix_fields(call: Call, body: PixItemBody) -> dict[str, Any]:
    """What only a Pix has, a made-up end_to_end_id among it where the request brings none."""
    now = datetime.now(UTC)  # names a minute in the id; judges nothing
    ispb = call.caller.integrator.ispb
    return {
        "end_to_end_id": body.end_to_end_id or generated_end_to_end_id(ispb, now, secrets.token_bytes(ENTROPY_BYTES)),
        "pix_transfer_type": body.pix_transfer_type,
        "pix_message": body.pix_message,
        "receiver_conciliation_id": body.receiver_conciliation_id,
    }
