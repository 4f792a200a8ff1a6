"""Answers kept under an Idempotency-Key: same key and body, same bytes, for 24 hours."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from aval.storage.database import Connection
from aval.storage.rows import columns

KEPT_FOR = timedelta(hours=24)  # spec transfers.md §2.5

_STORE = """
insert into idempotency_keys (integrator_id, path, idempotency_key, fingerprint, status, body, created_at)
select * from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::bytea[], $7::timestamptz[])
    on conflict (integrator_id, path, idempotency_key) do update
   set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
       created_at = excluded.created_at
 where idempotency_keys.created_at <= excluded.created_at - interval '24 hours'
"""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """One answer to keep; no status and body while a synchronous call still waits for the rail."""

    integrator_key: UUID
    path: str
    idempotency_key: str
    fingerprint: bytes
    status: int | None
    body: bytes | None
    at: datetime


async def keep_answers(connection: Connection, answers: Iterable[KeptAnswer]) -> None:
    """Keep answers in the running transaction; one older than 24 hours gives way."""
    rows = [(a.integrator_key, a.path, a.idempotency_key, a.fingerprint, a.status, a.body, a.at) for a in answers]
    if rows:
        await connection.execute(_STORE, *columns(rows))


async def find_answer(
    connection: Connection, integrator_key: UUID, path: str, idempotency_key: str
) -> KeptAnswer | None:
    """Read the answer kept under a key for 24 hours; ask under the lock that makes twins wait for each other."""
    row = await connection.fetchrow(
        "select fingerprint, status, body, created_at from idempotency_keys where integrator_id = $1 and path = $2"
        " and idempotency_key = $3 and created_at > clock_timestamp() - interval '24 hours'",
        integrator_key,
        path,
        idempotency_key,
    )
    if row is None:
        return None
    return KeptAnswer(
        integrator_key, path, idempotency_key, row["fingerprint"], row["status"], row["body"], row["created_at"]
    )


async def complete_answer(
    connection: Connection, integrator_key: UUID, path: str, idempotency_key: str, *, status: int, body: bytes
) -> tuple[int, bytes]:
    """Keep what a synchronous call answers when its wait ends; the first to complete decides, and is answered."""
    row = await connection.fetchrow(
        "update idempotency_keys set status = coalesce(status, $4), body = coalesce(body, $5)"
        " where integrator_id = $1 and path = $2 and idempotency_key = $3 returning status, body",
        integrator_key,
        path,
        idempotency_key,
        status,
        body,
    )
    return (status, body) if row is None else (row["status"], row["body"])


async def forget_old_answers(connection: Connection, *, most: int) -> int:
    """Delete answers older than 24 hours, a few at a time; answers how many."""
    tag = await connection.execute(
        "delete from idempotency_keys where ctid = any(array("
        "select ctid from idempotency_keys where created_at < clock_timestamp() - interval '24 hours' limit $1))",
        most,
    )
    return int(tag.rpartition(" ")[2])
