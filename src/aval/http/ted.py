"""TED transfers: POST, validate, resend, cancel, GET one and lists (transfers.md §3.4)."""

import secrets
from uuid import UUID

from aval.domain.request import TransferRequest
from aval.domain.transfer import Kind, Method
from aval.http.edge import Answer, Call, Route
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.http.ted_body import TedBody, check_ted
from aval.http.transfer_answers import TedAnswer, TedDetail
from aval.http.transfer_body import Errors, canonical, fingerprint_of, missing_tfa_info, read_tfa_info
from aval.http.transfer_calls import NONCE_BYTES, TransferCalls
from aval.http.transfer_routes import Bodies, single_routes
from aval.operations.fresh import fresh_key


def routes(app: Parts) -> list[Route]:
    """List the routes of TED transfers."""
    ted = TedTransfers(app)
    return single_routes(ted, ted.create, Bodies.of_single(TedBody, TedAnswer, TedDetail), ("outside_ted_hours",))


class TedTransfers(TransferCalls):
    """Handlers of TED transfers."""

    kind = Kind.TED

    async def create(self, call: Call) -> Answer:
        """POST /account/{k}/ted."""
        body = decode(call.body, TedBody)
        keyring = self.app.keyring.current()
        account_key = UUID(call.params["account_key"])
        errors = Errors()
        checked = check_ted(errors, body)
        approver = read_tfa_info(errors, body.tfa_info, keyring)
        errors.raise_any()
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
            payee=checked.payee,
            approver_index=approver.index if approver else b"",
            method=approver.method if approver else Method.SMS,
            session_id=approver.session_id if approver else None,
            refusal=missing_tfa_info(self.kind) if approver is None else None,
        )
        return await self.requested(call, self.desk.request(request))
