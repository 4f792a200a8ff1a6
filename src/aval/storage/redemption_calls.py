"""What second-factor calls of redemptions look up under their locks: the clock, kept answers, messages to a number."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from aval.domain.redemption_call import RedemptionCall
from aval.storage.challenges import Remembered
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Row
from aval.storage.redeemers import is_unchanged, recalled_columns
from aval.storage.rows import columns


class KnownCall(msgspec.Struct, frozen=True):
    """What of a call is known under its locks: whether its caller is as recalled, and its kept answer."""

    is_unchanged: bool = True
    kept: Remembered | None = None


_READ = f"""
select clock_timestamp() as now, ik.fingerprint, ik.status, ik.body,
       {is_unchanged("r.key_no", 8)} and (r.key_no is null or (q.username, q.catalog_id) = (r.username, r.catalog_id))
                 as is_unchanged
  from unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::integer[]) with ordinality
       as r (integrator_id, path, idempotency_key, participant_id, username, catalog_id, key_no, place)
  left join idempotency_keys ik on ik.integrator_id = r.integrator_id and ik.path = r.path
       and ik.idempotency_key = r.idempotency_key and ik.created_at > clock_timestamp() - interval '24 hours'
  left join lateral ( -- by the whole key, however young the table is (docs/adr/0017)
       select p.username, p.catalog_id from participants p
        where p.integrator_id = r.integrator_id and p.participant_id = r.participant_id offset 0) q on true
 order by r.place
"""  # noqa: S608 – constants only


async def read_known(connection: Connection, calls: Sequence[RedemptionCall]) -> tuple[datetime, Sequence[KnownCall]]:
    """The clock, and what is known of each call; run after the locks are held."""
    callers = [call.caller for call in calls]
    if not any(call.idempotency_key or call.caller.recalled for call in calls):
        return await read_clock(connection), [KnownCall()] * len(calls)
    numbers, keys = recalled_columns(callers)
    rows = await connection.fetch(_READ, *columns(map(_asked, calls)), numbers, *keys)
    return rows[0]["now"], list(map(_known, rows))


def _asked(call: RedemptionCall) -> tuple[object, ...]:
    caller, recalled = call.caller, call.caller.recalled
    names = (None, None) if recalled is None else (recalled.username, recalled.catalog_id)
    return (caller.tenant.key, call.path, call.idempotency_key, caller.participant_key, *names)


def _known(row: Row) -> KnownCall:
    answered = row["fingerprint"] is not None
    kept = Remembered(row["fingerprint"], row["status"], row["body"]) if answered else None
    return KnownCall(bool(row["is_unchanged"]), kept)


class NumberState(msgspec.Struct, frozen=True):
    """What is known of the number behind a phone once it is locked: when messages went there, newest first."""

    undeliverable_at: datetime | None
    sent: Sequence[datetime]


PhoneId = tuple[UUID, UUID]  # campaign's tenant key, device

_LOCK_NUMBERS = """
select n.integrator_id
  from phone_numbers n
 where (n.integrator_id, n.number_index) in (
       select d.integrator_id, d.number_index
         from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, device_id)
         join phone_devices d on d.integrator_id = r.integrator_id and d.device_id = r.device_id)
 order by n.integrator_id, n.number_index
   for no key update of n
"""
# The number of a phone may belong to other participants, too: their devices, their operations, the messages of these.
# A message is at most one approval window (24 h at most) younger than its operation.
_READ_NUMBERS = """
select r.integrator_id, r.device_id, d.undeliverable_at, sent.made
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, device_id)
  join phone_devices d on d.integrator_id = r.integrator_id and d.device_id = r.device_id
 cross join lateral (
       select coalesce(array_agg(m.created_at order by m.created_at desc), '{}') as made
         from phone_devices e
        cross join lateral (
              select operation_id from operations
               where approver_id = e.participant_id and batch_id is null and (integrator_id = e.integrator_id) is true
                 and created_at > clock_timestamp() - interval '48 hours' offset 0) o
         join outbox m on m.operation_id = o.operation_id
        where e.number_index = d.number_index and (e.integrator_id = d.integrator_id) is true
          and m.integrator_id = d.integrator_id and m.contact_id = e.device_id
          and m.topic = 'token' and m.created_at > clock_timestamp() - interval '24 hours') sent
"""


async def lock_numbers(connection: Connection, phones: Collection[PhoneId]) -> None:
    """Lock the numbers of phones in key order, after challenges and approvers (docs/adr/0034); the call waits."""
    if phones:
        await connection.execute(_LOCK_NUMBERS, *columns(sorted(set(phones))))


async def read_numbers(connection: Connection, phones: Collection[PhoneId]) -> Mapping[PhoneId, NumberState]:
    """What the numbers of phones were sent in 24 h; exact under `lock_numbers`."""
    if not phones:
        return {}
    rows = await connection.fetch(_READ_NUMBERS, *columns(sorted(set(phones))))
    return {(row["integrator_id"], row["device_id"]): NumberState(row["undeliverable_at"], row["made"]) for row in rows}
