"""Administration of what integrators prove themselves with (transfers.md §2.2, §8)."""

from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import UNSET, Meta, UnsetType

from aval.domain.calendar import wire_datetime
from aval.domain.errors import schema_refusal
from aval.http.admin_route import INTEGRATOR, admin_route
from aval.http.edge import Answer, Call, Route, json_answer
from aval.http.fields import author_of, found, key_of
from aval.http.paging import ORDERED, Listing, listing, page_of
from aval.http.parts import Parts
from aval.http.strict_json import decode
from aval.operations.create_credential import create_credential
from aval.operations.revoke_credential import revoke_credential
from aval.storage.credentials import Credential, list_credentials
from aval.storage.integrators import find_integrator

PUBLIC_KEY_CHARACTERS_MAX = 2_000
CREDENTIALS = INTEGRATOR + "/credentials"

Scope = Literal[
    "transfers:write", "transfers:read", "devices:write", "notifications:write", "webhooks:write", "sandbox"
]


class CredentialBody(msgspec.Struct, forbid_unknown_fields=True):
    """A new credential."""

    type: Literal["bearer", "signed"]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    public_key: str | None = None


class CredentialAnswer(msgspec.Struct, kw_only=True):
    """A credential; `api_key` only in the answer that made it."""

    credential_key: str
    type: Literal["bearer", "signed"]
    scopes: list[str]
    active: bool
    created_at: str
    api_key: str | UnsetType = UNSET
    api_client_key: str | UnsetType = UNSET


def routes(app: Parts) -> list[Route]:
    """List the routes of this file."""
    calls = Credentials(app)
    return [
        admin_route(
            "POST",
            CREDENTIALS,
            calls.create,
            success=201,
            summary="Make a credential",
            request=CredentialBody,
            response=CredentialAnswer,
            refusals=("qit.conflict",),
        ),
        admin_route(
            "GET",
            CREDENTIALS,
            calls.list_all,
            success=200,
            summary="List credentials",
            response=Listing[CredentialAnswer],
            query=ORDERED,
        ),
        admin_route(
            "DELETE", CREDENTIALS + "/{credential_key}", calls.revoke, success=204, summary="Revoke a credential"
        ),
    ]


class Credentials:
    """Handlers of credentials."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    async def create(self, call: Call) -> Answer:
        """POST I/credentials."""
        body = decode(call.body, CredentialBody)
        made = await create_credential(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            credential_type=body.type,
            scopes=body.scopes,
            public_key=_public_key(body),
            keyring=self._app.keyring.current(),
            author=author_of(call),
        )
        return json_answer(201, _credential(made.credential, made.api_key))

    async def list_all(self, call: Call) -> Answer:
        """GET I/credentials."""
        page, integrator_key = page_of(call), key_of(call, "integrator_key")
        async with self._app.db.connection() as connection:
            found(await find_integrator(connection, integrator_key))
            rows = await list_credentials(connection, integrator_key, **page.rows)
        return json_answer(200, listing(page, rows, _credential))

    async def revoke(self, call: Call) -> Answer:
        """DELETE I/credentials/{credential_key}."""
        await revoke_credential(
            self._app.db,
            integrator_key=key_of(call, "integrator_key"),
            credential_key=key_of(call, "credential_key"),
            author=author_of(call),
        )
        return Answer(204)


def _public_key(body: CredentialBody) -> str | None:
    """Accept one P-521 public key for a signing credential, and none for a bearer one."""
    if body.type == "bearer":
        if body.public_key is not None:
            raise schema_refusal(("public_key", "unknown_field"))
        return None
    if body.public_key is None:
        raise schema_refusal(("public_key", "missing"))
    pem = body.public_key.strip()
    try:
        key = load_pem_public_key(pem.encode()) if len(pem) <= PUBLIC_KEY_CHARACTERS_MAX else None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP521R1)):
        raise schema_refusal(("public_key", "invalid_value"))
    return pem


def _credential(credential: Credential, api_key: str | None = None) -> CredentialAnswer:
    return CredentialAnswer(
        credential_key=str(credential.key),
        type="bearer" if credential.type == "bearer" else "signed",
        scopes=credential.scopes,
        active=credential.revoked_at is None,
        created_at=wire_datetime(credential.created_at),
        api_key=UNSET if api_key is None else api_key,
        api_client_key=UNSET if credential.api_client_key is None else str(credential.api_client_key),
    )
