"""Give a webhook target a new signing secret."""

from datetime import timedelta
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.fresh import new_webhook_secret, sealed
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Database
from aval.storage.webhook_endpoints import lock_endpoint, rotate_secret

OVERLAP = timedelta(hours=24)  # spec transfers.md §7.2: the old secret still signs


async def rotate_webhook_secret(
    db: Database, *, integrator_key: UUID, endpoint_key: UUID, keyring: Keyring, author: Author
) -> str:
    """Return the new secret, which is shown this once; for a day both sign."""
    secret = new_webhook_secret()
    async with db.transaction() as connection:
        if await lock_endpoint(connection, integrator_key, endpoint_key) is None:
            raise Refusal("qit.not_found")
        now = await read_clock(connection)
        await rotate_secret(
            connection,
            integrator_key,
            endpoint_key,
            secret_sealed=sealed(keyring, secret, associated=f"webhook_endpoints/{endpoint_key}"),
            former_until=now + OVERLAP,
            at=now,
        )
        await record_act(
            connection, author, "webhook_secret.rotated", integrator_key=integrator_key, key=endpoint_key, at=now
        )
    return secret
