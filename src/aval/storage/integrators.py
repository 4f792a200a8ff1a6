"""Integrators: how a row becomes one, and every write to it. A campaign is a tenant too, and none of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from aval.domain.integrator import SETTING_NAMES, IntegratorSettings
from aval.domain.money import Brl
from aval.domain.principal import Integrator
from aval.storage.database import Connection, Row

# Selected wherever a principal is read; the alias of the table is `i`.
INTEGRATOR_COLUMNS = """i.integrator_id, i.name as integrator_name, i.ispb, i.mode, i.locale, i.settlement_mode,
    i.sync_wait_seconds, i.approval_window_minutes, i.resend_cooldown_seconds, i.max_resends, i.token_alphabets,
    i.require_sha256, i.signature_window_seconds, i.contact_cooldown_hours, i.ted_hours, i.requests_per_second,
    i.budgets, i.rail_url, i.rail_secret_sealed, i.fixed_token, i.active as is_integrator_active,
    i.pix_fee_centavos as integrator_pix_fee, i.ted_fee_centavos as integrator_ted_fee, i.version,
    (select jsonb_object_agg(event_type, jsonb_build_object('sms', sms_template_id, 'email', email_template_id))
       from template_configurations where integrator_id = i.integrator_id) as templates"""

_IS_INTEGRATOR = "tenant_type = 'integrator'"  # campaigns have an administration of their own (docs/adr/0034)
_SETTINGS = ", ".join(SETTING_NAMES)
_PLACES = ", ".join(f"${place}" for place in range(4, 4 + len(SETTING_NAMES)))


def integrator_of(row: Row) -> Integrator:
    """Turn a row that holds INTEGRATOR_COLUMNS into an Integrator."""
    return Integrator(
        key=row["integrator_id"],
        name=row["integrator_name"],
        ispb=row["ispb"],
        mode=row["mode"],
        locale=row["locale"],
        settlement_mode=row["settlement_mode"],
        sync_wait=timedelta(seconds=row["sync_wait_seconds"]),
        approval_window=timedelta(minutes=row["approval_window_minutes"]),
        resend_cooldown=timedelta(seconds=row["resend_cooldown_seconds"]),
        max_resends=row["max_resends"],
        token_alphabets=row["token_alphabets"],
        require_sha256=row["require_sha256"],
        signature_window=timedelta(seconds=row["signature_window_seconds"]),
        contact_cooldown=timedelta(hours=row["contact_cooldown_hours"]),
        ted_hours=row["ted_hours"],
        requests_per_second=row["requests_per_second"],
        budgets=row["budgets"],
        rail_url=row["rail_url"],
        rail_secret_sealed=row["rail_secret_sealed"],
        fixed_token=row["fixed_token"],
        active=row["is_integrator_active"],
        pix_fee=row["integrator_pix_fee"],
        ted_fee=row["integrator_ted_fee"],
        version=row["version"],
        templates=_templates_of(row["templates"] or {}),
    )


def _templates_of(configured: Mapping[str, Mapping[str, str | None]]) -> dict[str, dict[str, UUID]]:
    return {event: {channel: UUID(key) for channel, key in keys.items() if key} for event, keys in configured.items()}


@dataclass(frozen=True, slots=True)
class StoredIntegrator:
    """A tenant as an administrator sees it."""

    key: UUID
    settings: IntegratorSettings
    rail_secret_sealed: bytes | None = field(repr=False)
    pix_fee: Brl
    ted_fee: Brl
    created_at: datetime
    updated_at: datetime


async def insert_integrator(
    connection: Connection,
    integrator_key: UUID,
    settings: IntegratorSettings,
    *,
    rail_secret_sealed: bytes | None,
    at: datetime,
) -> None:
    """Store a new tenant."""
    await connection.execute(
        f"insert into integrators (integrator_id, rail_secret_sealed, created_at, updated_at, {_SETTINGS})"  # noqa: S608
        f" values ($1, $2, $3, $3, {_PLACES})",
        integrator_key,
        rail_secret_sealed,
        at,
        *_values(settings),
    )


async def update_integrator(
    connection: Connection,
    integrator_key: UUID,
    settings: IntegratorSettings,
    *,
    rail_secret_sealed: bytes | None,
    at: datetime,
) -> None:
    """Replace the settings and raise the version, so that every cached principal of it is void."""
    await connection.execute(
        f"update integrators set rail_secret_sealed = $2, updated_at = $3, version = version + 1,"  # noqa: S608
        f" ({_SETTINGS}) = row ({_PLACES}) where integrator_id = $1",
        integrator_key,
        rail_secret_sealed,
        at,
        *_values(settings),
    )


async def update_integrator_fees(
    connection: Connection, integrator_key: UUID, *, pix_fee: Brl, ted_fee: Brl, at: datetime
) -> None:
    """Set what an item costs where its account has no fee of its own."""
    await connection.execute(
        "update integrators set pix_fee_centavos = $2, ted_fee_centavos = $3, updated_at = $4, version = version + 1"
        " where integrator_id = $1",
        integrator_key,
        pix_fee.centavos,
        ted_fee.centavos,
        at,
    )


async def raise_version(connection: Connection, integrator_key: UUID, *, at: datetime) -> None:
    """Make every cached principal of a tenant void, because something it holds beside the settings changed."""
    await connection.execute(
        "update integrators set updated_at = $2, version = version + 1 where integrator_id = $1", integrator_key, at
    )


async def lock_integrator(connection: Connection, integrator_key: UUID) -> StoredIntegrator | None:
    """Lock a tenant against changes by others and read it; None if unknown."""
    row = await connection.fetchrow(
        f"select * from integrators where integrator_id = $1 and {_IS_INTEGRATOR} for no key update",  # noqa: S608
        integrator_key,
    )
    return None if row is None else _stored(row)


async def find_integrator(connection: Connection, integrator_key: UUID) -> StoredIntegrator | None:
    """Read a tenant; None if unknown."""
    row = await connection.fetchrow(
        f"select * from integrators where integrator_id = $1 and {_IS_INTEGRATOR}",  # noqa: S608
        integrator_key,
    )
    return None if row is None else _stored(row)


async def list_integrators(
    connection: Connection, *, offset: int, limit: int, is_newest_first: bool = False
) -> list[StoredIntegrator]:
    """Read tenants, oldest first unless told otherwise."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        f"select * from integrators where {_IS_INTEGRATOR}"  # noqa: S608
        f" order by created_at {order}, integrator_id {order} offset $1 limit $2",
        offset,
        limit,
    )
    return [_stored(row) for row in rows]


def _stored(row: Row) -> StoredIntegrator:
    values = {name: row[name] for name in SETTING_NAMES}
    return StoredIntegrator(
        key=row["integrator_id"],
        settings=IntegratorSettings(**values | {"origins": tuple(values["origins"])}),
        rail_secret_sealed=row["rail_secret_sealed"],
        pix_fee=Brl(row["pix_fee_centavos"]),
        ted_fee=Brl(row["ted_fee_centavos"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _values(settings: IntegratorSettings) -> list[Any]:
    return [getattr(settings, name) for name in SETTING_NAMES]
