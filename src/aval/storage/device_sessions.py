"""Device sessions: which operation an id names, what a device is to sign there, and what it signed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from aval.domain.device import (
    Device,
    DeviceApproval,
    DeviceDecision,
    DeviceFacts,
    DeviceSession,
    RelyingParty,
    SessionStatus,
    digest_of_signature,
)
from aval.domain.money import Brl
from aval.storage.challenges import OperationId
from aval.storage.database import Connection, Row, UniqueViolation
from aval.storage.devices import SessionTaken
from aval.storage.rows import columns

# Whether device `d` counts as active; a young one only until it has approved so much since $1, the Brasília midnight.
_FACTS = """
       d.device_id, d.disabled_at is null and c.status = 'approved' as is_active, c.consumed_at as activated_at,
       i.device_cooldown_hours,
       case when c.consumed_at + i.device_cooldown_hours * interval '1 hour' <= clock_timestamp() then 0 else coalesce((
            select sum(o.amount_centavos) from device_sessions ds
              join challenges oc on oc.integrator_id = ds.integrator_id and oc.operation_id = ds.operation_id
              join operations o on o.integrator_id = ds.integrator_id and o.operation_id = ds.operation_id
             where ds.device_id = d.device_id and ds.integrator_id = d.integrator_id and ds.status = 'approved'
               and oc.consumed_at >= $1), 0) end::bigint as approved_today
"""
_DEVICE_JOINS = """
  left join challenges c on c.integrator_id = d.integrator_id and c.operation_id = d.device_id
"""


class DeviceQuestion(NamedTuple):
    """Whose devices are asked for."""

    integrator_key: UUID
    account_key: UUID
    approver_key: UUID


_CHOICES = f"""
select r.place, {_FACTS}
  from unnest($2::uuid[], $3::uuid[], $4::uuid[])
       with ordinality as r (integrator_id, account_id, approver_id, place)
  join integrators i on i.integrator_id = r.integrator_id
  join devices d on d.approver_id = r.approver_id and d.account_id = r.account_id and d.integrator_id = r.integrator_id
  {_DEVICE_JOINS}
 order by r.place
"""


async def read_used_sessions(connection: Connection, session_ids: Collection[UUID]) -> frozenset[UUID]:
    """Which of these ids were used before on this deployment, by whomever."""
    rows = await connection.fetch("select session_id from session_ids where session_id = any($1)", list(session_ids))
    return frozenset(row["session_id"] for row in rows)


async def read_devices(
    connection: Connection, questions: Sequence[DeviceQuestion], *, day_began_at: datetime
) -> list[list[DeviceFacts]]:
    """The devices of approvers on accounts, whatever became of them, in the order of the questions."""
    devices: list[list[DeviceFacts]] = [[] for _ in questions]
    for row in await connection.fetch(_CHOICES, day_began_at, *columns(questions)):
        devices[row["place"] - 1].append(_facts_of(row))
    return devices


def _facts_of(row: Row) -> DeviceFacts:
    return DeviceFacts(
        is_active=row["is_active"],
        activated_at=row["activated_at"],
        cooldown=timedelta(hours=row["device_cooldown_hours"]),
        approved_today=Brl(row["approved_today"]),
    )


class NewSession(NamedTuple):
    """The session of an operation that was stored in this transaction."""

    integrator_key: UUID
    session_id: UUID
    operation_key: UUID
    created_at: datetime


_INSERT = """
with input as (
    select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[])
        as r (integrator_id, session_id, operation_id, at)
), named as (
    insert into session_ids (session_id, integrator_id) select session_id, integrator_id from input
)
insert into device_sessions (integrator_id, session_id, operation_id, created_at, updated_at)
select integrator_id, session_id, operation_id, at, at from input
"""


async def insert_sessions(connection: Connection, sessions: Iterable[NewSession]) -> None:
    """Store sessions; raises SessionTaken if one of the ids was used before on this deployment."""
    try:
        await connection.execute(_INSERT, *columns(sessions))
    except UniqueViolation as error:
        raise SessionTaken from error


_APPROVALS = f"""
select r.integrator_id, r.operation_id, s.status, d.public_key, dd.nonce, dd.signature, {_FACTS}
  from unnest($2::uuid[], $3::uuid[]) as r (integrator_id, operation_id)
  join integrators i on i.integrator_id = r.integrator_id
  join device_sessions s on s.operation_id = r.operation_id and s.integrator_id = r.integrator_id
  left join devices d on d.integrator_id = s.integrator_id and d.device_id = s.device_id
  left join lateral (
       select nonce, proof ->> 'signature' as signature from device_decisions
        where operation_id = s.operation_id and integrator_id = s.integrator_id and device_id = s.device_id
        order by decided_at desc limit 1) dd on true
  {_DEVICE_JOINS}
"""
_LOCK_SIGNERS = """
select 1 from (
       select s.integrator_id, s.device_id from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, operation_id)
         join device_sessions s on s.operation_id = r.operation_id and s.integrator_id = r.integrator_id
        where s.device_id is not null) s
  join devices d on d.integrator_id = s.integrator_id and d.device_id = s.device_id
 order by d.integrator_id, d.device_id
   for no key update of d
"""


async def lock_approvals(
    connection: Connection, operations: Collection[OperationId], *, day_began_at: datetime
) -> Mapping[OperationId, DeviceApproval]:
    """Lock the devices that signed operations whose challenges are locked, then read what their signatures are worth.

    The sum a young device is judged by is read after its lock is won (promises.md D13), and a device that is being
    disabled is waited for, so that nothing of it counts once that is committed (DV6).
    """
    keys = columns(sorted(operations))
    await connection.fetch(_LOCK_SIGNERS, *keys)
    return {
        (row["integrator_id"], row["operation_id"]): _approval_of(row)
        for row in await connection.fetch(_APPROVALS, day_began_at, *keys)
    }


def _approval_of(row: Row) -> DeviceApproval:
    if row["device_id"] is None or row["signature"] is None:
        return DeviceApproval(SessionStatus(row["status"]), row["device_id"])
    signed = digest_of_signature(row["public_key"], row["nonce"], row["signature"])
    return DeviceApproval(SessionStatus(row["status"]), row["device_id"], _facts_of(row), signed)


async def void_signatures(connection: Connection, operations: Collection[OperationId], at: datetime) -> None:
    """Let sessions wait for another signature: the device behind the one they have no longer counts."""
    tag = await connection.execute(
        "update device_sessions s set status = 'pending', device_id = null, updated_at = $3"
        " from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, operation_id)"
        " where s.integrator_id = r.integrator_id and s.operation_id = r.operation_id and s.status = 'approved'",
        *columns(operations),
        at,
    )
    assert tag == f"UPDATE {len(operations)}"


@dataclass(frozen=True, slots=True)
class SessionOwner:
    """What a session id leads to."""

    integrator_key: UUID
    operation_key: UUID
    has_budgets: bool
    party: RelyingParty


async def find_session_owner(connection: Connection, session_id: UUID) -> SessionOwner | None:
    """Find whose session an id names; None if it is nobody's, or of an integrator that is not active."""
    row = await connection.fetchrow(
        "select s.integrator_id, s.operation_id, i.budgets, i.rp_id, i.origins from session_ids k"
        " join device_sessions s on s.integrator_id = k.integrator_id and s.session_id = k.session_id"
        " join integrators i on i.integrator_id = k.integrator_id where k.session_id = $1 and i.active",
        session_id,
    )
    if row is None:
        return None
    party = RelyingParty(row["rp_id"], tuple(row["origins"]))
    return SessionOwner(row["integrator_id"], row["operation_id"], row["budgets"], party)


async def lock_session(connection: Connection, integrator_key: UUID, session_id: UUID) -> DeviceSession:
    """Lock a session that exists; whoever also locks its operation does so before."""
    row = await connection.fetchrow(
        "select integrator_id, session_id, operation_id, status, nonce, nonce_expires_at, device_id"
        " from device_sessions where integrator_id = $1 and session_id = $2 for no key update",
        integrator_key,
        session_id,
    )
    assert row is not None
    return DeviceSession(
        row["integrator_id"],
        row["session_id"],
        row["operation_id"],
        SessionStatus(row["status"]),
        row["nonce"],
        row["nonce_expires_at"],
        row["device_id"],
    )


async def renew_nonce(connection: Connection, session: DeviceSession, nonce: str, *, at: datetime) -> datetime:
    """Tell a pending, locked session's device a new nonce, which voids the one before; answers when it ends."""
    expires_at: datetime = await connection.fetchval(
        "update device_sessions set nonce = $3, nonce_expires_at = $4::timestamptz + interval '5 minutes',"
        " updated_at = $4 where integrator_id = $1 and session_id = $2 and status = 'pending'"
        " returning nonce_expires_at",
        session.integrator_key,
        session.session_id,
        nonce,
        at,
    )
    return expires_at


async def read_signer(connection: Connection, device: Device, *, day_began_at: datetime) -> DeviceFacts:
    """What decides whether a locked device counts as active."""
    row = await connection.fetchrow(
        f"select {_FACTS} from devices d join integrators i on i.integrator_id = d.integrator_id {_DEVICE_JOINS}"
        " where d.integrator_id = $2 and d.device_id = $3",
        day_began_at,
        device.integrator_key,
        device.key,
    )
    assert row is not None
    return _facts_of(row)


@dataclass(frozen=True, slots=True)
class SignedDecision:
    """One signature that counts."""

    session: DeviceSession
    device_key: UUID
    decision: DeviceDecision
    reason: str | None
    challenge: bytes
    proof: Mapping[str, str]
    party: RelyingParty
    correlation_id: str
    at: datetime


_RECORD = """
with kept as (
    insert into device_decisions (integrator_id, nonce, session_id, operation_id, device_id, decision, reason,
                                  challenge, proof, correlation_id, decided_at, rp_id, origins)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
), moved as (
    update device_sessions
       set status = case $6 when 'approve' then 'approved' else 'denied' end, device_id = $5, nonce = null,
           nonce_expires_at = null, updated_at = $11
     where integrator_id = $1 and session_id = $3 and status = 'pending' and nonce = $2
    returning 1
)
select count(*) from moved
"""


async def record_signature(connection: Connection, signed: SignedDecision) -> None:
    """Keep a signature and move its locked session; its nonce is used up."""
    session = signed.session
    moved = await connection.fetchval(
        _RECORD,
        session.integrator_key,
        session.nonce,
        session.session_id,
        session.operation_key,
        signed.device_key,
        signed.decision.value,
        signed.reason,
        signed.challenge,
        dict(signed.proof),
        signed.correlation_id,
        signed.at,
        signed.party.rp_id,
        list(signed.party.origins),
    )
    assert moved == 1
