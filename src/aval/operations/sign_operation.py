"""Take a device's approval or denial: what it signed is what is stored, under this nonce, by a device that counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.domain.calendar import day_began_at, wire_datetime
from aval.domain.challenge import Challenge, as_seen
from aval.domain.device import Device, DeviceDecision, DeviceSession, SessionStatus
from aval.domain.device_proof import DeviceSignature, ProofRefused, device_challenge, verified
from aval.domain.errors import Refusal
from aval.domain.transfer import Reason, Status, Transfer, moved_to
from aval.operations.confirm_transfer import event_of
from aval.operations.device_events import OPERATION_DENIED, device_event_row
from aval.operations.fresh import fresh_key
from aval.operations.open_device_session import details_shown
from aval.storage.audit import AuditRow, append_audit
from aval.storage.challenges import Decision, lock_operations, write_decisions
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.device_sessions import (
    SessionOwner,
    SignedDecision,
    lock_session,
    read_signer,
    record_signature,
)
from aval.storage.devices import lock_device, move_counter
from aval.storage.sequences import advance_sequence
from aval.storage.webhook_events import append_events


@dataclass(frozen=True, slots=True)
class SignCall:
    """One approve or deny call; `told` are the fields of the proof as they came, kept as evidence."""

    session_id: UUID
    decision: DeviceDecision
    reason: str | None
    device_key: UUID
    nonce: str = field(repr=False)
    signature: DeviceSignature = field(repr=False)
    told: Mapping[str, str] = field(repr=False)
    correlation_id: str


async def sign_operation(db: Database, *, owner: SessionOwner, call: SignCall) -> SessionStatus:
    """Judge a signature under the lock of its operation; a denial rejects the operation in the same transaction.

    Raises Refusal, which leaves session, nonce, counter and operation as they were.
    """
    operation_id = (owner.integrator_key, owner.operation_key)
    async with db.transaction() as connection:
        operation, challenge = (await lock_operations(connection, [operation_id], may_wait=True))[operation_id]
        session = await lock_session(connection, owner.integrator_key, call.session_id)
        now = await read_clock(connection)
        if session.seen(as_seen(challenge, now)) is not SessionStatus.PENDING:
            raise Refusal("device.invalid_status")
        if not session.takes(call.nonce, now):
            raise Refusal("device.invalid_nonce")
        signed = await _signed(connection, owner, call, operation, session, now)
        await record_signature(connection, signed)
        await append_audit(connection, [_audit_row(operation, signed)])
        if call.decision is DeviceDecision.APPROVE:
            return SessionStatus.APPROVED
        await _deny(connection, operation, challenge, signed)
        return SessionStatus.DENIED


async def _signed(
    connection: Connection,
    owner: SessionOwner,
    call: SignCall,
    operation: Transfer,
    session: DeviceSession,
    now: datetime,
) -> SignedDecision:
    device = await lock_device(connection, owner.integrator_key, call.device_key)
    if device is None or not await _counts(connection, device, operation, now):
        raise Refusal("device.invalid_device_proof")
    webauthn_challenge = device_challenge(call.decision, call.nonce, details_shown(operation))
    try:
        credential = verified(device.credential, call.signature, challenge=webauthn_challenge, party=owner.party)
    except ProofRefused:
        raise Refusal("device.invalid_device_proof") from None
    if credential.sign_count != device.credential.sign_count:
        await move_counter(connection, device, credential.sign_count)
    return SignedDecision(
        session=session,
        device_key=device.key,
        decision=call.decision,
        reason=call.reason,
        challenge=webauthn_challenge,
        proof=call.told,
        party=owner.party,
        correlation_id=call.correlation_id,
        at=now,
    )


async def _counts(connection: Connection, device: Device, operation: Transfer, now: datetime) -> bool:
    """Whether it is an active device of the operation's approver on its account, for this amount."""
    is_theirs = (device.account_key, device.approver_key) == (operation.account_key, operation.approver_key)
    facts = await read_signer(connection, device, day_began_at=day_began_at(now))
    return is_theirs and facts.counts_for(operation.amount, now)


def _audit_row(operation: Transfer, signed: SignedDecision) -> AuditRow:
    return AuditRow(
        integrator_key=operation.integrator_key,
        actor=f"device:{signed.device_key}",
        action="operation.signed",
        operation_key=operation.key,
        correlation_id=signed.correlation_id,
        at=signed.at,
        details={
            "decision": signed.decision.value,
            "reason": signed.reason,
            "session": signed.session.session_id,
            "challenge": signed.challenge.hex(),
            "details_digest": operation.details_digest.hex(),
        },
    )


async def _deny(connection: Connection, operation: Transfer, before: Challenge, signed: SignedDecision) -> None:
    """T8: rejected now; the alert beside the status webhook says by which device, and why."""
    decision = Decision(
        transfer=operation,
        before=before,
        status=moved_to(before.status, Status.REJECTED),
        attempts_used=before.attempts_used,
        rejection_reason=Reason.DENIED_BY_APPROVER,
        refusal=None,
        comparison=None,
        at=signed.at,
        is_budgeted=False,
        audit_key=fresh_key(),
        actor=f"device:{signed.device_key}",
        correlation_id=signed.correlation_id,
    )
    await write_decisions(connection, [decision])
    sequence = await advance_sequence(connection, operation.integrator_key, operation.key)
    told = {
        "operation": operation.kind.value,
        "operation_key": operation.key,
        "account_key": operation.account_key,
        "device_key": signed.device_key,
        "reason": signed.reason,
        "denied_at": wire_datetime(signed.at),
    }
    alert = device_event_row(operation, OPERATION_DENIED, told, sequence=sequence, at=signed.at)
    await append_events(connection, [event_of(decision), alert])
