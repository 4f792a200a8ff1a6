"""Tokens on the wire: what validate_token and resend_token take, and how a verdict that is no success is told."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from aval.domain.challenge import Challenge, Verdict
from aval.domain.errors import entry, problem_body, schema_refusal
from aval.domain.token import Token
from aval.http.edge import Answer, Call, encoded
from aval.http.strict_json import decode

_PROBLEMS = {
    Verdict.INCORRECT: "rdm.incorrect_token",
    Verdict.SUPERSEDED: "rdm.superseded_token",
    Verdict.TOKEN_EXPIRED: "rdm.token_expired",
    Verdict.EXHAUSTED: "rdm.attempts_exceeded",
    Verdict.ATTEMPTS_EXCEEDED: "rdm.attempts_exceeded",
    Verdict.WINDOW_OVER: "rdm.not_pending",
}
TOKEN_REFUSALS = (
    *("rdm.token_required", "rdm.incorrect_token", "rdm.superseded_token", "rdm.token_expired"),
    *("rdm.attempts_exceeded", "rdm.not_pending", "rdm.token_budget", "rdm.idempotency_conflict"),
)
RESEND_REFUSALS = (
    *("rdm.resend_too_soon", "rdm.resend_limit", "rdm.phone_incorrect", "rdm.attempts_exceeded", "rdm.not_pending"),
    *("rdm.token_budget", "rdm.idempotency_conflict"),
)


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """The token as it was received."""

    token: str | None = None


class ResendBody(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing, or the one channel there is."""

    contact_type: Literal["sms"] | None = None


def token_of(call: Call) -> tuple[Token | None, bytes]:
    """Read the token of a body, None if there is none, and the bytes that tell this body from another."""
    text = decode(call.body, TokenBody, allow_empty=True).token
    token = Token.parse(text) if text else None
    if text and token is None:
        raise schema_refusal(("token", "invalid_value"))
    return token, (text or "").encode()


def channel_of(call: Call) -> bytes:
    """Read the channel that resend_token asks for, if it names the one there is: what tells this body from another."""
    return (decode(call.body, ResendBody, allow_empty=True).contact_type or "").encode()


def token_problem(verdict: Verdict, challenge: Challenge, snapshot: Mapping[str, Any]) -> Answer:
    """Tell why a token came to nothing; `snapshot` is what was rejected, under its name."""
    name, extra = _PROBLEMS[verdict], {}
    if verdict in (Verdict.INCORRECT, Verdict.SUPERSEDED):
        extra = {"attempts_remaining": challenge.attempts_remaining}
    elif verdict in (Verdict.EXHAUSTED, Verdict.ATTEMPTS_EXCEEDED):
        extra = dict(snapshot)
    status = entry(name).http
    assert status is not None
    return Answer(status, encoded(problem_body(name, {}, extra)))
