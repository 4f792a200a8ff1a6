"""Change or end an application of a campaign."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.create_application import audited
from aval.operations.record_act import Author, changed, record_act
from aval.storage.applications import Application, lock_application, update_application
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database

REVOKED = "revoked"


async def change_application(
    db: Database, *, integrator_key: UUID, application_key: UUID, changes: Mapping[str, Any], author: Author
) -> Application:
    """Change name, scopes, webhook address or calls per minute; with `is_revoked` the application ends for good."""
    async with db.transaction() as connection:
        former = await locked_application(connection, integrator_key, application_key)
        now = await read_clock(connection)
        values = dict(changes)
        is_revoked = values.pop("is_revoked", False)
        new = replace(former, **values, revoked_at=now if is_revoked else None)
        await update_application(connection, integrator_key, new, now)
        await record_act(
            connection,
            author,
            "application.revoked" if is_revoked else "application.changed",
            integrator_key=integrator_key,
            key=application_key,
            at=now,
            details=None if is_revoked else changed(audited(former), audited(new)),
        )
    return new


async def locked_application(connection: Connection, integrator_key: UUID, application_key: UUID) -> Application:
    """Lock an application that is at work; refused if it is unknown or revoked."""
    found = await lock_application(connection, integrator_key, application_key)
    if found is None:
        raise Refusal("rdm.resource_not_found", extra_fields={"resource": "application"})
    if found.revoked_at is not None:
        raise Refusal("rdm.wrong_status", extra_fields={"status": REVOKED})
    return found
