"""Make a tenant."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from aval.domain.errors import schema_refusal
from aval.domain.integrator import IntegratorSettings, settings_problems
from aval.domain.keyring import Keyring
from aval.domain.money import ZERO
from aval.operations.fresh import new_key, new_webhook_secret, sealed
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.integrators import StoredIntegrator, insert_integrator


async def create_integrator(
    db: Database, *, settings: IntegratorSettings, keyring: Keyring, is_production: bool, author: Author
) -> tuple[StoredIntegrator, str | None]:
    """Store a tenant; with it the secret of its rail if it has one, which is shown this once."""
    refuse_settings(settings, is_production=is_production)
    async with db.transaction() as connection:
        now = await read_clock(connection)
        key = new_key(now)
        secret, secret_sealed = new_rail_secret(keyring, key) if settings.rail_url else (None, None)
        await insert_integrator(connection, key, settings, rail_secret_sealed=secret_sealed, at=now)
        details = {"after": audited(settings)}
        await record_act(connection, author, "integrator.created", integrator_key=key, key=key, at=now, details=details)
    return StoredIntegrator(key, settings, secret_sealed, ZERO, ZERO, now, now), secret


def refuse_settings(settings: IntegratorSettings, *, is_production: bool) -> None:
    """Raise for settings that the mode or the deployment does not allow."""
    problems = list(settings_problems(settings, is_production=is_production))
    if problems:
        raise schema_refusal(*problems)


def new_rail_secret(keyring: Keyring, integrator_key: UUID) -> tuple[str, bytes]:
    """Make the secret shared with a rail, in the clear and sealed."""
    secret = new_webhook_secret()
    return secret, sealed(keyring, secret, associated=f"integrators/{integrator_key}/rail_secret")


def audited(settings: IntegratorSettings) -> dict[str, Any]:
    """Turn settings into what an audit row may hold: of a fixed token only that there is one."""
    return {**asdict(settings), "fixed_token": settings.fixed_token is not None}
