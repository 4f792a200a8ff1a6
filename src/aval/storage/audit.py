"""The audit trail: who did what, written in the transaction that did it; rows are only ever added."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.storage.database import Connection
from aval.storage.rows import columns

NO_INTEGRATOR = UUID(int=0)  # acts on the deployment itself


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act. `details` holds before and after, never a secret, a CPF or a contact in clear."""

    integrator_key: UUID
    actor: str  # admin:<name>, credential:<uuid>, worker
    action: str
    operation_key: UUID | None
    correlation_id: str
    at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)


async def append_audit(connection: Connection, acts: Iterable[AuditRow]) -> None:
    """Write acts in the running transaction, in one statement."""
    rows = [
        (a.integrator_key, a.at, a.actor, a.action, a.operation_key, dict(a.details), a.correlation_id) for a in acts
    ]
    if rows:
        await connection.execute(
            "insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)"
            " select integrator_id, gen_random_uuid(), at, actor, action, operation_id, details, correlation_id"
            " from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::uuid[], $6::jsonb[], $7::text[])"
            " as r (integrator_id, at, actor, action, operation_id, details, correlation_id)",
            *columns(rows),
        )
