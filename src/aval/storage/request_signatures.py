"""Signatures of requests that were accepted once and never again (transfers.md §2.2, "reuse")."""

from datetime import datetime, timedelta
from uuid import UUID

from aval.storage.database import Connection

# Kept for twice the widest window there can be, so that widening a window never revives a used signature.
KEPT_FOR = 2 * timedelta(seconds=300)  # spec transfers.md §8.1, signature_window_seconds

_REMEMBER = """
    insert into request_signatures (integrator_id, signature_hash, expires_at)
    select $1, $3, clock.now + $6
      from (select clock_timestamp() as now) clock
     where $4::timestamptz between clock.now - $5::interval and clock.now + $5::interval
       and exists (select from credentials c join integrators i using (integrator_id)
                    where c.integrator_id = $1 and c.credential_id = $2 and c.revoked_at is null and i.active)
    on conflict do nothing"""


async def remember_signature(
    connection: Connection,
    *,
    integrator_key: UUID,
    credential_key: UUID,
    signature_hash: bytes,
    signed_at: datetime,
    window: timedelta,
) -> bool:
    """Take note of a signature; false if it was used before, is outside the window, or its credential is revoked.

    The database clock judges, and the primary key decides between two requests with one signature.
    """
    tag = await connection.execute(
        _REMEMBER, integrator_key, credential_key, signature_hash, signed_at, window, KEPT_FOR
    )
    return tag == "INSERT 0 1"


async def forget_old_signatures(connection: Connection, *, most: int) -> int:
    """Delete signatures that are outside every window, a few at a time; answers how many."""
    tag = await connection.execute(
        "delete from request_signatures where ctid = any(array("
        "select ctid from request_signatures where expires_at < clock_timestamp() limit $1))",
        most,
    )
    return int(tag.rpartition(" ")[2])
