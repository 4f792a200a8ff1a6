"""Hold people of a file against the registry: what is new, what is there already, what contradicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from aval.domain.account_sheet import BankData
from aval.domain.approver_sheet import ApproverLines, GrantLine
from aval.domain.keyring import Keyring
from aval.domain.masks import masked_destination
from aval.domain.sheet import Fault
from aval.operations.create_approver import document_index
from aval.storage.account_approvers import Grant
from aval.storage.approvers import Approver
from aval.storage.database import Connection, Database
from aval.storage.imports import (
    find_account_keys,
    find_accounts_by_bank_data,
    find_approvers_by_index,
    find_grants,
    find_masked_contacts,
)

CHUNK = 1_000
DIFFERS = "differs from the approver that exists; an import never changes one"
NO_ACCOUNT = "names no account of this integrator; import accounts first"
COLUMNS = {"sms": "phone", "email": "email"}


@dataclass(frozen=True, slots=True)
class ApproverPlan:
    """What is still to be done for one person; `approver_key` is None when they are new."""

    person: ApproverLines
    approver_key: UUID | None
    contacts: list[Literal["sms", "email"]]
    grants: list[tuple[UUID, GrantLine]]  # by account


@dataclass(frozen=True, slots=True)
class ApproversPlan:
    """What an import would do."""

    new: list[ApproverPlan] = field(default_factory=list)
    unchanged: int = 0
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Registry:
    """What exists of all that a part of the file names."""

    approvers: Mapping[bytes, Approver]
    contacts: Mapping[tuple[UUID, str], str]
    grants: Mapping[tuple[UUID, UUID], Grant]
    accounts: Mapping[UUID | BankData, UUID]


async def plan_approvers(
    db: Database, *, integrator_key: UUID, people: Sequence[ApproverLines], keyring: Keyring
) -> ApproversPlan:
    """Compare without changing anything; contacts are compared by their masks, for nobody here may read them."""
    new: list[ApproverPlan] = []
    faults: list[Fault] = []
    unchanged = 0
    async with db.reading() as connection:
        for start in range(0, len(people), CHUNK):
            chunk = people[start : start + CHUNK]
            indexes = [document_index(keyring, person.document_number) for person in chunk]
            registry = await _registry_of(connection, integrator_key, chunk, indexes)
            for person, index in zip(chunk, indexes, strict=True):
                plan, found = _compared(person, registry.approvers.get(index), registry)
                faults += found
                new += [] if plan is None else [plan]
                unchanged += plan is None and not found
    return ApproversPlan(new, unchanged, faults)


async def _registry_of(
    connection: Connection, integrator_key: UUID, people: Sequence[ApproverLines], indexes: Sequence[bytes]
) -> _Registry:
    named = {grant.account for person in people for grant in person.grants}
    keys = [account for account in named if isinstance(account, UUID)]
    bank_data = [account for account in named if not isinstance(account, UUID)]
    by_bank_data = await find_accounts_by_bank_data(connection, integrator_key, bank_data)
    accounts: dict[UUID | BankData, UUID] = {data: key for data, (key, _) in by_bank_data.items()}
    accounts |= {key: key for key in await find_account_keys(connection, integrator_key, keys)}
    approvers = await find_approvers_by_index(connection, integrator_key, indexes)
    approver_keys = [approver.key for approver in approvers.values()]
    return _Registry(
        approvers,
        await find_masked_contacts(connection, integrator_key, approver_keys),
        await find_grants(connection, integrator_key, approver_keys),
        accounts,
    )


def _compared(
    person: ApproverLines, stored: Approver | None, registry: _Registry
) -> tuple[ApproverPlan | None, list[Fault]]:
    contradictions = [] if stored is None else list(_differences(person, stored, registry))
    if contradictions:
        return None, contradictions
    key = None if stored is None else stored.key
    faults: list[Fault] = []
    grants: list[tuple[UUID, GrantLine]] = []
    lines: dict[UUID, int] = {}
    for grant in person.grants:
        account = registry.accounts.get(grant.account)
        former = None if account is None or key is None else registry.grants.get((key, account))
        if account is None:
            column = "account_key" if isinstance(grant.account, UUID) else "account_number"
            faults.append(Fault(grant.number, column, NO_ACCOUNT))
        elif lines.setdefault(account, grant.number) != grant.number:  # once by its key and once by its bank data
            faults.append(Fault(grant.number, "powers", f"is for the account of line {lines[account]} again"))
        elif former is None:
            grants.append((account, grant))
        elif (tuple(sorted(former.powers)), former.max_amount) != (grant.powers, grant.max_amount):
            faults.append(
                Fault(grant.number, "powers", "differs from the powers that exist; an import never changes them")
            )
    contacts = [kind for kind in person.contacts if key is None or (key, kind) not in registry.contacts]
    is_done = key is not None and not contacts and not grants
    return (None if is_done else ApproverPlan(person, key, contacts, grants)), faults


def _differences(person: ApproverLines, stored: Approver, registry: _Registry) -> Iterator[Fault]:
    if person.name != stored.name:
        yield Fault(person.number, "name", DIFFERS)
    if person.active not in (None, stored.active):
        yield Fault(person.number, "active", DIFFERS)
    for kind, destination in person.contacts.items():
        if registry.contacts.get((stored.key, kind)) not in (None, masked_destination(kind, destination)):
            yield Fault(person.number, COLUMNS[kind], DIFFERS)
