"""Say what an approver may approve on an account."""

from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.record_act import Author, record_act
from aval.storage.account_approvers import Grant, find_grant, upsert_grant
from aval.storage.accounts import lock_account
from aval.storage.approvers import find_approver
from aval.storage.clock import read_clock
from aval.storage.database import Database


async def grant_powers(db: Database, *, integrator_key: UUID, account_key: UUID, grant: Grant, author: Author) -> Grant:
    """Give powers, or put others in the place of those there are; counts from the next request and approval on."""
    async with db.transaction() as connection:
        if await lock_account(connection, integrator_key, account_key) is None:
            raise Refusal("qit.not_found")
        if await find_approver(connection, integrator_key, grant.approver_key) is None:
            raise Refusal("qit.not_found")
        before = await find_grant(connection, integrator_key, account_key, grant.approver_key)
        now = await read_clock(connection)
        await upsert_grant(connection, integrator_key, account_key, grant, now)
        await record_act(
            connection,
            author,
            "powers.granted",
            integrator_key=integrator_key,
            key=account_key,
            at=now,
            details={
                "approver": grant.approver_key,
                "before": None if before is None else audited(before),
                "after": audited(grant),
            },
        )
    return grant


def audited(grant: Grant) -> dict[str, Any]:
    """Turn a grant into what its audit row holds."""
    most = grant.max_amount
    return {"powers": list(grant.powers), "max_amount": None if most is None else most.wire()}
