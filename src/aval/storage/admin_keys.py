"""Keys of those who administer the deployment; only a keyed hash of each is kept."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.storage.database import Connection

_COLUMNS = "admin_key_id as key, name, scopes, created_at, revoked_at"


@dataclass(frozen=True, slots=True)
class AdminKey:
    """An admin key as listed; names are unique among active ones."""

    key: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None = None


async def insert_admin_key(connection: Connection, admin_key: AdminKey, *, key_hash: bytes) -> None:
    """Store an admin key by its hash."""
    await connection.execute(
        "insert into admin_keys (admin_key_id, name, key_hash, scopes, created_at) values ($1, $2, $3, $4, $5)",
        admin_key.key,
        admin_key.name,
        key_hash,
        admin_key.scopes,
        admin_key.created_at,
    )


async def revoke_by_name(connection: Connection, name: str, at: datetime) -> UUID | None:
    """End the active key of this name and tell which it was; None if there is none."""
    revoked: UUID | None = await connection.fetchval(
        "update admin_keys set revoked_at = $2 where name = $1 and revoked_at is null returning admin_key_id", name, at
    )
    return revoked


async def list_admin_keys(connection: Connection) -> list[AdminKey]:
    """Read all admin keys, revoked ones too, oldest first."""
    rows = await connection.fetch(f"select {_COLUMNS} from admin_keys order by created_at, admin_key_id")  # noqa: S608
    return [AdminKey(**row) for row in rows]
