"""Show a device what it is to sign, under a nonce nobody has seen."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.batch import items_digest_of
from aval.domain.device import NONCE_BYTES, SessionStatus
from aval.domain.device_proof import base64url
from aval.domain.transfer import Transfer, details_digest_of, details_of
from aval.storage.batches import read_shown_items
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.device_sessions import SessionOwner, lock_session, renew_nonce
from aval.storage.requests import read_operation


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """What GET tells; a nonce only while the session is pending, items only of a batch."""

    session_id: UUID
    status: SessionStatus
    nonce: str | None
    nonce_expires_at: datetime | None
    items: Sequence[Mapping[str, Any]] | None
    details: Mapping[str, Any]


async def open_device_session(db: Database, *, owner: SessionOwner, session_id: UUID) -> OpenedSession:
    """Read a session; while it is pending its nonce is new, and the one told before is void.

    What is shown is what was stored at creation; if it no longer has the digest of then, nothing is shown.
    """
    async with db.transaction() as connection:
        session = await lock_session(connection, owner.integrator_key, session_id)
        found = await read_operation(connection, owner.integrator_key, owner.operation_key)
        assert found is not None
        operation, challenge = found
        items = await _items(connection, operation)
        status = session.seen(challenge)
        nonce, expires_at = None, None
        if status is SessionStatus.PENDING:
            nonce = base64url(secrets.token_bytes(NONCE_BYTES))
            expires_at = await renew_nonce(connection, session, nonce, at=await read_clock(connection))
        return OpenedSession(session_id, status, nonce, expires_at, items, details_shown(operation))


def details_shown(operation: Transfer) -> dict[str, Any]:
    """The details of an operation, which are still those of its creation."""
    assert details_digest_of(operation) == operation.details_digest
    return details_of(operation)


async def _items(connection: Connection, operation: Transfer) -> list[dict[str, str | None]] | None:
    if not operation.kind.is_batch:
        return None
    items = await read_shown_items(connection, operation)
    assert items_digest_of(items) == operation.items_digest
    return items
