"""Registered devices and the challenges they answered; whether one is active is told by its challenge's status."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aval.domain.challenge import Challenge, as_seen
from aval.domain.device import CredentialType, Device, DeviceCredential, RelyingParty
from aval.storage.database import Connection, Row, UniqueViolation
from aval.storage.rows import CHALLENGE_COLUMNS, challenge_of

DEVICE_COLUMNS = (
    "d.integrator_id, d.device_id, d.account_id, d.approver_id, d.session_id, d.name, d.credential_type, d.public_key,"
    " d.credential_id, d.sign_count, d.is_backup_eligible, d.created_at, d.disabled_at"
)


class SessionTaken(Exception):
    """The session id was used before on this deployment."""


@dataclass(frozen=True, slots=True)
class DeviceChallenge:
    """What a device has to answer to be registered: 32 random bytes, for one approver on one account."""

    session_id: UUID
    account_key: UUID
    approver_key: UUID
    challenge: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ChallengeFacts:
    """What is known about an approver on an account who wants to register a device."""

    now: datetime
    account_status: str | None
    approver_key: UUID | None
    is_approver_active: bool
    has_powers: bool
    rp_id: str | None


async def read_challenge_facts(
    connection: Connection, integrator_key: UUID, account_key: UUID, document_index: bytes
) -> ChallengeFacts:
    """Read what POST device/challenge depends on."""
    row = await connection.fetchrow(
        "select clock_timestamp() as now, i.rp_id, a.status, p.approver_id, coalesce(p.active, false) as active,"
        " coalesce(cardinality(l.powers), 0) > 0 as has_powers"
        " from integrators i"
        " left join accounts a on a.integrator_id = i.integrator_id and a.account_id = $2"
        " left join approvers p on p.integrator_id = i.integrator_id and p.document_index = $3"
        " left join account_approvers l on l.integrator_id = i.integrator_id and l.account_id = a.account_id"
        " and l.approver_id = p.approver_id where i.integrator_id = $1",
        integrator_key,
        account_key,
        document_index,
    )
    assert row is not None
    return ChallengeFacts(row["now"], row["status"], row["approver_id"], row["active"], row["has_powers"], row["rp_id"])


async def insert_device_challenge(connection: Connection, integrator_key: UUID, challenge: DeviceChallenge) -> bool:
    """Store a challenge; false if its session id was used before on this deployment, by whomever."""
    made = await connection.fetchval(
        "with named as (insert into session_ids (session_id, integrator_id) values ($2, $1)"
        "   on conflict do nothing returning session_id)"
        " insert into device_challenges (integrator_id, session_id, account_id, approver_id, challenge, created_at,"
        " expires_at) select $1, session_id, $3::uuid, $4::uuid, $5::bytea, $6::timestamptz, $7::timestamptz from named"
        " returning true",
        integrator_key,
        challenge.session_id,
        challenge.account_key,
        challenge.approver_key,
        challenge.challenge,
        challenge.created_at,
        challenge.expires_at,
    )
    return made is not None


@dataclass(frozen=True, slots=True)
class RegistrationFacts:
    """What is known about the session a device was registered in, and of what else has its key."""

    now: datetime
    challenge: DeviceChallenge | None
    is_session_used: bool
    is_key_used: bool
    party: RelyingParty


async def read_registration_facts(
    connection: Connection, integrator_key: UUID, session_id: UUID, device_key: UUID
) -> RegistrationFacts:
    """Read what POST device depends on beyond what every operation does."""
    row = await connection.fetchrow(
        "select clock_timestamp() as now, i.rp_id, i.origins, c.*,"
        " d.device_id is not null or (c.session_id is null and s.session_id is not null) as is_session_used,"
        " o.operation_id is not null as is_key_used"
        " from integrators i"
        " left join device_challenges c on c.integrator_id = i.integrator_id and c.session_id = $2"
        " left join device_sessions s on s.integrator_id = i.integrator_id and s.session_id = $2"
        " left join devices d on d.integrator_id = i.integrator_id and d.session_id = $2"
        " left join operations o on o.integrator_id = i.integrator_id and o.operation_id = $3"
        " where i.integrator_id = $1",
        integrator_key,
        session_id,
        device_key,
    )
    assert row is not None
    return RegistrationFacts(
        now=row["now"],
        challenge=None if row["challenge"] is None else _challenge_of(row),
        is_session_used=row["is_session_used"],
        is_key_used=row["is_key_used"],
        party=RelyingParty(row["rp_id"], tuple(row["origins"])),
    )


def _challenge_of(row: Row) -> DeviceChallenge:
    return DeviceChallenge(
        row["session_id"],
        row["account_id"],
        row["approver_id"],
        row["challenge"],
        row["created_at"],
        row["expires_at"],
    )


async def insert_device(connection: Connection, device: Device) -> None:
    """Store a device whose operation was stored in this transaction; raises SessionTaken."""
    credential = device.credential
    try:
        await connection.execute(
            "insert into devices (integrator_id, device_id, account_id, approver_id, session_id, name, credential_type,"
            " public_key, credential_id, sign_count, is_backup_eligible, created_at)"
            " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            device.integrator_key,
            device.key,
            device.account_key,
            device.approver_key,
            device.session_id,
            device.name,
            credential.type.value,
            credential.public_key,
            credential.credential_id,
            credential.sign_count,
            credential.is_backup_eligible,
            device.created_at,
        )
    except UniqueViolation as error:
        raise SessionTaken from error


def device_of(row: Row) -> Device:
    """The device in a row with DEVICE_COLUMNS."""
    return Device(
        integrator_key=row["integrator_id"],
        key=row["device_id"],
        account_key=row["account_id"],
        approver_key=row["approver_id"],
        session_id=row["session_id"],
        name=row["name"],
        credential=DeviceCredential(
            type=CredentialType(row["credential_type"]),
            public_key=row["public_key"],
            credential_id=row["credential_id"],
            sign_count=row["sign_count"],
            is_backup_eligible=row["is_backup_eligible"],
        ),
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )


@dataclass(frozen=True, slots=True)
class RegisteredDevice:
    """A device with the challenge of its registration as seen now."""

    device: Device
    challenge: Challenge
    document_masked: str


_REGISTERED = f"""
select {DEVICE_COLUMNS}, {CHALLENGE_COLUMNS}, c.updated_at as challenge_updated_at, p.document_masked,
       clock_timestamp() as now
  from devices d
  join challenges c on c.integrator_id = d.integrator_id and c.operation_id = d.device_id
  join approvers p on p.integrator_id = d.integrator_id and p.approver_id = d.approver_id
 where d.integrator_id = $1 and d.account_id = $2
"""


async def find_device(
    connection: Connection, integrator_key: UUID, account_key: UUID, device_key: UUID
) -> RegisteredDevice | None:
    """Read one device of an account."""
    row = await connection.fetchrow(_REGISTERED + " and d.device_id = $3", integrator_key, account_key, device_key)
    return None if row is None else _registered_of(row)


async def list_devices(
    connection: Connection, integrator_key: UUID, account_key: UUID, *, offset: int, limit: int
) -> list[RegisteredDevice]:
    """Read the devices of an account, whatever became of them, oldest first."""
    rows = await connection.fetch(
        _REGISTERED + " order by d.created_at, d.device_id offset $3 limit $4",
        integrator_key,
        account_key,
        offset,
        limit,
    )
    return [_registered_of(row) for row in rows]


def _registered_of(row: Row) -> RegisteredDevice:
    return RegisteredDevice(device_of(row), as_seen(challenge_of(row), row["now"]), row["document_masked"])


async def lock_device(connection: Connection, integrator_key: UUID, device_key: UUID) -> Device | None:
    """Lock a device and read it as it is once the lock is won."""
    row = await connection.fetchrow(
        f"select {DEVICE_COLUMNS} from devices d where d.integrator_id = $1 and d.device_id = $2 for no key update",
        integrator_key,
        device_key,
    )
    return None if row is None else device_of(row)


async def disable(connection: Connection, integrator_key: UUID, device_key: UUID, at: datetime) -> None:
    """Switch a locked device off for good."""
    tag = await connection.execute(
        "update devices set disabled_at = $3 where integrator_id = $1 and device_id = $2 and disabled_at is null",
        integrator_key,
        device_key,
        at,
    )
    assert tag == "UPDATE 1"


async def move_counter(connection: Connection, device: Device, sign_count: int) -> None:
    """Remember the counter of a locked passkey."""
    await connection.execute(
        "update devices set sign_count = $3 where integrator_id = $1 and device_id = $2",
        device.integrator_key,
        device.key,
        sign_count,
    )
