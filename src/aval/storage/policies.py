"""Versions of a campaign's policy; they are only ever added."""

from datetime import datetime
from uuid import UUID

import msgspec

from aval.domain.campaign import PolicyVersion
from aval.storage.campaigns import policy_of
from aval.storage.database import Connection


async def insert_policy(connection: Connection, tenant_key: UUID, policy: PolicyVersion) -> None:
    """Add a version and make it the current one; the caller holds the campaign's lock."""
    await connection.execute(
        "with current as (update campaigns set policy_version = $2, updated_at = $5 where integrator_id = $1)"
        " insert into two_factor_policies (integrator_id, version, policy, changed_by, changed_at)"
        " values ($1, $2, $3, $4, $5)",
        tenant_key,
        policy.version,
        msgspec.json.encode(policy.policy),
        policy.changed_by,
        policy.changed_at,
    )


async def find_policy(connection: Connection, tenant_key: UUID, version: int | None = None) -> PolicyVersion | None:
    """Read a version of a policy, the current one if none is named; None if there is none of this number."""
    row = await connection.fetchrow(
        "select y.version, y.policy, y.changed_by, y.changed_at from campaigns k"
        " join two_factor_policies y on y.integrator_id = k.integrator_id"
        "  and y.version = coalesce($2::integer, k.policy_version) where k.integrator_id = $1",
        tenant_key,
        version,
    )
    return None if row is None else _version(row["version"], row["policy"], row["changed_by"], row["changed_at"])


def _version(number: int, policy: object, changed_by: str, changed_at: datetime) -> PolicyVersion:
    return PolicyVersion(number, policy_of(policy), changed_by, changed_at)
