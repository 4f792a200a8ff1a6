"""Make a key that administers the deployment."""

from collections.abc import Sequence

from aval.domain.errors import Refusal
from aval.domain.keyring import Keyring
from aval.operations.fresh import new_api_key, new_key
from aval.operations.record_act import DEPLOYMENT, Author, record_act
from aval.storage.admin_keys import AdminKey, insert_admin_key
from aval.storage.clock import read_clock
from aval.storage.database import Database, UniqueViolation

PREFIX = "aval_admin_"
SCOPES = ("transfers.admin",)


async def create_admin_key(
    db: Database, *, name: str, scopes: Sequence[str] = SCOPES, keyring: Keyring, author: Author
) -> tuple[AdminKey, str]:
    """Store an admin key and return its secret, which is shown this once; an active name is refused."""
    secret = new_api_key(PREFIX)
    try:
        async with db.transaction() as connection:
            now = await read_clock(connection)
            admin_key = AdminKey(new_key(now), name, sorted(set(scopes)), now)
            await insert_admin_key(connection, admin_key, key_hash=keyring.credential_hashes(secret)[0])
            await record_act(
                connection,
                author,
                "admin_key.created",
                integrator_key=DEPLOYMENT,
                key=admin_key.key,
                at=now,
                details={"after": {"name": name, "scopes": admin_key.scopes}},
            )
    except UniqueViolation:
        raise Refusal("qit.conflict") from None
    return admin_key, secret
