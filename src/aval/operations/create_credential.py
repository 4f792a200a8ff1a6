"""Give an integrator a credential."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.fresh import new_api_key, new_client_key, new_key
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.credentials import Credential, count_active_credentials, insert_credential
from aval.storage.database import Database
from aval.storage.integrators import lock_integrator

ACTIVE_MAX = 2  # of each type, spec transfers.md §2.2
SCOPES = (  # spec transfers.md §8
    "devices:write",
    "notifications:write",
    "sandbox",
    "transfers:read",
    "transfers:write",
    "webhooks:write",
)
API_KEY_PREFIXES = {"sandbox": "aval_test_", "live": "aval_live_"}


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential, and of a bearer one the key that is shown this once."""

    credential: Credential
    api_key: str | None = field(repr=False)


async def create_credential(
    db: Database,
    *,
    integrator_key: UUID,
    credential_type: str,
    scopes: Sequence[str],
    public_key: str | None,
    keyring: Keyring,
    author: Author,
) -> NewCredential:
    """Make a bearer key or register a public key (PEM, P-521); a third active one of a type is refused."""
    async with db.transaction() as connection:
        integrator = await lock_integrator(connection, integrator_key)
        if integrator is None:
            raise Refusal("qit.not_found")
        if await count_active_credentials(connection, integrator_key, credential_type) >= ACTIVE_MAX:
            raise Refusal("qit.conflict")
        now = await read_clock(connection)
        is_bearer = credential_type == "bearer"
        api_key = new_api_key(API_KEY_PREFIXES[integrator.settings.mode]) if is_bearer else None
        client_key = None if is_bearer else new_client_key()
        credential = Credential(new_key(now), credential_type, sorted(set(scopes)), client_key, now, None)
        await insert_credential(
            connection,
            integrator_key,
            credential,
            api_key_hash=keyring.credential_hashes(api_key)[0] if api_key else None,
            public_key=public_key,
        )
        await record_act(
            connection,
            author,
            "credential.created",
            integrator_key=integrator_key,
            key=credential.key,
            at=now,
            details={"after": {"type": credential_type, "scopes": credential.scopes}},
        )
    return NewCredential(credential, api_key)
