"""What approvers were sent and have to approve; counted from rows under the lock of a guard row, never a counter."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from aval.domain.budget import MessageHistory
from aval.storage.database import Connection
from aval.storage.rows import columns

ApproverId = tuple[UUID, UUID]  # integrator, approver

_LOCK = """
select ap.integrator_id, ap.approver_id
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, approver_id)
  join approvers ap on ap.integrator_id = r.integrator_id and ap.approver_id = r.approver_id
 order by ap.integrator_id, ap.approver_id
   for no key update of ap
"""
_LOCK_FREE = _LOCK.rstrip() + " skip locked"

# A message is at most one approval window (24 h at most, spec transfers.md §8.1) younger than its operation. `offset 0`
# keeps the look-up by the whole key: joined, the planner of a young table would take the integrator alone.
_READ = """
with clock as materialized (select coalesce($4::timestamptz, clock_timestamp()) as now)
select r.integrator_id, r.approver_id, clock.now, sent.made, sent.unanswered,
       (select count(*) from operations o
         cross join lateral (
               select from challenges c where c.integrator_id = o.integrator_id and c.operation_id = o.operation_id
                  and c.status = 'pending_2fa_approval' and c.approval_deadline > clock.now offset 0) c
         where o.approver_id = r.approver_id and o.batch_id is null and o.integrator_id = r.integrator_id
           and o.created_at > clock.now - interval '24 hours') as pending
  from clock
 cross join unnest($1::uuid[], $2::uuid[]) as r (integrator_id, approver_id)
 cross join lateral (
       select coalesce(array_agg(m.created_at order by m.created_at desc), '{}') as made,
              coalesce(array_agg(m.created_at order by m.created_at desc) filter (where not m.is_answered), '{}')
              as unanswered
         from (select m.created_at, exists (
                      select from comparisons p where p.integrator_id = m.integrator_id
                         and p.operation_id = m.operation_id and p.judged_at > m.created_at
                         and p.judged_at <= clock.now) as is_answered
                 from operations o
                 join outbox m on m.operation_id = o.operation_id
                where o.approver_id = r.approver_id and o.batch_id is null
                  and o.created_at > clock.now - interval '48 hours'
                  and m.integrator_id = r.integrator_id and m.topic = 'token'
                  and m.created_at > clock.now - interval '24 hours'
                order by m.created_at desc limit $3) m) sent
"""


async def lock_approvers(
    connection: Connection, approvers: Collection[ApproverId], *, may_wait: bool
) -> frozenset[ApproverId]:
    """Lock guard rows in key order, after operations and before accounts (promises.md D2, D13); answers which are won.

    Without `may_wait` one that is locked elsewhere is left out; with it the call waits up to lock_timeout (LockNotWon).
    """
    rows = await connection.fetch(_LOCK if may_wait else _LOCK_FREE, *columns(sorted(set(approvers))))
    return frozenset((row["integrator_id"], row["approver_id"]) for row in rows)


async def read_message_histories(
    connection: Connection, approvers: Collection[ApproverId], *, most: int, as_of: datetime | None = None
) -> tuple[datetime, Mapping[ApproverId, MessageHistory]]:
    """The clock, or `as_of` it, and what each approver was sent: the newest `most` messages, so a cap is always seen.

    Counts every token message that was promised, whatever became of it; to be exact, run it under `lock_approvers`.
    """
    rows = await connection.fetch(_READ, *columns(sorted(set(approvers))), most, as_of)
    histories = {
        (row["integrator_id"], row["approver_id"]): MessageHistory(row["made"], row["unanswered"], row["pending"])
        for row in rows
    }
    return rows[0]["now"], histories
