"""Set how much may leave an account."""

from collections.abc import Mapping
from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.record_act import Author, record_act
from aval.storage.accounts import lock_account, update_account_limits
from aval.storage.clock import read_clock
from aval.storage.database import Database

Limits = Mapping[str, Mapping[str, int]]  # centavos by family (pix, ted) and name of transfers.md §8.2


async def set_limits(db: Database, *, integrator_key: UUID, account_key: UUID, limits: Limits, author: Author) -> None:
    """Replace all limits of an account; they count from the next request and approval on."""
    async with db.transaction() as connection:
        account = await lock_account(connection, integrator_key, account_key)
        if account is None:
            raise Refusal("qit.not_found")
        now = await read_clock(connection)
        await update_account_limits(connection, integrator_key, account_key, limits, now)
        await record_act(
            connection,
            author,
            "limits.set",
            integrator_key=integrator_key,
            key=account_key,
            at=now,
            details={"before_centavos": account.limits, "after_centavos": limits},
        )
