"""Funding entries of the ledger: money an administrator books onto an account or off it."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.domain.money import Brl
from aval.storage.database import Connection, Row


@dataclass(frozen=True, slots=True)
class Entry:
    """A booking, and the balance it left; the contra account is `funding`."""

    key: UUID
    account_key: UUID
    request_control_key: UUID
    request_fingerprint: bytes = field(repr=False)
    entry_type: str  # credit, debit
    amount: Brl
    description: str | None
    balance: Brl
    created_at: datetime


async def insert_entry(connection: Connection, integrator_key: UUID, entry: Entry) -> None:
    """Write an entry; the caller holds the account's lock and writes the balance."""
    await connection.execute(
        "insert into ledger_entries (integrator_id, source_id, entry_type, account_id, direction, contra_account,"
        " amount_centavos, request_control_key, request_fingerprint, description, balance_centavos, created_at)"
        " values ($1, $2, $3, $4, $3, 'funding', $5, $6, $7, $8, $9, $10)",
        integrator_key,
        entry.key,
        entry.entry_type,
        entry.account_key,
        entry.amount.centavos,
        entry.request_control_key,
        entry.request_fingerprint,
        entry.description,
        entry.balance.centavos,
        entry.created_at,
    )


async def find_entry(connection: Connection, integrator_key: UUID, request_control_key: UUID) -> Entry | None:
    """Read the entry a request made before, on whichever account; None if it is new."""
    row = await connection.fetchrow(
        "select * from ledger_entries where integrator_id = $1 and request_control_key = $2",
        integrator_key,
        request_control_key,
    )
    return None if row is None else _entry(row)


async def list_entries(
    connection: Connection,
    integrator_key: UUID,
    account_key: UUID,
    *,
    offset: int,
    limit: int,
    is_newest_first: bool = False,
) -> list[Entry]:
    """Read the funding entries of an account, oldest first unless told otherwise."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        "select * from ledger_entries where integrator_id = $1 and account_id = $2 and contra_account = 'funding'"
        f" order by created_at {order}, source_id {order} offset $3 limit $4",
        integrator_key,
        account_key,
        offset,
        limit,
    )
    return [_entry(row) for row in rows]


def _entry(row: Row) -> Entry:
    return Entry(
        key=row["source_id"],
        account_key=row["account_id"],
        request_control_key=row["request_control_key"],
        request_fingerprint=row["request_fingerprint"],
        entry_type=row["entry_type"],
        amount=Brl(row["amount_centavos"]),
        description=row["description"],
        balance=Brl(row["balance_centavos"]),
        created_at=row["created_at"],
    )
