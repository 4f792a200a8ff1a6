"""Take all powers of an approver on an account away."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.grant_powers import audited
from aval.operations.record_act import Author, record_act
from aval.storage.account_approvers import delete_grant, find_grant
from aval.storage.accounts import lock_account
from aval.storage.clock import read_clock
from aval.storage.database import Database


async def revoke_powers(
    db: Database, *, integrator_key: UUID, account_key: UUID, approver_key: UUID, author: Author
) -> None:
    """End the link of approver and account; what waits for approval will be rejected when it is approved."""
    async with db.transaction() as connection:
        await lock_account(connection, integrator_key, account_key)
        before = await find_grant(connection, integrator_key, account_key, approver_key)
        if before is None:
            raise Refusal("qit.not_found")
        await delete_grant(connection, integrator_key, account_key, approver_key)
        await record_act(
            connection,
            author,
            "powers.revoked",
            integrator_key=integrator_key,
            key=account_key,
            at=await read_clock(connection),
            details={"approver": approver_key, "before": audited(before)},
        )
