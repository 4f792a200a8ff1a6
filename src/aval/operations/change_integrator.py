"""Change the settings of a tenant."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.create_integrator import audited, new_rail_secret, refuse_settings
from aval.operations.record_act import Author, changed, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.integrators import StoredIntegrator, lock_integrator, update_integrator


async def change_integrator(
    db: Database,
    *,
    integrator_key: UUID,
    changes: Mapping[str, Any],
    keyring: Keyring,
    is_production: bool,
    author: Author,
) -> tuple[StoredIntegrator, str | None]:
    """Put the given settings in place of the stored ones; a rail that was not there before gets its secret now."""
    async with db.transaction() as connection:
        stored = await lock_integrator(connection, integrator_key)
        if stored is None:
            raise Refusal("qit.not_found")
        settings = replace(stored.settings, **changes)
        refuse_settings(settings, is_production=is_production)
        secret, secret_sealed = None, stored.rail_secret_sealed
        if settings.rail_url is None:
            secret_sealed = None
        elif secret_sealed is None:
            secret, secret_sealed = new_rail_secret(keyring, integrator_key)
        now = await read_clock(connection)
        await update_integrator(connection, integrator_key, settings, rail_secret_sealed=secret_sealed, at=now)
        details = changed(audited(stored.settings), audited(settings))
        await record_act(
            connection,
            author,
            "integrator.changed",
            integrator_key=integrator_key,
            key=integrator_key,
            at=now,
            details=details,
        )
    return replace(stored, settings=settings, rail_secret_sealed=secret_sealed, updated_at=now), secret
