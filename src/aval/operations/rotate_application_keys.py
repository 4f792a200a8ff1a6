"""Give an application another API key, or take one away: two at a time, for rotation."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.change_application import locked_application
from aval.operations.create_credential import ACTIVE_MAX, API_KEY_PREFIXES
from aval.operations.fresh import new_api_key, new_key
from aval.operations.record_act import Author, record_act
from aval.storage.applications import ApplicationKey, insert_application_key, list_active_keys, revoke_key
from aval.storage.clock import read_clock
from aval.storage.database import Database


async def create_application_key(
    db: Database, *, integrator_key: UUID, application_key: UUID, mode: str, keyring: Keyring, author: Author
) -> tuple[ApplicationKey, str]:
    """Store an API key and return it, which is shown this once; a third active one is refused."""
    api_key = new_api_key(API_KEY_PREFIXES[mode])
    async with db.transaction() as connection:
        await locked_application(connection, integrator_key, application_key)
        if len(await list_active_keys(connection, integrator_key, [application_key])) >= ACTIVE_MAX:
            raise Refusal("rdm.wrong_status", extra_fields={"status": "active"})
        now = await read_clock(connection)
        key = ApplicationKey(new_key(now), application_key, now)
        await insert_application_key(
            connection, integrator_key, key, api_key_hash=keyring.credential_hashes(api_key)[0]
        )
        await record_act(
            connection,
            author,
            "application_key.created",
            integrator_key=integrator_key,
            key=key.key,
            at=now,
            details={"application": application_key},
        )
    return key, api_key


async def revoke_application_key(
    db: Database, *, integrator_key: UUID, application_key: UUID, key: UUID, author: Author
) -> None:
    """End an API key, which is dead at the next request; an unknown or revoked one is refused."""
    async with db.transaction() as connection:
        await locked_application(connection, integrator_key, application_key)
        now = await read_clock(connection)
        if not await revoke_key(connection, integrator_key, application_key, key, now):
            raise Refusal("rdm.resource_not_found", extra_fields={"resource": "key"})
        await record_act(
            connection,
            author,
            "application_key.revoked",
            integrator_key=integrator_key,
            key=key,
            at=now,
            details={"application": application_key},
        )
