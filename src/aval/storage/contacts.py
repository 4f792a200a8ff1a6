"""Where tokens may travel. The API role writes destinations and never reads them (promises.md D15)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.storage.database import Connection

_COLUMNS = "contact_id as key, approver_id as approver_key, contact_type, masked_destination, usable_at, created_at"


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact, without its destination."""

    key: UUID
    approver_key: UUID
    contact_type: str  # sms, email
    masked_destination: str
    usable_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SandboxDestination:
    """The sealed destination of a contact that belongs to a sandbox integrator."""

    contact_key: UUID
    destination_sealed: bytes = field(repr=False)


async def insert_contact(
    connection: Connection, integrator_key: UUID, contact: Contact, *, destination_sealed: bytes
) -> None:
    """Store a new contact; the one of its type has been removed before."""
    await connection.execute(
        "insert into contacts (integrator_id, contact_id, approver_id, contact_type, destination_sealed,"
        " masked_destination, usable_at, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        integrator_key,
        contact.key,
        contact.approver_key,
        contact.contact_type,
        destination_sealed,
        contact.masked_destination,
        contact.usable_at,
        contact.created_at,
    )


async def remove(connection: Connection, integrator_key: UUID, contact_key: UUID, at: datetime) -> None:
    """End a contact; its row stays, so that what was sent to it can be told later."""
    await connection.execute(
        "update contacts set removed_at = $3 where integrator_id = $1 and contact_id = $2",
        integrator_key,
        contact_key,
        at,
    )


async def list_contacts(
    connection: Connection,
    integrator_key: UUID,
    approver_key: UUID,
    *,
    offset: int = 0,
    limit: int = 2,
    is_newest_first: bool = False,
) -> list[Contact]:
    """Read the current contacts of an approver, at most one of each type."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        f"select {_COLUMNS} from contacts where integrator_id = $1 and approver_id = $2"  # noqa: S608
        f" and removed_at is null order by created_at {order}, contact_id {order} offset $3 limit $4",
        integrator_key,
        approver_key,
        offset,
        limit,
    )
    return [Contact(**row) for row in rows]


async def had_contact(connection: Connection, integrator_key: UUID, approver_key: UUID, contact_type: str) -> bool:
    """Tell whether the approver ever had a contact of the type, a removed one included."""
    found = await connection.fetchval(
        "select true from contacts where integrator_id = $1 and approver_id = $2 and contact_type = $3 limit 1",
        integrator_key,
        approver_key,
        contact_type,
    )
    return found is not None


async def insert_notice(
    connection: Connection,
    integrator_key: UUID,
    message_key: UUID,
    contact: Contact,
    *,
    payload: dict[str, str],
    correlation_id: str,
    at: datetime,
) -> None:
    """Promise a message without a token to a contact."""
    await connection.execute(
        "insert into outbox (integrator_id, message_id, topic, approver_id, contact_id, channel, payload,"
        " correlation_id, due_at, created_at) values ($1, $2, 'notice', $3, $4, $5, $6, $7, $8, $8)",
        integrator_key,
        message_key,
        contact.approver_key,
        contact.key,
        contact.contact_type,
        payload,
        correlation_id,
        at,
    )


async def find_contact_keys(connection: Connection, integrator_key: UUID, masked_destination: str) -> list[UUID]:
    """Find contacts, removed ones too, that look like a destination: the mask is all that can be searched."""
    rows = await connection.fetch(
        "select contact_id from contacts where integrator_id = $1 and masked_destination = $2",
        integrator_key,
        masked_destination,
    )
    return [row["contact_id"] for row in rows]


async def find_sandbox_destinations(
    connection: Connection, integrator_key: UUID, contact_keys: Sequence[UUID]
) -> list[SandboxDestination]:
    """Read sealed destinations through `sandbox_destinations`, which answers nothing for a live integrator."""
    rows = await connection.fetch(
        "select contact_id as contact_key, destination_sealed from sandbox_destinations($1, $2)",
        integrator_key,
        list(contact_keys),
    )
    return [SandboxDestination(**row) for row in rows]
