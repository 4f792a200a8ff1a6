"""Campaigns: how a row becomes a Campaign, and every write to it. A campaign is a tenant (docs/adr/0034)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.campaign import Campaign, OidcSettings, TwoFactorPolicy
from aval.storage.database import Connection, Row

# Selected wherever a campaign is read, with the current version of its policy: k campaigns, i integrators, y policies.
CAMPAIGN_COLUMNS = (
    "k.integrator_id as tenant_key, k.campaign_id, k.client_id, i.name as campaign_name, i.mode, i.locale,"
    " k.status as campaign_status, k.catalogs, k.vendors, k.timezone, k.policy_version, y.policy"
)
# In this order: connections of hot statements join as written.
CAMPAIGN_TABLES = (
    "campaigns k join integrators i on i.integrator_id = k.integrator_id"
    " join two_factor_policies y on y.integrator_id = k.integrator_id and y.version = k.policy_version"
)
_STORED = f"select {CAMPAIGN_COLUMNS}, k.oidc, k.created_at, k.updated_at from {CAMPAIGN_TABLES}"  # noqa: S608


def campaign_of(row: Row) -> Campaign:
    """Turn a row that holds CAMPAIGN_COLUMNS into a Campaign."""
    return Campaign(
        key=row["tenant_key"],
        campaign_id=row["campaign_id"],
        client_id=row["client_id"],
        name=row["campaign_name"],
        mode=row["mode"],
        status=row["campaign_status"],
        locale=row["locale"],
        timezone=row["timezone"],
        catalogs=row["catalogs"],
        vendors=row["vendors"],
        policy_version=row["policy_version"],
        policy=policy_of(row["policy"]),
    )


def policy_of(value: Any) -> TwoFactorPolicy:
    """Turn the column `policy` into the policy it holds."""
    return msgspec.convert(value, TwoFactorPolicy)


def oidc_of(value: Any) -> OidcSettings | None:
    """Turn the column `oidc` into settings; None until the operator has told them."""
    return None if value is None else msgspec.convert(value, OidcSettings)


@dataclass(frozen=True, slots=True)
class StoredCampaign:
    """A campaign as the operator sees it."""

    campaign: Campaign
    oidc: OidcSettings | None
    created_at: datetime
    updated_at: datetime


async def insert_campaign(connection: Connection, stored: StoredCampaign, *, changed_by: str) -> None:
    """Store a new campaign: its row as a tenant, its own, and version 1 of its policy; its id is unique."""
    campaign = stored.campaign
    budgets = not campaign.is_sandbox
    await connection.execute(
        "with tenant as ("
        " insert into integrators (integrator_id, tenant_type, name, mode, locale, budgets, created_at, updated_at)"
        " values ($1, 'campaign', $2, $3, $4, $5, $6, $6)), own as ("
        " insert into campaigns (integrator_id, campaign_id, client_id, status, catalogs, vendors, timezone, oidc,"
        " policy_version, created_at, updated_at) values ($1, $7, $8, $9, $10, $11, $12, $13, $14, $6, $6))"
        " insert into two_factor_policies (integrator_id, version, policy, changed_by, changed_at)"
        " values ($1, $14, $15, $16, $6)",
        campaign.key,
        campaign.name,
        campaign.mode,
        campaign.locale,
        budgets,
        stored.created_at,
        campaign.campaign_id,
        campaign.client_id,
        campaign.status,
        dict(campaign.catalogs),
        dict(campaign.vendors),
        campaign.timezone,
        _oidc_value(stored.oidc),
        campaign.policy_version,
        msgspec.json.encode(campaign.policy),
        changed_by,
    )


async def update_campaign(connection: Connection, stored: StoredCampaign, *, at: datetime) -> None:
    """Replace what may change of a campaign; the caller holds its lock."""
    campaign = stored.campaign
    await connection.execute(
        "with tenant as (update integrators set name = $2, locale = $3, updated_at = $4, version = version + 1"
        "  where integrator_id = $1)"
        " update campaigns set client_id = $5, status = $6, catalogs = $7, vendors = $8, timezone = $9, oidc = $10,"
        "  updated_at = $4 where integrator_id = $1",
        campaign.key,
        campaign.name,
        campaign.locale,
        at,
        campaign.client_id,
        campaign.status,
        dict(campaign.catalogs),
        dict(campaign.vendors),
        campaign.timezone,
        _oidc_value(stored.oidc),
    )


async def find_campaign(connection: Connection, campaign_id: str) -> StoredCampaign | None:
    """Read a campaign by the id its operator chose; None if there is none."""
    row = await connection.fetchrow(f"{_STORED} where k.campaign_id = $1", campaign_id)
    return None if row is None else _stored(row)


async def lock_campaign(connection: Connection, campaign_id: str) -> StoredCampaign | None:
    """Lock a campaign against changes by others, its policy's too, and read it; None if there is none."""
    key = await connection.fetchval(
        "select integrator_id from campaigns where campaign_id = $1 for no key update", campaign_id
    )
    if key is None:
        return None
    row = await connection.fetchrow(f"{_STORED} where k.integrator_id = $1", key)  # what is committed by now
    assert row is not None
    return _stored(row)


async def find_tenant(connection: Connection, tenant_key: UUID) -> StoredCampaign | None:
    """Read a campaign by its tenant key; None if it is no campaign's."""
    row = await connection.fetchrow(f"{_STORED} where k.integrator_id = $1", tenant_key)
    return None if row is None else _stored(row)


async def list_campaigns(connection: Connection, *, offset: int, limit: int) -> tuple[list[StoredCampaign], int]:
    """Read campaigns in the order of their making, and tell how many there are."""
    rows = await connection.fetch(f"{_STORED} order by k.created_at, k.integrator_id offset $1 limit $2", offset, limit)
    total: int = await connection.fetchval("select count(*) from campaigns")
    return [_stored(row) for row in rows], total


def _stored(row: Row) -> StoredCampaign:
    return StoredCampaign(campaign_of(row), oidc_of(row["oidc"]), row["created_at"], row["updated_at"])


def _oidc_value(oidc: OidcSettings | None) -> Mapping[str, Any] | None:
    return None if oidc is None else msgspec.to_builtins(oidc)
