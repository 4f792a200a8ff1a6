"""Take a contact away, and tell it so."""

from datetime import datetime
from uuid import UUID

from aval.domain.calendar import wire_datetime
from aval.domain.errors import Refusal
from aval.operations.fresh import new_key
from aval.operations.record_act import Author, record_act
from aval.storage.approvers import lock_approver
from aval.storage.clock import read_clock
from aval.storage.contacts import Contact, insert_notice, list_contacts, remove
from aval.storage.database import Connection, Database

NOTICE = {"notice": "contact_replaced"}


async def remove_contact(
    db: Database, *, integrator_key: UUID, approver_key: UUID, contact_key: UUID, author: Author
) -> None:
    """End a contact; its destination gets a notice, so that removing first and registering then tells it too."""
    async with db.transaction() as connection:
        if await lock_approver(connection, integrator_key, approver_key) is None:
            raise Refusal("qit.not_found")
        current = await list_contacts(connection, integrator_key, approver_key)
        contact = next((contact for contact in current if contact.key == contact_key), None)
        if contact is None:
            raise Refusal("qit.not_found")
        await end_contact(connection, integrator_key, contact, author=author, at=await read_clock(connection))


def audited(contact: Contact) -> dict[str, str]:
    """Turn a contact into what its audit row holds: the destination masked."""
    return {
        "type": contact.contact_type,
        "destination": contact.masked_destination,
        "usable_at": wire_datetime(contact.usable_at),
    }


async def end_contact(
    connection: Connection, integrator_key: UUID, contact: Contact, *, author: Author, at: datetime
) -> None:
    """End a contact within the caller's transaction, which holds the approver's lock."""
    await remove(connection, integrator_key, contact.key, at)
    await insert_notice(
        connection,
        integrator_key,
        new_key(at),
        contact,
        payload=NOTICE,
        correlation_id=author.correlation_id,
        at=at,
    )
    await record_act(
        connection,
        author,
        "contact.removed",
        integrator_key=integrator_key,
        key=contact.key,
        at=at,
        details={"approver": contact.approver_key, "before": audited(contact)},
    )
