"""Where an integrator hears of its operations; secrets and extra headers are sealed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.storage.database import Connection

_COLUMNS = "endpoint_id as key, url, event_types, headers_sealed, secret_sealed, enabled, created_at"


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """A target for webhooks and the types it wants."""

    key: UUID
    url: str
    event_types: Sequence[str]
    headers_sealed: bytes | None = field(repr=False)
    secret_sealed: bytes = field(repr=False)
    enabled: bool
    created_at: datetime


async def insert_endpoint(connection: Connection, integrator_key: UUID, endpoint: WebhookEndpoint) -> None:
    """Store a new target."""
    await connection.execute(
        "insert into webhook_endpoints (integrator_id, endpoint_id, url, event_types, headers_sealed, secret_sealed,"
        " enabled, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
        integrator_key,
        endpoint.key,
        endpoint.url,
        list(endpoint.event_types),
        endpoint.headers_sealed,
        endpoint.secret_sealed,
        endpoint.enabled,
        endpoint.created_at,
    )


async def update_endpoint(
    connection: Connection, integrator_key: UUID, endpoint: WebhookEndpoint, at: datetime
) -> None:
    """Replace all but the secret."""
    await connection.execute(
        "update webhook_endpoints set url = $3, event_types = $4, headers_sealed = $5, enabled = $6, updated_at = $7"
        " where integrator_id = $1 and endpoint_id = $2",
        integrator_key,
        endpoint.key,
        endpoint.url,
        list(endpoint.event_types),
        endpoint.headers_sealed,
        endpoint.enabled,
        at,
    )


async def rotate_secret(
    connection: Connection,
    integrator_key: UUID,
    endpoint_key: UUID,
    *,
    secret_sealed: bytes,
    former_until: datetime,
    at: datetime,
) -> None:
    """Put a new secret in place; the one before still signs until `former_until`."""
    await connection.execute(
        "update webhook_endpoints set former_secret_sealed = secret_sealed, former_secret_until = $4,"
        " secret_sealed = $3, updated_at = $5 where integrator_id = $1 and endpoint_id = $2",
        integrator_key,
        endpoint_key,
        secret_sealed,
        former_until,
        at,
    )


async def delete_endpoint(connection: Connection, integrator_key: UUID, endpoint_key: UUID, at: datetime) -> None:
    """End a target; its row stays for the callbacks that name it, its secrets stay unusable."""
    await connection.execute(
        "update webhook_endpoints set deleted_at = $3, updated_at = $3, enabled = false"
        " where integrator_id = $1 and endpoint_id = $2",
        integrator_key,
        endpoint_key,
        at,
    )


async def lock_endpoint(connection: Connection, integrator_key: UUID, endpoint_key: UUID) -> WebhookEndpoint | None:
    """Lock a target and read it; None if the integrator has none of this key."""
    row = await connection.fetchrow(
        f"select {_COLUMNS} from webhook_endpoints"  # noqa: S608
        " where integrator_id = $1 and endpoint_id = $2 and deleted_at is null for no key update",
        integrator_key,
        endpoint_key,
    )
    return None if row is None else WebhookEndpoint(**row)


async def count_endpoints(connection: Connection, integrator_key: UUID) -> int:
    """Count the targets of an integrator."""
    count: int = await connection.fetchval(
        "select count(*) from webhook_endpoints where integrator_id = $1 and deleted_at is null", integrator_key
    )
    return count


async def list_endpoints(
    connection: Connection, integrator_key: UUID, *, offset: int, limit: int, is_newest_first: bool = False
) -> list[WebhookEndpoint]:
    """Read the targets of an integrator, oldest first unless told otherwise."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        f"select {_COLUMNS} from webhook_endpoints where integrator_id = $1 and deleted_at is null"  # noqa: S608
        f" order by created_at {order}, endpoint_id {order} offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    return [WebhookEndpoint(**row) for row in rows]
