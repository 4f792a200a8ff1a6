"""What callers prove themselves with: the credentials of integrators, and the look-up from them to the caller."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.principal import AdminActor, Principal
from aval.storage.database import Connection, Row
from aval.storage.integrators import INTEGRATOR_COLUMNS, integrator_of

_FIND_PRINCIPAL = f"""
    select c.credential_id, c.credential_type, c.scopes, c.public_key, {INTEGRATOR_COLUMNS}
      from credentials c join integrators i using (integrator_id)
     where c.revoked_at is null and i.active"""  # noqa: S608 – no value is put into it


@dataclass(frozen=True, slots=True)
class SignedPrincipal:
    """A caller who signs requests, with the public key (PEM, P-521) that proves them."""

    principal: Principal
    public_key_pem: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential as an administrator sees it: never the key or its hash."""

    key: UUID
    type: str  # bearer, signed
    scopes: list[str]
    api_client_key: UUID | None
    created_at: datetime
    revoked_at: datetime | None


async def find_principal_by_api_key_hashes(connection: Connection, hashes: Sequence[bytes]) -> Principal | None:
    """Find who an API key stands for, by its hash under any live key; None if unknown, revoked or inactive."""
    row = await connection.fetchrow(f"{_FIND_PRINCIPAL} and c.api_key_hash = any($1::bytea[])", hashes)
    return None if row is None else _principal_of(row)


async def find_principal_by_client_key(connection: Connection, client_key: UUID) -> SignedPrincipal | None:
    """Find who signs under a client key; None if unknown, revoked or inactive (see `knows_client_key`)."""
    row = await connection.fetchrow(f"{_FIND_PRINCIPAL} and c.api_client_key = $1", client_key)
    return None if row is None else SignedPrincipal(_principal_of(row), row["public_key"])


async def knows_client_key(connection: Connection, client_key: UUID) -> bool:
    """Tell a revoked client key (true: 401) from one that never was (false: 404)."""
    found = await connection.fetchval("select true from credentials where api_client_key = $1", client_key)
    return found is not None


async def find_admin_by_hashes(connection: Connection, hashes: Sequence[bytes]) -> AdminActor | None:
    """Find who an admin key stands for; None if unknown or revoked."""
    row = await connection.fetchrow(
        "select admin_key_id, name, scopes from admin_keys where key_hash = any($1::bytea[]) and revoked_at is null",
        hashes,
    )
    if row is None:
        return None
    return AdminActor(key=row["admin_key_id"], name=row["name"], scopes=frozenset(row["scopes"]))


async def insert_credential(
    connection: Connection,
    integrator_key: UUID,
    credential: Credential,
    *,
    api_key_hash: bytes | None,
    public_key: str | None,
) -> None:
    """Store a credential; of a bearer key only the keyed hash."""
    await connection.execute(
        "insert into credentials (integrator_id, credential_id, credential_type, scopes, api_client_key, created_at,"
        " api_key_hash, public_key) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        integrator_key,
        credential.key,
        credential.type,
        credential.scopes,
        credential.api_client_key,
        credential.created_at,
        api_key_hash,
        public_key,
    )


async def count_active_credentials(connection: Connection, integrator_key: UUID, credential_type: str) -> int:
    """Count the credentials of a type that are not revoked."""
    count: int = await connection.fetchval(
        "select count(*) from credentials where integrator_id = $1 and credential_type = $2 and revoked_at is null",
        integrator_key,
        credential_type,
    )
    return count


async def revoke(connection: Connection, integrator_key: UUID, credential_key: UUID, at: datetime) -> Credential | None:
    """End a credential and tell what it was; None if there is no active one of this key."""
    row = await connection.fetchrow(
        "update credentials set revoked_at = $3 where integrator_id = $1 and credential_id = $2 and revoked_at is null"
        " returning credential_id as key, credential_type as type, scopes, api_client_key, created_at, revoked_at",
        integrator_key,
        credential_key,
        at,
    )
    return None if row is None else Credential(**row)


async def list_credentials(
    connection: Connection, integrator_key: UUID, *, offset: int, limit: int, is_newest_first: bool = False
) -> list[Credential]:
    """Read the credentials of a tenant, revoked ones too, oldest first unless told otherwise."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        "select credential_id as key, credential_type as type, scopes, api_client_key, created_at, revoked_at"
        " from credentials where integrator_id = $1"
        f" order by created_at {order}, credential_id {order} offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    return [Credential(**row) for row in rows]


def _principal_of(row: Row) -> Principal:
    return Principal(
        integrator=integrator_of(row),
        credential_key=row["credential_id"],
        credential_type=row["credential_type"],
        scopes=frozenset(row["scopes"]),
    )
