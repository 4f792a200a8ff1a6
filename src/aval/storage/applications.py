"""Applications of campaigns and their API keys; of every secret only the keyed hash is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.storage.database import Connection

_COLUMNS = (
    "a.application_id as key, a.name, a.scopes, a.calls_per_minute, a.created_at, a.revoked_at,"
    " nullif(w.url, '') as webhook_url"
)
# The webhook endpoint of an application has its key; without an address it is off.
_TABLES = (
    "applications a left join webhook_endpoints w"
    " on w.integrator_id = a.integrator_id and w.endpoint_id = a.application_id"
)


@dataclass(frozen=True, slots=True)
class Application:
    """A program of a campaign, as its operator sees it."""

    key: UUID
    name: str
    scopes: Sequence[str]
    calls_per_minute: int | None
    created_at: datetime
    revoked_at: datetime | None
    webhook_url: str | None


@dataclass(frozen=True, slots=True)
class ApplicationKey:
    """One of the API keys of an application, without the key."""

    key: UUID
    application_key: UUID
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """An application as OAuth2 meets it."""

    integrator_key: UUID
    application_key: UUID
    scopes: frozenset[str]
    secret_hash: bytes = field(repr=False)


async def insert_application(
    connection: Connection,
    integrator_key: UUID,
    application: Application,
    *,
    client_secret_hash: bytes,
    subscription_key_hash: bytes,
) -> None:
    """Store a new application."""
    await connection.execute(
        "insert into applications (integrator_id, application_id, name, client_secret_hash, subscription_key_hash,"
        " scopes, calls_per_minute, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        integrator_key,
        application.key,
        application.name,
        client_secret_hash,
        subscription_key_hash,
        list(application.scopes),
        application.calls_per_minute,
        application.created_at,
    )


async def update_application(
    connection: Connection, integrator_key: UUID, application: Application, at: datetime
) -> None:
    """Replace what may change of an application, and the address of its endpoint; the caller holds its lock."""
    await connection.execute(
        "with changed as (update applications set name = $3, scopes = $4, calls_per_minute = $5, revoked_at = $6,"
        "  updated_at = $7 where integrator_id = $1 and application_id = $2)"
        " update webhook_endpoints set url = coalesce($8, ''), enabled = $8 is not null and $6::timestamptz is null,"
        "  updated_at = $7 where integrator_id = $1 and endpoint_id = $2",
        integrator_key,
        application.key,
        application.name,
        list(application.scopes),
        application.calls_per_minute,
        application.revoked_at,
        at,
        application.webhook_url,
    )


async def lock_application(connection: Connection, integrator_key: UUID, application_key: UUID) -> Application | None:
    """Lock an application and read it; None if the campaign has none of this key."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from {_TABLES} where a.integrator_id = $1 and a.application_id = $2"  # noqa: S608
        " for no key update of a",
        integrator_key,
        application_key,
    )
    return None if row is None else Application(**row)


async def list_applications(
    connection: Connection, integrator_key: UUID, *, offset: int, limit: int
) -> tuple[list[Application], int]:
    """Read the applications of a campaign, oldest first, revoked ones too, and tell how many there are."""
    rows = await connection.fetch(
        f"select {_COLUMNS} from {_TABLES} where a.integrator_id = $1"  # noqa: S608
        " order by a.created_at, a.application_id offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    total: int = await connection.fetchval("select count(*) from applications where integrator_id = $1", integrator_key)
    return [Application(**row) for row in rows], total


async def find_client(connection: Connection, application_key: UUID) -> Client | None:
    """Find an application by its `client_id`, for OAuth2; None if it is unknown or revoked."""
    row = await connection.fetchrow(
        "select integrator_id, application_id, scopes, client_secret_hash from applications"
        " where application_id = $1 and revoked_at is null",
        application_key,
    )
    if row is None:
        return None
    return Client(row["integrator_id"], row["application_id"], frozenset(row["scopes"]), row["client_secret_hash"])


async def insert_application_key(
    connection: Connection, integrator_key: UUID, key: ApplicationKey, *, api_key_hash: bytes
) -> None:
    """Store an API key."""
    await connection.execute(
        "insert into application_keys (integrator_id, key_id, application_id, api_key_hash, created_at)"
        " values ($1, $2, $3, $4, $5)",
        integrator_key,
        key.key,
        key.application_key,
        api_key_hash,
        key.created_at,
    )


async def list_active_keys(
    connection: Connection, integrator_key: UUID, application_keys: Sequence[UUID]
) -> list[ApplicationKey]:
    """Read the API keys of applications that are not revoked, oldest first."""
    rows = await connection.fetch(
        "select key_id as key, application_id as application_key, created_at, revoked_at from application_keys"
        " where integrator_id = $1 and application_id = any($2) and revoked_at is null order by created_at, key_id",
        integrator_key,
        list(application_keys),
    )
    return [ApplicationKey(**row) for row in rows]


async def revoke_key(
    connection: Connection, integrator_key: UUID, application_key: UUID, key: UUID, at: datetime
) -> bool:
    """End an API key; false if the application has no active one of this key."""
    tag = await connection.execute(
        "update application_keys set revoked_at = $4"
        " where integrator_id = $1 and application_id = $2 and key_id = $3 and revoked_at is null",
        integrator_key,
        application_key,
        key,
        at,
    )
    return tag == "UPDATE 1"
