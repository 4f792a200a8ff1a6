"""Put a contact in place, at once for new operations and after a cool-down for use."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_destination
from aval.operations.fresh import new_key, sealed
from aval.operations.record_act import Author, record_act
from aval.operations.remove_contact import audited, end_contact
from aval.storage.approvers import lock_approver
from aval.storage.clock import read_clock
from aval.storage.contacts import Contact, had_contact, insert_contact, list_contacts
from aval.storage.database import Connection, Database
from aval.storage.integrators import find_integrator


async def register_contact(
    db: Database,
    *,
    integrator_key: UUID,
    approver_key: UUID,
    contact_type: Literal["sms", "email"],
    destination: str,
    keyring: Keyring,
    author: Author,
) -> Contact:
    """Replace the contact of its type, and promise the old destination a notice.

    The first contact of a type that the approver ever had is usable now, every other one after the integrator's
    cool-down; a removal in between does not shorten it.
    """
    async with db.transaction() as connection:
        if await lock_approver(connection, integrator_key, approver_key) is None:
            raise Refusal("qit.not_found")
        now = await read_clock(connection)
        contact = Contact(
            key=new_key(now),
            approver_key=approver_key,
            contact_type=contact_type,
            masked_destination=masked_destination(contact_type, destination),
            usable_at=await _usable_at(connection, integrator_key, approver_key, contact_type, now),
            created_at=now,
        )
        for former in await list_contacts(connection, integrator_key, approver_key):
            if former.contact_type == contact_type:
                await end_contact(connection, integrator_key, former, author=author, at=now)
        destination_sealed = sealed(keyring, destination, associated=f"contacts/{contact.key}")
        await insert_contact(connection, integrator_key, contact, destination_sealed=destination_sealed)
        await record_act(
            connection,
            author,
            "contact.registered",
            integrator_key=integrator_key,
            key=contact.key,
            at=now,
            details={"approver": approver_key, "after": audited(contact)},
        )
    return contact


async def _usable_at(
    connection: Connection, integrator_key: UUID, approver_key: UUID, contact_type: str, now: datetime
) -> datetime:
    if not await had_contact(connection, integrator_key, approver_key, contact_type):
        return now
    integrator = await find_integrator(connection, integrator_key)
    assert integrator is not None
    return now + integrator.settings.contact_cooldown
