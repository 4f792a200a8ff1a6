"""Take a webhook target away."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.record_act import Author, record_act
from aval.operations.register_webhook_endpoint import audited
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.webhook_endpoints import delete_endpoint, lock_endpoint


async def delete_webhook_endpoint(db: Database, *, integrator_key: UUID, endpoint_key: UUID, author: Author) -> None:
    """End a target: later events do not reach it."""
    async with db.transaction() as connection:
        stored = await lock_endpoint(connection, integrator_key, endpoint_key)
        if stored is None:
            raise Refusal("qit.not_found")
        now = await read_clock(connection)
        await delete_endpoint(connection, integrator_key, endpoint_key, now)
        await record_act(
            connection,
            author,
            "webhook_endpoint.deleted",
            integrator_key=integrator_key,
            key=endpoint_key,
            at=now,
            details={"before": audited(stored)},
        )
