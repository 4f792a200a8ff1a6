"""Hold accounts of a file against those that exist: what is new, what is there already, what contradicts."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from uuid import UUID

from aval.domain.account_sheet import AccountLine
from aval.domain.sheet import Fault
from aval.storage.accounts import AccountData
from aval.storage.database import Connection, Database
from aval.storage.imports import find_account_keys, find_accounts_by_bank_data

CHUNK = 1_000
DIFFERS = "differs from the account that exists; an import never changes one"
TAKEN = "is the key of another account"


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """What an import would do."""

    new: list[AccountLine] = field(default_factory=list)
    unchanged: int = 0
    faults: list[Fault] = field(default_factory=list)


async def plan_accounts(db: Database, *, integrator_key: UUID, lines: Sequence[AccountLine]) -> AccountPlan:
    """Compare without changing anything; the same file a second time is all unchanged."""
    new: list[AccountLine] = []
    faults: list[Fault] = []
    async with db.reading() as connection:
        for start in range(0, len(lines), CHUNK):
            chunk = lines[start : start + CHUNK]
            chunk_new, chunk_faults = await _compared(connection, integrator_key, chunk)
            new += chunk_new
            faults += chunk_faults
    contradicted = {fault.line for fault in faults}
    return AccountPlan(new, len(lines) - len(new) - len(contradicted), faults)


async def _compared(
    connection: Connection, integrator_key: UUID, lines: Sequence[AccountLine]
) -> tuple[list[AccountLine], list[Fault]]:
    stored = await find_accounts_by_bank_data(connection, integrator_key, [line.bank_data for line in lines])
    keys = [line.account_key for line in lines if line.account_key is not None]
    taken = await find_account_keys(connection, integrator_key, keys)
    new: list[AccountLine] = []
    faults: list[Fault] = []
    for line in lines:
        if line.bank_data in stored:
            faults += _differences(line, *stored[line.bank_data])
        elif line.account_key in taken:
            faults.append(Fault(line.number, "account_key", TAKEN))
        else:
            new.append(line)
    return new, faults


def _differences(line: AccountLine, key: UUID, data: AccountData) -> Iterator[Fault]:
    stored = {**asdict(data), "account_key": key}
    for name in ("account_key", "owner_document_number", "owner_name", "account_status"):
        given = getattr(line, name)
        if given is not None and given != stored[name]:
            yield Fault(line.number, name, DIFFERS)
