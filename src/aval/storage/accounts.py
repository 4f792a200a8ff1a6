"""Accounts money leaves from: their data, fees, limits and balance."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.money import Brl
from aval.storage.database import Connection, Row


@dataclass(frozen=True, slots=True)
class AccountData:
    """What an administrator says of an account."""

    account_branch: str
    account_number: str
    account_digit: str
    owner_document_number: str
    owner_name: str
    account_status: str = "open"  # open, blocked, closed


@dataclass(frozen=True, slots=True)
class Account:
    """An account as stored; a fee of None means the integrator's, `limits` holds centavos by family and name."""

    key: UUID
    data: AccountData
    balance: Brl
    pix_fee: Brl | None
    ted_fee: Brl | None
    limits: Mapping[str, Mapping[str, int]]
    created_at: datetime


async def insert_account(
    connection: Connection, integrator_key: UUID, account_key: UUID, data: AccountData, at: datetime
) -> None:
    """Store a new account with nothing on it."""
    await connection.execute(
        "insert into accounts (integrator_id, account_id, account_branch, account_number, account_digit,"
        " owner_document_number, owner_name, status, created_at, updated_at)"
        " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        integrator_key,
        account_key,
        *_values(data),
        at,
    )


async def update_account(
    connection: Connection, integrator_key: UUID, account_key: UUID, data: AccountData, at: datetime
) -> None:
    """Replace what is said of an account."""
    await connection.execute(
        "update accounts set account_branch = $3, account_number = $4, account_digit = $5,"
        " owner_document_number = $6, owner_name = $7, status = $8, updated_at = $9"
        " where integrator_id = $1 and account_id = $2",
        integrator_key,
        account_key,
        *_values(data),
        at,
    )


async def update_account_fees(
    connection: Connection,
    integrator_key: UUID,
    account_key: UUID,
    *,
    pix_fee: Brl | None,
    ted_fee: Brl | None,
    at: datetime,
) -> None:
    """Set what an item from this account costs; None falls back to the integrator's fee."""
    await connection.execute(
        "update accounts set pix_fee_centavos = $3, ted_fee_centavos = $4, updated_at = $5"
        " where integrator_id = $1 and account_id = $2",
        integrator_key,
        account_key,
        None if pix_fee is None else pix_fee.centavos,
        None if ted_fee is None else ted_fee.centavos,
        at,
    )


async def update_account_limits(
    connection: Connection,
    integrator_key: UUID,
    account_key: UUID,
    limits: Mapping[str, Mapping[str, int]],
    at: datetime,
) -> None:
    """Replace the limits: centavos by family and name."""
    await connection.execute(
        "update accounts set limits = $3, updated_at = $4 where integrator_id = $1 and account_id = $2",
        integrator_key,
        account_key,
        limits,
        at,
    )


async def update_balance(
    connection: Connection, integrator_key: UUID, account_key: UUID, balance: Brl, at: datetime
) -> None:
    """Write the balance; the caller holds the row's lock and has written the ledger entry."""
    await connection.execute(
        "update accounts set balance_centavos = $3, updated_at = $4 where integrator_id = $1 and account_id = $2",
        integrator_key,
        account_key,
        balance.centavos,
        at,
    )


async def lock_account(connection: Connection, integrator_key: UUID, account_key: UUID) -> Account | None:
    """Lock an account against changes by others and read it; None if the integrator has none of this key."""
    row = await connection.fetchrow(
        "select * from accounts where integrator_id = $1 and account_id = $2 for no key update",
        integrator_key,
        account_key,
    )
    return None if row is None else _account(row)


async def find_account(connection: Connection, integrator_key: UUID, account_key: UUID) -> Account | None:
    """Read an account; None if the integrator has none of this key."""
    row = await connection.fetchrow(
        "select * from accounts where integrator_id = $1 and account_id = $2", integrator_key, account_key
    )
    return None if row is None else _account(row)


async def list_accounts(
    connection: Connection, integrator_key: UUID, *, offset: int, limit: int, is_newest_first: bool = False
) -> list[Account]:
    """Read the accounts of an integrator, oldest first unless told otherwise."""
    order = "desc" if is_newest_first else "asc"
    rows = await connection.fetch(
        "select * from accounts where integrator_id = $1"
        f" order by created_at {order}, account_id {order} offset $2 limit $3",
        integrator_key,
        offset,
        limit,
    )
    return [_account(row) for row in rows]


def _values(data: AccountData) -> list[Any]:
    return [
        data.account_branch,
        data.account_number,
        data.account_digit,
        data.owner_document_number,
        data.owner_name,
        data.account_status,
    ]


def _account(row: Row) -> Account:
    return Account(
        key=row["account_id"],
        data=AccountData(
            account_branch=row["account_branch"],
            account_number=row["account_number"],
            account_digit=row["account_digit"],
            owner_document_number=row["owner_document_number"],
            owner_name=row["owner_name"],
            account_status=row["status"],
        ),
        balance=Brl(row["balance_centavos"]),
        pix_fee=_fee(row["pix_fee_centavos"]),
        ted_fee=_fee(row["ted_fee_centavos"]),
        limits=row["limits"],
        created_at=row["created_at"],
    )


def _fee(centavos: int | None) -> Brl | None:
    return None if centavos is None else Brl(centavos)
