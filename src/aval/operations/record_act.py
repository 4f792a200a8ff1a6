"""Write the audit row of an administrative act, in the transaction that does it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.storage.audit import AuditRow, append_audit
from aval.storage.database import Connection

DEPLOYMENT = UUID(int=0)  # stands for the integrator in acts on the deployment itself


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts: `admin:<name>` or `credential:<key>`, and the call it happens in."""

    name: str
    correlation_id: str


async def record_act(
    connection: Connection,
    author: Author,
    action: str,
    *,
    integrator_key: UUID,
    key: UUID,
    at: datetime,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Tell who did what to the thing of this key; `details` never hold a secret, a CPF or a destination."""
    row = AuditRow(
        integrator_key=integrator_key,
        actor=author.name,
        action=action,
        operation_key=None,
        details={"key": key, **(details or {})},
        correlation_id=author.correlation_id,
        at=at,
    )
    await append_audit(connection, [row])


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tell the members that differ, as they were and as they are."""
    names = [name for name in after if before.get(name) != after[name]]
    return {"before": {name: before.get(name) for name in names}, "after": {name: after[name] for name in names}}
