"""Take an admin key away."""

from aval.domain.errors import Refusal
from aval.operations.record_act import DEPLOYMENT, Author, record_act
from aval.storage.admin_keys import revoke_by_name
from aval.storage.clock import read_clock
from aval.storage.database import Database


async def revoke_admin_key(db: Database, *, name: str, author: Author) -> None:
    """End the active key of this name; the next request with it is refused."""
    async with db.transaction() as connection:
        now = await read_clock(connection)
        key = await revoke_by_name(connection, name, now)
        if key is None:
            raise Refusal("qit.not_found")
        await record_act(
            connection,
            author,
            "admin_key.revoked",
            integrator_key=DEPLOYMENT,
            key=key,
            at=now,
            details={"before": {"name": name}},
        )
