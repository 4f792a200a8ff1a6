"""What an approver may approve on an account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.money import Brl
from aval.storage.database import Connection, Row


@dataclass(frozen=True, slots=True)
class Grant:
    """The powers of one approver on one account; no `max_amount` means no bound."""

    approver_key: UUID
    powers: Sequence[str]
    max_amount: Brl | None


async def upsert_grant(
    connection: Connection, integrator_key: UUID, account_key: UUID, grant: Grant, at: datetime
) -> None:
    """Give or replace powers."""
    await connection.execute(
        "insert into account_approvers (integrator_id, account_id, approver_id, powers, max_amount_centavos,"
        " created_at, updated_at) values ($1, $2, $3, $4, $5, $6, $6)"
        " on conflict (integrator_id, account_id, approver_id) do update set powers = excluded.powers,"
        " max_amount_centavos = excluded.max_amount_centavos, updated_at = excluded.updated_at",
        integrator_key,
        account_key,
        grant.approver_key,
        list(grant.powers),
        None if grant.max_amount is None else grant.max_amount.centavos,
        at,
    )


async def delete_grant(connection: Connection, integrator_key: UUID, account_key: UUID, approver_key: UUID) -> None:
    """Take all powers on an account away."""
    await connection.execute(
        "delete from account_approvers where integrator_id = $1 and account_id = $2 and approver_id = $3",
        integrator_key,
        account_key,
        approver_key,
    )


async def find_grant(
    connection: Connection, integrator_key: UUID, account_key: UUID, approver_key: UUID
) -> Grant | None:
    """Read an approver's powers on an account, None if there are none."""
    row = await connection.fetchrow(
        "select * from account_approvers where integrator_id = $1 and account_id = $2 and approver_id = $3",
        integrator_key,
        account_key,
        approver_key,
    )
    return None if row is None else _grant(row)


async def list_grants(
    connection: Connection,
    integrator_key: UUID,
    account_key: UUID,
    *,
    offset: int,
    limit: int,
    is_newest_first: bool = False,
) -> list[Grant]:
    """Read who has powers on an account, in the order they were first given."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        "select * from account_approvers where integrator_id = $1 and account_id = $2"
        f" order by created_at {order}, approver_id {order} offset $3 limit $4",
        integrator_key,
        account_key,
        offset,
        limit,
    )
    return [_grant(row) for row in rows]


def _grant(row: Row) -> Grant:
    centavos = row["max_amount_centavos"]
    return Grant(row["approver_id"], row["powers"], None if centavos is None else Brl(centavos))
