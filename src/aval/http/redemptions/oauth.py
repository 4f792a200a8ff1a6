"""Access tokens for applications: OAuth2 client credentials, discovery and keys (redemptions.md §7.1)."""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus

import msgspec
import structlog

from aval.domain.caller import APPLICATION_SCOPES
from aval.domain.errors import BAD_CREDENTIALS, Refusal, schema_refusal
from aval.domain.ids import parse_uuid
from aval.domain.keyring import KeyMissing, Purpose
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.limits import REPEATED
from aval.http.parts import Parts
from aval.http.redemptions.access_tokens import LIFE, public_keys, sign_access_token
from aval.storage.applications import Client, find_client
from aval.storage.clock import read_clock
from aval.storage.database import DatabaseUnavailable

GRANT_TYPE = "client_credentials"
FORM_BYTES_MAX = 4_096
FORM_FIELDS_MAX = 8
TOKEN_PATH, KEYS_PATH = "/oauth2/token", "/.well-known/jwks.json"

_FORM = re.compile(r'application/x-www-form-urlencoded(?:[ \t]*;[ \t]*charset="?utf-8"?)?[ \t]*', re.IGNORECASE)
_BASIC = re.compile(r"basic +([A-Za-z0-9+/=]+)", re.IGNORECASE)

_log = structlog.get_logger("aval.oauth")
_public = partial(Route, scope=None, audience="public", family="rdm", success=200)


class TokenForm(msgspec.Struct):
    """A form; the client proves itself here or by HTTP Basic, not both. Without `scope` it asks for all it has."""

    grant_type: Literal["client_credentials"]
    scope: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


class TokenAnswer(msgspec.Struct):
    """An access token, which is a bearer's beside the subscription key."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


class DiscoveryAnswer(msgspec.Struct):
    """Where and how access tokens are made and checked."""

    issuer: str
    token_endpoint: str
    jwks_uri: str
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    scopes_supported: list[str]
    response_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]


class KeysAnswer(msgspec.Struct):
    """The public keys that access tokens are checked with."""

    keys: list[dict[str, Any]]


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = AccessTokens(app)
    refusals = ("rdm.unauthenticated", "rdm.insufficient_scope")
    return [
        _public(
            "POST",
            TOKEN_PATH,
            calls.create,
            summary="Make an access token for an application",
            request=TokenForm,
            response=TokenAnswer,
            media="form",
            body_limit=FORM_BYTES_MAX,
            refusals=refusals,
        ),
        _public(
            "GET",
            "/.well-known/openid-configuration",
            calls.discover,
            summary="Find out about access tokens",
            response=DiscoveryAnswer,
        ),
        _public("GET", KEYS_PATH, calls.list_keys, summary="List the keys of access tokens", response=KeysAnswer),
    ]


class AccessTokens:
    """Handlers of access tokens."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST /oauth2/token."""
        form = _form_of(call)
        client_id, client_secret = _client_of(call, form)
        client_key = parse_uuid(client_id)
        if form.get("grant_type") != GRANT_TYPE:
            raise schema_refusal(("grant_type", "invalid_value" if "grant_type" in form else "missing"))
        keyring = self._app.keyring.current()
        async with self._app.db.connection() as connection:
            client = await find_client(connection, client_key) if client_key else None
            now = await read_clock(connection)
        hashes = keyring.credential_hashes(client_secret)
        if client is None or not any(hmac.compare_digest(client.secret_hash, each) for each in hashes):
            raise _nobody()
        scopes = _scopes_of(form, client)
        try:
            key = keyring.current(Purpose.ACCESS_TOKEN)
        except KeyMissing:
            _log.error("no key for access tokens", what_to_do="aval admin keyring rotate access_token")
            raise DatabaseUnavailable from None
        token = sign_access_token(
            key,
            issuer=self._app.settings.public_url,
            application_key=client.application_key,
            scopes=scopes,
            now=now,
        )
        return json_answer(200, TokenAnswer(token, "Bearer", int(LIFE.total_seconds()), " ".join(scopes)))

    async def discover(self, _call: Call) -> Answer:
        """GET /.well-known/openid-configuration."""
        issuer = self._app.settings.public_url
        return json_answer(
            200,
            DiscoveryAnswer(
                issuer=issuer,
                token_endpoint=issuer + TOKEN_PATH,
                jwks_uri=issuer + KEYS_PATH,
                grant_types_supported=[GRANT_TYPE],
                token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
                scopes_supported=list(APPLICATION_SCOPES),
                response_types_supported=[],
                subject_types_supported=["public"],
                id_token_signing_alg_values_supported=["RS256"],
            ),
        )

    async def list_keys(self, _call: Call) -> Answer:
        """GET /.well-known/jwks.json."""
        return json_answer(200, KeysAnswer(public_keys(self._app.keyring.current())))


def _form_of(call: Call) -> Mapping[str, str]:
    """Read the form: each field once, none unknown."""
    if not _FORM.fullmatch(call.headers.get("content-type", "")):
        raise Refusal("qit.unsupported_media_type")
    if call.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("qit.unsupported_media_type")
    try:
        pairs = parse_qsl(
            call.body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(call.body),
            errors="strict",
            max_num_fields=FORM_FIELDS_MAX,
        )
    except ValueError:
        raise schema_refusal(("body", "malformed")) from None
    form = dict(pairs)
    if len(form) < len(pairs) or not form.keys() <= set(TokenForm.__struct_fields__):
        raise schema_refusal(("body", "invalid_value"))
    return form


def _client_of(call: Call, form: Mapping[str, str]) -> tuple[str, str]:
    """The client by HTTP Basic or in the form, one of both."""
    header = call.headers.get("authorization")
    if header is None:
        if not (form.get("client_id") and form.get("client_secret")):
            raise _nobody()
        return form["client_id"], form["client_secret"]
    if "client_id" in form or "client_secret" in form:
        raise schema_refusal(("client_id", "not_allowed"))
    basic = None if REPEATED in header else _BASIC.fullmatch(header)
    try:
        name, colon, secret = base64.b64decode(basic[1], validate=True).decode().partition(":") if basic else ("",) * 3
    except (binascii.Error, UnicodeDecodeError):
        raise _nobody() from None
    if not colon:
        raise _nobody()
    return unquote_plus(name), unquote_plus(secret)


def _scopes_of(form: Mapping[str, str], client: Client) -> list[str]:
    """The scopes asked for, or all the application has; one it has not is refused."""
    asked = form.get("scope", "").split()
    for scope in asked:
        if scope not in client.scopes:
            told = scope if scope in APPLICATION_SCOPES else " ".join(APPLICATION_SCOPES)
            raise Refusal("rdm.insufficient_scope", extra_fields={"scope": told})
    return sorted(set(asked or client.scopes))


def _nobody() -> Refusal:
    return Refusal("rdm.unauthenticated", details=BAD_CREDENTIALS)
