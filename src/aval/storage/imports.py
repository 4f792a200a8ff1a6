"""What a file is held against before it is imported: everything it names, read set-wise."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from aval.domain.account_sheet import BankData
from aval.domain.money import Brl
from aval.storage.account_approvers import Grant
from aval.storage.accounts import AccountData
from aval.storage.approvers import Approver
from aval.storage.database import Connection, Row
from aval.storage.rows import columns

_ACCOUNTS = """
select account_id, account_branch, account_number, account_digit, owner_document_number, owner_name, status
  from accounts a
"""


async def find_accounts_by_bank_data(
    connection: Connection, integrator_key: UUID, wanted: Sequence[BankData]
) -> dict[BankData, tuple[UUID, AccountData]]:
    """Read the accounts of these branches, numbers and digits that exist."""
    if not wanted:
        return {}
    rows = await connection.fetch(
        _ACCOUNTS + " join unnest($2::text[], $3::text[], $4::text[]) as r (branch, number, digit)"
        " on account_branch = r.branch and account_number = r.number and account_digit = r.digit"
        " where integrator_id = $1",
        integrator_key,
        *columns(wanted),
    )
    found = (_account_of(row) for row in rows)
    return {(data.account_branch, data.account_number, data.account_digit): (key, data) for key, data in found}


async def find_account_keys(connection: Connection, integrator_key: UUID, keys: Iterable[UUID]) -> set[UUID]:
    """Tell which of these accounts exist."""
    rows = await connection.fetch(
        "select account_id from accounts where integrator_id = $1 and account_id = any($2::uuid[])",
        integrator_key,
        list(keys),
    )
    return {row["account_id"] for row in rows}


async def find_approvers_by_index(
    connection: Connection, integrator_key: UUID, indexes: Iterable[bytes]
) -> dict[bytes, Approver]:
    """Read the approvers whose documents have these blind indexes."""
    rows = await connection.fetch(
        "select document_index, approver_id as key, document_masked, name, active, created_at from approvers"
        " where integrator_id = $1 and document_index = any($2::bytea[])",
        integrator_key,
        list(indexes),
    )
    return {row["document_index"]: Approver(**dict(list(row.items())[1:])) for row in rows}


async def find_masked_contacts(
    connection: Connection, integrator_key: UUID, approver_keys: Iterable[UUID]
) -> dict[tuple[UUID, str], str]:
    """Read the current contacts of approvers by type, masked."""
    rows = await connection.fetch(
        "select approver_id, contact_type, masked_destination from contacts"
        " where integrator_id = $1 and approver_id = any($2::uuid[]) and removed_at is null",
        integrator_key,
        list(approver_keys),
    )
    return {(row["approver_id"], row["contact_type"]): row["masked_destination"] for row in rows}


async def find_grants(
    connection: Connection, integrator_key: UUID, approver_keys: Iterable[UUID]
) -> dict[tuple[UUID, UUID], Grant]:
    """Read all powers of approvers, by approver and account."""
    rows = await connection.fetch(
        "select approver_id, account_id, powers, max_amount_centavos from account_approvers"
        " where integrator_id = $1 and approver_id = any($2::uuid[])",
        integrator_key,
        list(approver_keys),
    )
    return {(row["approver_id"], row["account_id"]): _grant_of(row) for row in rows}


def _account_of(row: Row) -> tuple[UUID, AccountData]:
    key, *data = row.values()
    return key, AccountData(*data)


def _grant_of(row: Row) -> Grant:
    centavos = row["max_amount_centavos"]
    return Grant(row["approver_id"], row["powers"], None if centavos is None else Brl(centavos))
