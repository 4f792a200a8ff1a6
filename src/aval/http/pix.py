"""Pix transfers: POST, validate, resend, cancel, GET one and lists (transfers.md §3.2)."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import msgspec

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.pix_key import (
    generated_end_to_end_id,
    is_end_to_end_id,
    is_receiver_conciliation_id,
    pix_key_of,
)
from aval.domain.request import TransferRequest
from aval.domain.text import clean, has_emoji
from aval.domain.transfer import Kind, Method, Payee
from aval.http.edge import Answer, Call, Route
from aval.http.parts import Parts
from aval.http.strict_json import amount_of, decode
from aval.http.transfer_answers import PixTransferAnswer, PixTransferDetail
from aval.http.transfer_body import (
    Approver,
    Errors,
    TargetAccount,
    TfaInfo,
    canonical,
    fingerprint_of,
    missing_tfa_info,
    read_target,
    read_tfa_info,
)
from aval.http.transfer_calls import NONCE_BYTES, TransferCalls, transfer_routes
from aval.operations.find_payee import find_payee
from aval.operations.fresh import fresh_key

MESSAGE_CHARACTERS_MAX = 140
PIX_KEY_CHARACTERS_MAX = 100
ENTROPY_BYTES = 16
ACCOUNT_TYPES = frozenset({"checking_account", "salary_account", "saving_account", "payment_account"})
MANUAL = "manual"
QR_CODES = ("static_qr_code", "dynamic_qr_code")


class PixTransferBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A Pix request."""

    request_control_key: str
    pix_transfer_type: Literal["key", "manual", "static_qr_code", "dynamic_qr_code"]
    transaction_amount: msgspec.Raw
    tfa_info: TfaInfo | None = None
    pix_message: str | None = None
    target_pix_key: str | None = None
    end_to_end_id: str | None = None
    receiver_conciliation_id: str | None = None
    target_account: TargetAccount | None = None


def routes(app: Parts) -> list[Route]:
    """List the routes of Pix transfers."""
    pix = PixTransfers(app)
    return transfer_routes(
        pix,
        create=pix.create,
        request=PixTransferBody,
        answer=PixTransferAnswer,
        detail=PixTransferDetail,
        create_refusals=("invalid_pix_key", "invalid_end_to_end_id", "duplicate_end_to_end_id"),
    )


@dataclass(frozen=True, slots=True)
class _Checked:
    """A body that fits the schema, and the refusal whose turn comes after the account's checks."""

    body: PixTransferBody
    request_control_key: UUID
    approver: Approver | None
    target: dict[str, str] | None
    refusal: Refusal | None


class PixTransfers(TransferCalls):
    """Handlers of Pix transfers."""

    kind = Kind.PIX_TRANSFER

    async def create(self, call: Call) -> Answer:
        """POST /account/{k}/pix_transfer."""
        body = decode(call.body, PixTransferBody)
        amount = amount_of(body.transaction_amount, "transaction_amount")
        keyring = self.app.keyring.current()
        account_key = UUID(call.params["account_key"])
        checked = _checked(body, keyring)
        fingerprint = fingerprint_of(keyring, account_key.bytes, canonical(body, amount))
        payee, refusal = await self._payee(call, checked, account_key)
        approver = checked.approver
        now = datetime.now(UTC)  # names a minute in a made-up id; judges nothing
        request = TransferRequest(
            principal=call.caller,
            kind=self.kind,
            account_key=account_key,
            key=fresh_key(),
            nonce=secrets.token_bytes(NONCE_BYTES),
            request_control_key=checked.request_control_key,
            fingerprint=fingerprint,
            correlation_id=call.correlation_id,
            amount=amount,
            end_to_end_id=body.end_to_end_id
            or generated_end_to_end_id(call.caller.integrator.ispb, now, secrets.token_bytes(ENTROPY_BYTES)),
            payee=payee,
            pix_transfer_type=body.pix_transfer_type,
            pix_message=body.pix_message,
            receiver_conciliation_id=body.receiver_conciliation_id,
            approver_index=approver.index if approver else b"",
            method=approver.method if approver else Method.SMS,
            refusal=refusal,
        )
        return await self.requested(call, request)

    async def _payee(self, call: Call, checked: _Checked, account_key: UUID) -> tuple[Payee | None, Refusal | None]:
        body, target = checked.body, checked.target
        if checked.refusal is not None:
            return None, checked.refusal
        if target is not None:
            document = target["owner_document_number"]
            return Payee(name=target["owner_name"], document=document, target_account=target), None
        assert body.target_pix_key is not None
        payee = await find_payee(
            self.app.db,
            self.app.rails,
            self.app.keyring.current(),
            integrator=call.caller.integrator,
            account_key=account_key,
            pix_key=body.target_pix_key,
        )
        if payee is None:
            return None, Refusal("pix.invalid_pix_key", extra_fields={"reason": "not_found"})
        return payee, None if is_end_to_end_id(body.end_to_end_id or "") else Refusal("pix.invalid_end_to_end_id")


def _checked(body: PixTransferBody, keyring: Keyring) -> _Checked:
    errors = Errors()
    request_control_key = errors.uuid(body.request_control_key, "request_control_key")
    body.request_control_key = str(request_control_key)
    approver = read_tfa_info(errors, body.tfa_info, keyring)
    _check_message(errors, body)
    target = None
    if body.pix_transfer_type == MANUAL:
        _refuse_given(errors, body, ("target_pix_key", "end_to_end_id", "receiver_conciliation_id"))
        if body.target_account is None:
            errors.add("target_account", "missing")
        else:
            target = read_target(errors, body.target_account, "pix", ACCOUNT_TYPES)
    else:
        _refuse_given(errors, body, ("target_account",))
        _check_key(errors, body)
    errors.raise_any()
    refusal = missing_tfa_info(Kind.PIX_TRANSFER) if approver is None else _refused_key(body)
    return _Checked(body, request_control_key, approver, target, refusal)


def _refuse_given(errors: Errors, body: PixTransferBody, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(body, name) is not None:
            errors.add(name, "not_allowed")


def _check_message(errors: Errors, body: PixTransferBody) -> None:
    if body.pix_message is None:
        return
    trimmed = clean(body.pix_message)
    if trimmed is None or len(trimmed) > MESSAGE_CHARACTERS_MAX or has_emoji(trimmed):
        errors.add("pix_message")
    body.pix_message = trimmed or None


def _check_key(errors: Errors, body: PixTransferBody) -> None:
    for name in ("target_pix_key", "end_to_end_id"):
        if getattr(body, name) is None:
            errors.add(name, "missing")
    if body.target_pix_key is not None:
        text = clean(body.target_pix_key)
        if text is None or len(text) > PIX_KEY_CHARACTERS_MAX:
            errors.add("target_pix_key")
        body.target_pix_key = text
    if body.end_to_end_id is not None:
        body.end_to_end_id = clean(body.end_to_end_id)
        if body.end_to_end_id is None:
            errors.add("end_to_end_id")
    if body.pix_transfer_type in QR_CODES:
        _check_conciliation(errors, body)
    else:
        _refuse_given(errors, body, ("receiver_conciliation_id",))


def _check_conciliation(errors: Errors, body: PixTransferBody) -> None:
    if body.receiver_conciliation_id is None:
        errors.add("receiver_conciliation_id", "missing")
        return
    body.receiver_conciliation_id = body.receiver_conciliation_id.strip(" ")
    if not is_receiver_conciliation_id(body.receiver_conciliation_id):
        errors.add("receiver_conciliation_id")


def _refused_key(body: PixTransferBody) -> Refusal | None:
    """A Pix key of no valid form: a code of its own, told after the account's checks."""
    if body.pix_transfer_type == MANUAL:
        return None
    assert body.target_pix_key is not None
    key = pix_key_of(body.target_pix_key)
    if key is None:
        return Refusal("pix.invalid_pix_key", extra_fields={"reason": "format"})
    body.target_pix_key = key.text
    return None
