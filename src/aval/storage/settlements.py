"""Settlement jobs: claimed with a lease and a rising fence, finished only by the worker that still holds them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.transfer import Transfer
from aval.storage.challenges import OperationId, lock_operations
from aval.storage.database import Connection, Row
from aval.storage.rows import CHALLENGE_COLUMNS, OPERATION_COLUMNS, challenge_of, columns, transfer_of

ITEMS_UNBOUNDED = 2**31 - 1
CALLBACK_LOCK_TIMEOUT = "700ms"  # shorter than others wait for a connection


@dataclass(frozen=True, slots=True)
class SettlementJob:
    """A leased job. `send_count` counts sends that may have reached the rail, each committed before it was made.

    `held_until_ns` ends the lease on this process's monotonic clock; it began to run before PostgreSQL was asked.
    """

    transfer: Transfer
    challenge: Challenge
    item_no: int
    rail_reference: UUID
    rail_status: str | None
    send_count: int
    claim_count: int
    fence: int
    approved_at: datetime
    now: datetime
    settlement_mode: str
    sync_wait: timedelta
    rail_url: str | None
    rail_secret_sealed: bytes | None
    held_until_ns: int


_CLAIM = f"""
with singles as (
    select integrator_id, operation_id, item_no from settlement_jobs
     where state = 'ready' and not is_item and due_at <= (select clock_timestamp())
     order by due_at limit $1 for update skip locked
), items as (
    select integrator_id, operation_id, item_no from settlement_jobs
     where state = 'ready' and is_item and due_at <= (select clock_timestamp())
     order by due_at limit least($3, greatest(($1 + 3) / 4, $1 - (select count(*) from singles))) for update skip locked
), due as (
    select * from singles union all select * from items
), claimed as (
    update settlement_jobs j
       set due_at = clock_timestamp() + $2, fence = j.fence + 1, claim_count = least(j.claim_count + 1, 32767),
           send_count = j.send_count + (j.rail_status is null and j.send_count = 0)::int,
           updated_at = clock_timestamp()
      from due where (j.integrator_id, j.operation_id, j.item_no) = (due.integrator_id, due.operation_id, due.item_no)
    returning j.*, clock_timestamp() as now
)
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}, j.item_no as job_item_no, j.rail_reference,
       j.rail_status, j.send_count, j.claim_count, j.fence, j.created_at as approved_at, j.now, i.settlement_mode,
       i.sync_wait_seconds, i.rail_url, i.rail_secret_sealed
  from claimed j
  join operations o on o.integrator_id = j.integrator_id and o.operation_id = j.operation_id
  join challenges c on c.integrator_id = j.integrator_id and c.operation_id = j.operation_id
  join integrators i on i.integrator_id = j.integrator_id
"""


async def claim_settlements(
    connection: Connection, *, most: int, lease: timedelta, items_most: int = ITEMS_UNBOUNDED
) -> list[SettlementJob]:
    """Lease jobs that are due: single transfers first, then items of batches, at most `items_most` of these.

    Items get a quarter of `most` however many singles wait, even beyond it. The first claim of a job counts its send,
    so that a crash in between asks first.
    """
    held_until_ns = lease_end_ns(lease)
    rows = await connection.fetch(_CLAIM, most, lease, items_most)
    return [
        SettlementJob(
            transfer=transfer_of(row),
            challenge=challenge_of(row),
            item_no=row["job_item_no"],
            rail_reference=row["rail_reference"],
            rail_status=row["rail_status"],
            send_count=row["send_count"],
            claim_count=row["claim_count"],
            fence=row["fence"],
            approved_at=row["approved_at"],
            now=row["now"],
            settlement_mode=row["settlement_mode"],
            sync_wait=timedelta(seconds=row["sync_wait_seconds"]),
            rail_url=row["rail_url"],
            rail_secret_sealed=row["rail_secret_sealed"],
            held_until_ns=held_until_ns,
        )
        for row in rows
    ]


def lease_end_ns(lease: timedelta) -> int:
    """When a lease asked for now ends, on the monotonic clock: the event loop's own may stand still for a turn."""
    return time.monotonic_ns() + lease // timedelta(microseconds=1) * 1_000


async def count_send(connection: Connection, job: SettlementJob, *, lease: timedelta) -> datetime | None:
    """Commit that one more send is about to leave; None if the lease was lost, then nothing may be sent."""
    at: datetime | None = await connection.fetchval(
        "update settlement_jobs set send_count = send_count + 1, due_at = clock_timestamp() + $5"
        " where integrator_id = $1 and operation_id = $2 and item_no = $3 and fence = $4 and state = 'ready'"
        " returning clock_timestamp()",
        job.transfer.integrator_key,
        job.transfer.key,
        job.item_no,
        job.fence,
        lease,
    )
    return at


@dataclass(frozen=True, slots=True)
class LockedJob:
    """A job as it is once its operation and itself are locked; `is_ours` is false when the lease was lost."""

    transfer: Transfer
    challenge: Challenge
    item_no: int
    rail_status: str | None
    due_at: datetime
    is_ours: bool


_LOCK_OPERATIONS = """
select c.integrator_id, c.operation_id, c.status from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, operation_id)
  join challenges c on c.integrator_id = r.integrator_id and c.operation_id = r.operation_id
 order by c.integrator_id, c.operation_id for no key update of c
"""
_LOCK_FREE_OPERATIONS = _LOCK_OPERATIONS.rstrip() + " skip locked"
_LOCK_JOBS = f"""
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}, j.item_no as job_item_no, j.rail_status, j.due_at,
       r.fence is null or r.fence = j.fence as is_ours
  from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::integer[])
       with ordinality as r (integrator_id, operation_id, item_no, fence, place)
  join settlement_jobs j on j.integrator_id = r.integrator_id and j.operation_id = r.operation_id
       and j.item_no = r.item_no
  join operations o on o.integrator_id = j.integrator_id and o.operation_id = j.operation_id
  join challenges c on c.integrator_id = j.integrator_id and c.operation_id = j.operation_id
 order by r.place
   for no key update of j
"""


class ItemMove(NamedTuple):
    """The batch of an item, and the statuses that the item may leave on what was said of it."""

    batch_key: UUID
    statuses: frozenset[str]


LockedBatches = Mapping[OperationId, tuple[Transfer, Challenge]]


class JobKey(NamedTuple):
    """A job and the lease it is held by; a fence of None asks for no lease."""

    integrator_key: UUID
    operation_key: UUID
    item_no: int
    fence: int | None


async def lock_settlements(
    connection: Connection, keys: Sequence[JobKey], *, leaving: Mapping[OperationId, ItemMove], may_wait: bool
) -> tuple[list[LockedJob | None], LockedBatches]:
    """Lock operations, then the batches of the items that are leaving a status they really have, then jobs.

    Without `may_wait` a job whose operation is locked elsewhere is None; batches are waited for.
    """
    operations = columns(key[:2] for key in keys)
    statement = _LOCK_OPERATIONS if may_wait else _LOCK_FREE_OPERATIONS
    rows = await connection.fetch(statement, *operations)
    won = {(row["integrator_id"], row["operation_id"]): row["status"] for row in rows}
    asked = [key for key in keys if key[:2] in won]
    batches = {(key[0], move.batch_key) for key, move in leaving.items() if won.get(key) in move.statuses}
    locked = await lock_operations(connection, sorted(batches), may_wait=True) if batches else {}
    jobs = iter(await connection.fetch(_LOCK_JOBS, *columns(asked)) if asked else ())
    return [_locked_of(next(jobs)) if key[:2] in won else None for key in keys], locked


def _locked_of(row: Row) -> LockedJob:
    return LockedJob(
        transfer=transfer_of(row),
        challenge=challenge_of(row),
        item_no=row["job_item_no"],
        rail_status=row["rail_status"],
        due_at=row["due_at"],
        is_ours=row["is_ours"],
    )


@dataclass(frozen=True, slots=True)
class Settled:
    """What one rail answer changes. `after` is None when the operation stays as it is."""

    job: LockedJob
    after: Challenge | None
    rail_status: str
    state: str
    due_at: datetime
    last_error: str | None
    refund_amount: int = 0  # centavos
    refund_fee: int = 0
    refund_type: str = "transfer_refund"


_WRITE_JOBS = """
update settlement_jobs j
   set rail_status = r.rail_status, state = r.state, due_at = r.due_at, last_error = r.last_error,
       updated_at = clock_timestamp()
  from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::timestamptz[], $7::text[])
       as r (integrator_id, operation_id, item_no, rail_status, state, due_at, last_error)
 where j.integrator_id = r.integrator_id and j.operation_id = r.operation_id and j.item_no = r.item_no
"""
_WRITE_MOVES = """
with input as (
    select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::uuid[],
                         $8::integer[], $9::timestamptz[], $10::uuid[], $11::bigint[], $12::bigint[], $13::text[],
                         $14::text[])
           as r (integrator_id, operation_id, former, status, rejection_reason, refusal, transaction_key,
                 event_sequence, at, account_id, refund_amount, refund_fee, refund_type, correlation_id)
), moved as (
    update challenges c
       set status = r.status, rejection_reason = r.rejection_reason, refusal = r.refusal,
           transaction_key = r.transaction_key, event_sequence = r.event_sequence, updated_at = r.at
      from input r
     where c.integrator_id = r.integrator_id and c.operation_id = r.operation_id and c.status = r.former
    returning 1
), credited as (
    update accounts a set balance_centavos = a.balance_centavos + s.total, updated_at = s.at
      from (select integrator_id, account_id, sum(refund_amount + refund_fee) as total, max(at) as at
              from input where refund_amount > 0 group by integrator_id, account_id) s
     where a.integrator_id = s.integrator_id and a.account_id = s.account_id
    returning 1
), entered as (
    insert into ledger_entries (integrator_id, source_id, entry_type, account_id, direction, contra_account,
                                amount_centavos, created_at)
    select integrator_id, operation_id, refund_type, account_id, 'credit', 'settlement', refund_amount, at
      from input where refund_amount > 0
    union all
    select integrator_id, operation_id, 'fee_refund', account_id, 'credit', 'fees', refund_fee, at
      from input where refund_fee > 0
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    select integrator_id, gen_random_uuid(), at, 'worker', 'operation.settled', operation_id,
           jsonb_build_object('status', status, 'rejection_reason', rejection_reason), correlation_id
      from input
)
select count(*) from moved
"""
_LOCK_ACCOUNTS = """
select 1 from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, account_id)
  join accounts a on a.integrator_id = r.integrator_id and a.account_id = r.account_id
 order by a.integrator_id, a.account_id for no key update of a
"""


async def write_settlements(connection: Connection, settled: Iterable[Settled]) -> None:
    """Write what the rail said of locked jobs: job, status, refund, ledger and audit, in one transaction."""
    results = list(settled)
    refunds = sorted({_account_of(result) for result in results if result.refund_amount})
    if refunds:
        await connection.fetch(_LOCK_ACCOUNTS, *columns(refunds))
    moves = [_move_columns(result, result.after) for result in results if result.after is not None]
    if moves:
        assert await connection.fetchval(_WRITE_MOVES, *columns(moves)) == len(moves)
    if results:
        await connection.execute(_WRITE_JOBS, *columns(map(_job_columns, results)))


def _account_of(result: Settled) -> tuple[UUID, UUID]:
    return result.job.transfer.integrator_key, result.job.transfer.account_key


def _job_columns(result: Settled) -> tuple[Any, ...]:
    transfer = result.job.transfer
    return (
        transfer.integrator_key,
        transfer.key,
        result.job.item_no,
        result.rail_status,
        result.state,
        result.due_at,
        result.last_error,
    )


def _move_columns(result: Settled, after: Challenge) -> tuple[Any, ...]:
    transfer = result.job.transfer
    return (
        transfer.integrator_key,
        transfer.key,
        result.job.challenge.status.value,
        after.status.value,
        after.rejection_reason,
        after.refusal,
        after.transaction_key,
        after.event_sequence,
        after.updated_at,
        transfer.account_key,
        result.refund_amount,
        result.refund_fee,
        result.refund_type,
        transfer.correlation_id,
    )


async def find_job(
    connection: Connection, integrator_key: UUID, rail_reference: UUID
) -> tuple[UUID, int, UUID | None] | None:
    """The (operation, item number, batch if it is an item) a rail reference of this integrator stands for, or None.

    From here on the transaction waits for locks but briefly: a core repeats what was not taken, and callbacks on an
    operation whose worker is frozen must not hold the connections that others need.
    """
    row = await connection.fetchrow(
        "select j.operation_id, j.item_no, o.batch_id, set_config('lock_timeout', $3, true) from settlement_jobs j"
        " join operations o on o.integrator_id = j.integrator_id and o.operation_id = j.operation_id"
        " where j.integrator_id = $1 and j.operation_id = $2 and j.rail_reference = $2",
        integrator_key,
        rail_reference,
        CALLBACK_LOCK_TIMEOUT,
    )
    return None if row is None else (row["operation_id"], row["item_no"], row["batch_id"])
