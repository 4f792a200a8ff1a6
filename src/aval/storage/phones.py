"""Security devices of participants; what changes one holds the guard of its participant, then of its challenge.

Numbers are sealed in `contacts`, which the API writes and does not read; here stand their keyed hash and their mask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.phone import PhoneDevice, PhoneStatus
from aval.domain.redemption_view import DELIVERIES, QUEUED
from aval.storage.database import Connection, Row
from aval.storage.rows import CHALLENGE_COLUMNS, challenge_of, columns

PhoneId = tuple[UUID, UUID]  # campaign's tenant key, device

# Selected wherever a device is read: d phone_devices.
PHONE_COLUMNS = (
    "d.integrator_id as tenant_key, d.device_id, d.participant_id, d.number_index, d.masked_number,"
    " d.status as phone_status, d.failure_reason, d.policy_version, d.replacement_id, d.verified_at, d.active_from,"
    " d.replaced_by, d.undeliverable_at, d.event_sequence as phone_sequence, d.created_at as phone_created_at,"
    " d.updated_at as phone_updated_at"
)


@dataclass(frozen=True, slots=True)
class ShownPhone:
    """A device as of `now`; its challenge while one is awaited, and what became of that one's last message."""

    device: PhoneDevice
    challenge: Challenge | None
    delivery: str
    now: datetime


def phone_of(row: Row) -> PhoneDevice:
    """Turn a row that holds PHONE_COLUMNS into a device."""
    return PhoneDevice(
        integrator_key=row["tenant_key"],
        key=row["device_id"],
        participant_key=row["participant_id"],
        number_index=row["number_index"],
        masked_number=row["masked_number"],
        status=PhoneStatus(row["phone_status"]),
        policy_version=row["policy_version"],
        created_at=row["phone_created_at"],
        updated_at=row["phone_updated_at"],
        failure_reason=row["failure_reason"],
        replacement_key=row["replacement_id"],
        verified_at=row["verified_at"],
        active_from=row["active_from"],
        replaced_by=row["replaced_by"],
        undeliverable_at=row["undeliverable_at"],
        event_sequence=row["phone_sequence"],
    )


async def insert_phone(connection: Connection, device: PhoneDevice, *, number_sealed: bytes) -> None:
    """Store a device and its contact; the guard row of its number is there (`lock_number`)."""
    await connection.execute(
        "with contact as ("
        " insert into contacts (integrator_id, contact_id, approver_id, contact_type, destination_sealed,"
        "   masked_destination, usable_at, created_at) values ($1, $2, $3, 'device', $4, $5, $6, $6))"
        " insert into phone_devices (integrator_id, device_id, participant_id, number_index, masked_number, status,"
        "   policy_version, created_at, updated_at) values ($1, $2, $3, $7, $5, $8, $9, $6, $6)",
        device.integrator_key,
        device.key,
        device.participant_key,
        number_sealed,
        device.masked_number,
        device.created_at,
        device.number_index,
        device.status.value,
        device.policy_version,
    )


_WRITE = """
with input as (
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::timestamptz[],
                         $8::timestamptz[], $9::uuid[], $10::integer[], $11::timestamptz[], $12::boolean[])
           as r (integrator_id, device_id, former_status, status, failure_reason, replacement_id, verified_at,
                 active_from, replaced_by, event_sequence, at, is_over)
), ended as (
    update contacts k set removed_at = r.at
      from input r where r.is_over and k.integrator_id = r.integrator_id and k.contact_id = r.device_id
), moved as (
    update phone_devices d
       set status = r.status, failure_reason = r.failure_reason, replacement_id = r.replacement_id,
           verified_at = r.verified_at, active_from = r.active_from, replaced_by = r.replaced_by,
           event_sequence = r.event_sequence, updated_at = r.at
      from input r
     where d.integrator_id = r.integrator_id and d.device_id = r.device_id and d.status = r.former_status
 returning 1
)
select count(*) from moved
"""


async def write_phones(connection: Connection, moves: Sequence[tuple[PhoneDevice, PhoneDevice]]) -> None:
    """Write devices, as they were and as they are now, in one statement; no token travels to one that is over.

    One that is not as it was read is a bug of ours: whoever moves a device holds its guard or its challenge.
    """
    rows = [_moved_columns(before, after) for before, after in moves]
    assert await connection.fetchval(_WRITE, *columns(rows)) == len(rows)


def _moved_columns(before: PhoneDevice, after: PhoneDevice) -> tuple[Any, ...]:
    return (
        after.integrator_key,
        after.key,
        before.status.value,
        after.status.value,
        after.failure_reason,
        after.replacement_key,
        after.verified_at,
        after.active_from,
        after.replaced_by,
        after.event_sequence,
        after.updated_at,
        not (after.is_in_use or after.is_in_registration),
    )


_OF_PARTICIPANT = f"""
select {PHONE_COLUMNS} from phone_devices d
 where d.participant_id = $2 and d.integrator_id = $1
   and (d.status in ('pending_verification', 'pending_replacement', 'active', 'blocked')
        or d.created_at > clock_timestamp() - interval '24 hours')
 order by d.created_at desc, d.device_id desc
"""  # noqa: S608 – constants only


async def read_present_phones(connection: Connection, integrator_key: UUID, participant_key: UUID) -> list[PhoneDevice]:
    """Devices of a participant that decide what may happen next: in use, in registration, or made within 24 hours."""
    return [phone_of(row) for row in await connection.fetch(_OF_PARTICIPANT, integrator_key, participant_key)]


async def had_active_phone(connection: Connection, integrator_key: UUID, participant_key: UUID) -> bool:
    """Tell whether a device of the participant was ever active."""
    found = await connection.fetchval(
        "select true from phone_devices where participant_id = $2 and integrator_id = $1 and active_from is not null"
        " limit 1",
        integrator_key,
        participant_key,
    )
    return found is not None


async def find_phone(connection: Connection, integrator_key: UUID, device_key: UUID) -> PhoneDevice | None:
    """Read a device of a campaign; None if there is none of this key."""
    row = await connection.fetchrow(
        f"select {PHONE_COLUMNS} from phone_devices d where d.integrator_id = $1 and d.device_id = $2",  # noqa: S608
        integrator_key,
        device_key,
    )
    return None if row is None else phone_of(row)


async def find_tenant_of_phone(connection: Connection, device_key: UUID) -> UUID | None:
    """Tell the campaign of a device, which only the back office asks; None if no campaign has one of this key."""
    tenant: UUID | None = await connection.fetchval(
        "select integrator_id from phone_devices where device_id = $1", device_key
    )
    return tenant


_SHOWN = f"""
select {PHONE_COLUMNS}, {CHALLENGE_COLUMNS}, clock_timestamp() as now,
       (select m.state from outbox m where m.operation_id = c.operation_id and m.integrator_id = c.integrator_id
           and m.generation = c.generation) as delivery
  from phone_devices d
  left join challenges c on d.status in ('pending_verification', 'pending_replacement')
       and c.integrator_id = d.integrator_id and c.operation_id = coalesce(d.replacement_id, d.device_id)
"""  # noqa: S608 – constants only


async def read_shown_phone(connection: Connection, integrator_key: UUID, device_key: UUID) -> ShownPhone | None:
    """Read a device with its challenge, as answers tell it; None if there is none of this key."""
    row = await connection.fetchrow(
        f"{_SHOWN} where d.integrator_id = $1 and d.device_id = $2", integrator_key, device_key
    )
    return None if row is None else _shown(row)


async def list_shown_phones(
    connection: Connection, integrator_key: UUID, participant_key: UUID, *, offset: int, limit: int
) -> tuple[list[ShownPhone], int]:
    """Read devices of a participant, newest first, and tell how many there are."""
    rows = await connection.fetch(
        f"{_SHOWN} where d.participant_id = $2 and d.integrator_id = $1"
        " order by d.created_at desc, d.device_id desc offset $3 limit $4",
        integrator_key,
        participant_key,
        offset,
        limit,
    )
    total: int = await connection.fetchval(
        "select count(*) from phone_devices where participant_id = $2 and integrator_id = $1",
        integrator_key,
        participant_key,
    )
    return [_shown(row) for row in rows], total


def _shown(row: Row) -> ShownPhone:
    challenge = None if row["method"] is None else challenge_of(row)
    return ShownPhone(phone_of(row), challenge, DELIVERIES.get(row["delivery"], QUEUED), row["now"])


_REGISTERING = f"""
select {PHONE_COLUMNS}
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, operation_id)
 cross join lateral (
       select * from phone_devices e where e.integrator_id = r.integrator_id and e.device_id = r.operation_id
       union all
       select * from phone_devices e where e.replacement_id = r.operation_id and e.integrator_id = r.integrator_id) d
 where d.status in ('pending_verification', 'pending_replacement')
   and coalesce(d.replacement_id, d.device_id) = r.operation_id
"""  # noqa: S608 – constants only


async def read_registering_phones(connection: Connection, operations: Sequence[PhoneId]) -> list[PhoneDevice]:
    """Devices that wait for the tokens of these operations, whose challenges the caller holds."""
    return [phone_of(row) for row in await connection.fetch(_REGISTERING, *columns(operations))]


async def lock_number(connection: Connection, integrator_key: UUID, number_index: bytes) -> None:
    """Take the guard of a number, after challenges and guards of messages, to count its users and messages."""
    await connection.execute(
        "insert into phone_numbers (integrator_id, number_index) values ($1, $2) on conflict do nothing",
        integrator_key,
        number_index,
    )
    await connection.execute(
        "select from phone_numbers where integrator_id = $1 and number_index = $2 for no key update",
        integrator_key,
        number_index,
    )


async def read_number_users(connection: Connection, integrator_key: UUID, number_index: bytes) -> frozenset[UUID]:
    """Participants of the campaign whose device has this number; exact under `lock_number`."""
    rows = await connection.fetch(
        "select participant_id from phone_devices where number_index = $2 and integrator_id = $1"
        " and status in ('active', 'blocked')",
        integrator_key,
        number_index,
    )
    return frozenset(row["participant_id"] for row in rows)


async def read_sealed_number(connection: Connection, integrator_key: UUID, device_key: UUID) -> bytes | None:
    """Read the sealed number of a device, for `devices.read_full`; whoever reads it writes that down."""
    number_sealed: bytes | None = await connection.fetchval(
        "select phone_number_sealed($1, $2)", integrator_key, device_key
    )
    return number_sealed


async def list_phone_keys(connection: Connection, integrator_key: UUID, participant_key: UUID) -> list[UUID]:
    """Keys of all devices a participant ever had."""
    rows = await connection.fetch(
        "select device_id from phone_devices where participant_id = $2 and integrator_id = $1",
        integrator_key,
        participant_key,
    )
    return [row["device_id"] for row in rows]


async def overwrite_number(
    connection: Connection,
    integrator_key: UUID,
    device_key: UUID,
    *,
    number_index: bytes,
    number_sealed: bytes,
    masked_number: str,
) -> None:
    """Put what fits nobody in place of a number, its index and its masks."""
    await lock_number(connection, integrator_key, number_index)
    await connection.execute(
        "with contact as (update contacts set destination_sealed = $4, masked_destination = $5"
        "   where integrator_id = $1 and contact_id = $2), challenge as ("
        " update challenges c set masked_destination = $5 from phone_devices d"
        "  where d.integrator_id = $1 and d.device_id = $2 and c.integrator_id = $1"
        "    and c.operation_id in (d.device_id, d.replacement_id))"
        " update phone_devices set number_index = $3, masked_number = $5 where integrator_id = $1 and device_id = $2",
        integrator_key,
        device_key,
        number_index,
        number_sealed,
        masked_number,
    )


async def mark_undeliverable(connection: Connection, devices: Sequence[PhoneId], at: datetime) -> None:
    """Remember that providers refused messages to these devices for good; the first time counts."""
    await connection.execute(
        "update phone_devices d set undeliverable_at = $3, updated_at = $3"
        "  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, device_id)"
        " where d.integrator_id = r.integrator_id and d.device_id = r.device_id and d.undeliverable_at is null",
        *columns(devices),
        at,
    )
