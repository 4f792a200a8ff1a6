"""Tell the approver's other contacts that a device may approve from now on: one they did not register is noticed."""

from collections.abc import Iterable

from aval.operations.fresh import new_key
from aval.storage.challenges import Decision
from aval.storage.contacts import insert_notice, list_contacts
from aval.storage.database import Connection


async def notify_contacts(connection: Connection, activations: Iterable[Decision]) -> None:
    """Promise the notices within the transaction that made the devices active."""
    for activation in activations:
        registration = activation.transfer
        contacts = await list_contacts(connection, registration.integrator_key, registration.approver_key)
        for contact in contacts:
            if contact.key == activation.before.contact_key:  # it has just got the token, with the device's name
                continue
            await insert_notice(
                connection,
                registration.integrator_key,
                new_key(activation.at),
                contact,
                payload={"notice": "device_registered", "device_name": registration.device_name or ""},
                correlation_id=activation.correlation_id,
                at=activation.at,
            )
