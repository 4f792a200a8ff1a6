"""Message templates of integrators, and which one words the messages of an event."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.template import MessageTemplate
from aval.storage.database import Connection, Row

_CONFIGURATION = "configuration_id as key, event_type, sms_template_id as sms_key, email_template_id as email_key"


@dataclass(frozen=True, slots=True)
class TemplateConfiguration:
    """The templates of one event; without one for a channel the default text is used."""

    key: UUID
    event_type: str
    sms_key: UUID | None
    email_key: UUID | None


async def insert_template(
    connection: Connection, integrator_key: UUID, template_key: UUID, template: MessageTemplate, at: datetime
) -> None:
    """Store a template, for good."""
    await connection.execute(
        "insert into templates (integrator_id, template_id, template_type, subject, body, created_at)"
        " values ($1, $2, $3, $4, $5, $6)",
        integrator_key,
        template_key,
        template.channel,
        template.subject,
        template.body,
        at,
    )


async def find_templates(
    connection: Connection, integrator_key: UUID, template_keys: Iterable[UUID]
) -> dict[UUID, MessageTemplate]:
    """Read the templates of these keys that the integrator has."""
    rows = await connection.fetch(
        "select template_id, template_type, subject, body from templates"
        " where integrator_id = $1 and template_id = any($2)",
        integrator_key,
        list(template_keys),
    )
    return {row["template_id"]: _template(row) for row in rows}


async def list_templates(
    connection: Connection, integrator_key: UUID, *, is_newest_first: bool, offset: int, limit: int
) -> list[tuple[UUID, MessageTemplate]]:
    """Read the templates of an integrator with their keys."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        "select template_id, template_type, subject, body from templates where integrator_id = $1"  # noqa: S608
        f" order by created_at {order}, template_id {order} offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    return [(row["template_id"], _template(row)) for row in rows]


async def insert_configuration(
    connection: Connection, integrator_key: UUID, configuration: TemplateConfiguration, at: datetime
) -> None:
    """Store a new configuration."""
    await connection.execute(
        "insert into template_configurations (integrator_id, configuration_id, event_type, sms_template_id,"
        " email_template_id, created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $6)",
        integrator_key,
        configuration.key,
        configuration.event_type,
        configuration.sms_key,
        configuration.email_key,
        at,
    )


async def update_configuration(
    connection: Connection, integrator_key: UUID, configuration: TemplateConfiguration, at: datetime
) -> None:
    """Replace a configuration."""
    await connection.execute(
        "update template_configurations set event_type = $3, sms_template_id = $4, email_template_id = $5,"
        " updated_at = $6 where integrator_id = $1 and configuration_id = $2",
        integrator_key,
        configuration.key,
        configuration.event_type,
        configuration.sms_key,
        configuration.email_key,
        at,
    )


async def find_configuration(
    connection: Connection, integrator_key: UUID, configuration_key: UUID
) -> TemplateConfiguration | None:
    """Read one configuration; None if the integrator has none of this key."""
    row = await connection.fetchrow(
        f"select {_CONFIGURATION} from template_configurations"  # noqa: S608
        " where integrator_id = $1 and configuration_id = $2",
        integrator_key,
        configuration_key,
    )
    return None if row is None else TemplateConfiguration(**row)


async def find_configuration_of_event(
    connection: Connection, integrator_key: UUID, event_type: str
) -> TemplateConfiguration | None:
    """Read the configuration of an event; None if it has the default texts."""
    row = await connection.fetchrow(
        f"select {_CONFIGURATION} from template_configurations"  # noqa: S608
        " where event_type = $2 and integrator_id = $1",
        integrator_key,
        event_type,
    )
    return None if row is None else TemplateConfiguration(**row)


async def list_configurations(
    connection: Connection, integrator_key: UUID, *, is_newest_first: bool, offset: int, limit: int
) -> list[TemplateConfiguration]:
    """Read the configurations of an integrator."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        f"select {_CONFIGURATION} from template_configurations where integrator_id = $1"  # noqa: S608
        f" order by created_at {order}, configuration_id {order} offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    return [TemplateConfiguration(**row) for row in rows]


def _template(row: Row) -> MessageTemplate:
    return MessageTemplate(row["template_type"], row["body"], row["subject"])
