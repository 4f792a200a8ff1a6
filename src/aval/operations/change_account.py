"""Change what is said of an account, or block, open or close it."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.create_account import UNAUDITED, audited
from aval.operations.record_act import Author, changed, record_act
from aval.storage.accounts import Account, lock_account, update_account
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation


async def change_account(
    db: Database, *, integrator_key: UUID, account_key: UUID, changes: Mapping[str, str], author: Author
) -> Account:
    """Put the given data in place of the stored; a closed account stays closed."""
    try:
        async with db.transaction() as connection:
            stored = await lock_account(connection, integrator_key, account_key)
            if stored is None:
                raise Refusal("qit.not_found")
            data = replace(stored.data, **changes)
            if stored.data.account_status == "closed" != data.account_status:
                raise Refusal("qit.conflict")
            now = await read_clock(connection)
            await update_account(connection, integrator_key, account_key, data, now)
            details = {**changed(audited(stored.data), audited(data)), "fields": sorted({*changes} & {*UNAUDITED})}
            await record_act(
                connection,
                author,
                "account.changed",
                integrator_key=integrator_key,
                key=account_key,
                at=now,
                details=details,
            )
    except UniqueViolation:
        raise Refusal("qit.conflict") from None
    return replace(stored, data=data)
