"""Give a device to be registered something to sign."""

import secrets
from uuid import UUID

from aval.domain.device import CHALLENGE_LIFETIME
from aval.domain.errors import Refusal
from aval.storage.database import Database
from aval.storage.devices import DeviceChallenge, insert_device_challenge, read_challenge_facts

CHALLENGE_BYTES = 32


async def challenge_device(
    db: Database, *, integrator_key: UUID, account_key: UUID, session_id: UUID, document_index: bytes
) -> tuple[DeviceChallenge, str | None]:
    """Store a fresh challenge for an approver on an account; answers it with the integrator's rp_id. Raises Refusal."""
    async with db.connection() as connection:
        facts = await read_challenge_facts(connection, integrator_key, account_key, document_index)
        if facts.account_status is None:
            raise Refusal("device.account_not_found")
        if facts.account_status != "open":
            raise Refusal("device.account_unavailable")
        if facts.approver_key is None or not (facts.is_approver_active and facts.has_powers):
            raise Refusal("device.approver_not_allowed")
        challenge = DeviceChallenge(
            session_id=session_id,
            account_key=account_key,
            approver_key=facts.approver_key,
            challenge=secrets.token_bytes(CHALLENGE_BYTES),
            created_at=facts.now,
            expires_at=facts.now + CHALLENGE_LIFETIME,
        )
        if not await insert_device_challenge(connection, integrator_key, challenge):
            raise Refusal("device.idempotency_conflict")
        return challenge, facts.rp_id
