"""Choose the templates that word the messages of an event."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.template import EVENT_TYPES, ChannelName, configuration_problem, invalid_template
from aval.operations.fresh import new_key
from aval.operations.record_act import Author, changed, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.integrators import lock_integrator, raise_version
from aval.storage.templates import (
    TemplateConfiguration,
    find_configuration,
    find_configuration_of_event,
    find_templates,
    insert_configuration,
    update_configuration,
)


async def configure_template(
    db: Database,
    *,
    integrator_key: UUID,
    configuration_key: UUID | None,
    event_type: str,
    template_keys: Mapping[ChannelName, UUID],
    author: Author,
) -> UUID:
    """Make a configuration, or with a key replace that one; messages promised from then on use its templates.

    The integrator's version rises, so that no process promises a message by the configuration it remembers.
    """
    async with db.transaction() as connection:
        await lock_integrator(connection, integrator_key)  # so that two calls cannot both be the first of an event
        stored = None
        if configuration_key is not None:
            stored = await find_configuration(connection, integrator_key, configuration_key)
            if stored is None:
                raise Refusal("pmb.template_not_found")
        await _refuse_templates(connection, integrator_key, event_type, template_keys)
        twin = await find_configuration_of_event(connection, integrator_key, event_type)
        if twin is not None and twin.key != configuration_key:
            raise Refusal("pmb.configuration_exists")
        now = await read_clock(connection)
        key = new_key(now) if stored is None else stored.key
        wanted = TemplateConfiguration(key, event_type, template_keys.get("sms"), template_keys.get("email"))
        await _store(connection, integrator_key, stored, wanted, author=author, at=now)
        await raise_version(connection, integrator_key, at=now)
    return key


async def _refuse_templates(
    connection: Connection, integrator_key: UUID, event_type: str, template_keys: Mapping[ChannelName, UUID]
) -> None:
    if event_type not in EVENT_TYPES:
        raise Refusal("pmb.invalid_notification")
    templates = await find_templates(connection, integrator_key, template_keys.values())
    if not templates.keys() >= set(template_keys.values()):
        raise Refusal("pmb.template_not_found")
    for channel, key in template_keys.items():
        if templates[key].channel != channel:
            raise Refusal("pmb.invalid_notification")
        problem = configuration_problem(templates[key], event_type)
        if problem is not None:
            raise invalid_template(problem)


async def _store(
    connection: Connection,
    integrator_key: UUID,
    stored: TemplateConfiguration | None,
    wanted: TemplateConfiguration,
    *,
    author: Author,
    at: datetime,
) -> None:
    if stored is None:
        await insert_configuration(connection, integrator_key, wanted, at)
        action, details = "template_configuration.created", {"after": audited(wanted)}
    else:
        await update_configuration(connection, integrator_key, wanted, at)
        action, details = "template_configuration.changed", changed(audited(stored), audited(wanted))
    await record_act(connection, author, action, integrator_key=integrator_key, key=wanted.key, at=at, details=details)


def audited(configuration: TemplateConfiguration) -> dict[str, Any]:
    """Tell what the audit keeps of a configuration."""
    return {
        "event_type": configuration.event_type,
        "sms_template_key": configuration.sms_key,
        "email_template_key": configuration.email_key,
    }
