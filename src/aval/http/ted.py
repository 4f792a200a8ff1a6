"""TED transfers: POST, validate, resend, cancel, GET one and lists (transfers.md §3.4)."""

import secrets
from uuid import UUID

import msgspec

from aval.domain.request import TransferRequest
from aval.domain.transfer import Kind, Method, Payee
from aval.http.edge import Answer, Call, Route
from aval.http.parts import Parts
from aval.http.strict_json import amount_of, decode
from aval.http.transfer_answers import TedAnswer, TedDetail
from aval.http.transfer_body import (
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
from aval.operations.fresh import fresh_key

ACCOUNT_TYPES = frozenset(
    {
        "checking_account",
        "deposit_account",
        "guaranteed_account",
        "investment_account",
        "payment_account",
        "saving_account",
    }
)


class TedBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A TED request."""

    request_control_key: str
    transaction_amount: msgspec.Raw
    target_account: TargetAccount
    tfa_info: TfaInfo | None = None


def routes(app: Parts) -> list[Route]:
    """List the routes of TED transfers."""
    ted = TedTransfers(app)
    return transfer_routes(
        ted,
        create=ted.create,
        request=TedBody,
        answer=TedAnswer,
        detail=TedDetail,
        create_refusals=("outside_ted_hours",),
    )


class TedTransfers(TransferCalls):
    """Handlers of TED transfers."""

    kind = Kind.TED

    async def create(self, call: Call) -> Answer:
        """POST /account/{k}/ted."""
        body = decode(call.body, TedBody)
        amount = amount_of(body.transaction_amount, "transaction_amount")
        keyring = self.app.keyring.current()
        account_key = UUID(call.params["account_key"])
        errors = Errors()
        request_control_key = errors.uuid(body.request_control_key, "request_control_key")
        body.request_control_key = str(request_control_key)
        approver = read_tfa_info(errors, body.tfa_info, keyring)
        target = read_target(errors, body.target_account, "ted", ACCOUNT_TYPES)
        errors.raise_any()
        request = TransferRequest(
            principal=call.caller,
            kind=self.kind,
            account_key=account_key,
            key=fresh_key(),
            nonce=secrets.token_bytes(NONCE_BYTES),
            request_control_key=request_control_key,
            fingerprint=fingerprint_of(keyring, account_key.bytes, canonical(body, amount)),
            correlation_id=call.correlation_id,
            amount=amount,
            payee=Payee(name=target["owner_name"], document=target["owner_document_number"], target_account=target),
            approver_index=approver.index if approver else b"",
            method=approver.method if approver else Method.SMS,
            refusal=missing_tfa_info(self.kind) if approver is None else None,
        )
        return await self.requested(call, request)
