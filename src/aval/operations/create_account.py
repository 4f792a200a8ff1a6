"""Open an account in the registry."""

from dataclasses import asdict
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.money import ZERO
from aval.operations.fresh import new_key
from aval.operations.record_act import Author, record_act
from aval.storage.accounts import Account, AccountData, insert_account
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation
from aval.storage.integrators import find_integrator

UNAUDITED = ("owner_document_number", "owner_name")


async def create_account(
    db: Database, *, integrator_key: UUID, account_key: UUID | None, data: AccountData, author: Author
) -> Account:
    """Store an account with nothing on it; its key and its bank data must both be new to the integrator."""
    try:
        async with db.transaction() as connection:
            if await find_integrator(connection, integrator_key) is None:
                raise Refusal("qit.not_found")
            now = await read_clock(connection)
            key = account_key or new_key(now)
            await insert_account(connection, integrator_key, key, data, now)
            await record_act(
                connection,
                author,
                "account.created",
                integrator_key=integrator_key,
                key=key,
                at=now,
                details={"after": audited(data)},
            )
    except UniqueViolation:
        raise Refusal("qit.conflict") from None
    return Account(key, data, ZERO, None, None, {}, now)


def audited(data: AccountData) -> dict[str, str]:
    """Turn account data into what an audit row may hold: nothing of the owner."""
    return {name: value for name, value in asdict(data).items() if name not in UNAUDITED}
