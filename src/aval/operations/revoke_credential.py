"""Take a credential away."""

from uuid import UUID

from aval.domain.errors import Refusal
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.credentials import revoke
from aval.storage.database import Database


async def revoke_credential(db: Database, *, integrator_key: UUID, credential_key: UUID, author: Author) -> None:
    """End a credential: the next request with it is refused."""
    async with db.transaction() as connection:
        now = await read_clock(connection)
        credential = await revoke(connection, integrator_key, credential_key, now)
        if credential is None:
            raise Refusal("qit.not_found")
        await record_act(
            connection,
            author,
            "credential.revoked",
            integrator_key=integrator_key,
            key=credential_key,
            at=now,
            details={"before": {"type": credential.type, "scopes": credential.scopes}},
        )
