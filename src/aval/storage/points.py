"""Points accounts and their ledger: a line and the balance it leaves are written by one statement."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from aval.domain.points import Balance, EntryType, PointsEntry, PointsLine, deltas
from aval.storage.database import Connection, Row
from aval.storage.rows import columns, recordset

ParticipantId = tuple[UUID, UUID]  # campaign's tenant key, participant

_LOCK = """
select a.integrator_id, a.participant_id, a.available, a.reserved, a.credited, a.debited
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, participant_id)
  join points_accounts a on a.integrator_id = r.integrator_id and a.participant_id = r.participant_id
 order by a.integrator_id, a.participant_id
   for no key update of a
"""

# After `lines`, whoever made them. Those of one account count one after the other, in the order of `place`. An account
# that one of them would take below 0 is left as it is: none of its lines is written. `locked` wins the rows in the
# order of all who lock accounts, and carries all that is written of one, so that nothing is joined to many accounts.
POSTING = """counted as (
    select r.*, sum(available) over line as available_so_far, sum(reserved) over line as reserved_so_far,
           row_number() over line as nth
      from lines r
    window line as (partition by integrator_id, participant_id order by place)
), sums as (
    select integrator_id, participant_id, sum(available)::bigint as available, sum(reserved)::bigint as reserved,
           sum(credited)::bigint as credited, sum(debited)::bigint as debited, max(created_at) as at,
           min(available_so_far)::bigint as lowest, count(*) as lines,
           array_agg(row(entry_id, entry_type, points, available_so_far::bigint, reserved_so_far::bigint, nth,
                         purchase_id, order_id, reversal_id, authorization_code, description, external_reference,
                         correlation_id, created_at)) as entries
      from counted group by integrator_id, participant_id
), locked as (
    select s.*
      from sums s
      join points_accounts a on a.integrator_id = s.integrator_id and a.participant_id = s.participant_id
     order by a.integrator_id, a.participant_id
       for no key update of a
), posted as (
    update points_accounts a
       set available = a.available + s.available, reserved = a.reserved + s.reserved,
           credited = a.credited + s.credited, debited = a.debited + s.debited,
           entry_count = a.entry_count + s.lines, updated_at = s.at
      from locked s
     where a.integrator_id = s.integrator_id and a.participant_id = s.participant_id and a.available + s.lowest >= 0
 returning a.integrator_id, a.participant_id, a.available, a.reserved, a.credited, a.debited, s.entries,
           a.available - s.available as available_before, a.reserved - s.reserved as reserved_before,
           a.entry_count - s.lines as lines_before
), entered as (
    insert into points_entries (integrator_id, entry_id, participant_id, entry_no, entry_type, points,
        available_after, reserved_after, purchase_id, order_id, reversal_id, authorization_code, description,
        external_reference, correlation_id, created_at)
    select m.integrator_id, i.entry_id, m.participant_id, m.lines_before + i.nth, i.entry_type, i.points,
           m.available_before + i.available_so_far, m.reserved_before + i.reserved_so_far, i.purchase_id, i.order_id,
           i.reversal_id, i.authorization_code, i.description, i.external_reference, i.correlation_id, i.created_at
      from posted m
     cross join lateral unnest(m.entries)
           as i (entry_id uuid, entry_type text, points bigint, available_so_far bigint, reserved_so_far bigint,
                 nth bigint, purchase_id uuid, order_id uuid, reversal_id uuid, authorization_code text,
                 description text, external_reference text, correlation_id text, created_at timestamptz)
    returning 1
)"""
_POST = f"""
with lines as (
    select *
      from rows from (json_to_recordset($1::json) as (
               integrator_id uuid, participant_id uuid, entry_id uuid, entry_type text, points bigint,
               available bigint, reserved bigint, credited bigint, debited bigint, purchase_id uuid, order_id uuid,
               reversal_id uuid, authorization_code text, description text, external_reference text,
               correlation_id text, created_at timestamptz)) with ordinality
           as r (integrator_id, participant_id, entry_id, entry_type, points, available, reserved, credited, debited,
                 purchase_id, order_id, reversal_id, authorization_code, description, external_reference,
                 correlation_id, created_at, place)
), {POSTING}
select integrator_id, participant_id, available, reserved, credited, debited from posted
"""  # noqa: S608 – constants only


class _LineRow(msgspec.Struct, frozen=True):
    """A line as it comes into the statement (docs/adr/0042)."""

    integrator_id: UUID
    participant_id: UUID
    entry_id: UUID
    entry_type: str
    points: int
    available: int
    reserved: int
    credited: int
    debited: int
    purchase_id: UUID | None
    order_id: UUID | None
    reversal_id: UUID | None
    authorization_code: str
    description: str
    external_reference: str | None
    correlation_id: str
    created_at: datetime


async def lock_points_accounts(
    connection: Connection, participants: Sequence[ParticipantId]
) -> dict[ParticipantId, Balance]:
    """Lock points accounts in key order and read them; one that does not exist is left out."""
    if not participants:
        return {}
    rows = await connection.fetch(_LOCK, *columns(sorted(set(participants))))
    return {_id_of(row): balance_of(row) for row in rows}


async def post_entries(connection: Connection, entries: Sequence[PointsEntry]) -> Mapping[ParticipantId, Balance]:
    """Write ledger lines and move their accounts, in one statement; answers the accounts as they are afterwards.

    An account that is not in the answer was left alone, with all its lines: one of them would have taken its available
    points below 0, or it does not exist. The lines of an account count in the order given.
    """
    if not entries:
        return {}
    rows = await connection.fetch(_POST, recordset(map(_row_of, entries)))
    return {_id_of(row): balance_of(row) for row in rows}


def _row_of(entry: PointsEntry) -> _LineRow:
    return _LineRow(
        entry.integrator_key,
        entry.participant_key,
        entry.key,
        entry.entry_type.value,
        entry.points,
        *deltas(entry.entry_type, entry.points),
        entry.purchase_key,
        entry.order_key,
        entry.reversal_key,
        entry.authorization_code,
        entry.description,
        entry.external_reference,
        entry.correlation_id,
        entry.created_at,
    )


def _id_of(row: Row) -> ParticipantId:
    return row["integrator_id"], row["participant_id"]


def balance_of(row: Row) -> Balance:
    """Turn a row that holds the four sums of an account into its balance."""
    return Balance(row["available"], row["reserved"], row["credited"], row["debited"])


async def find_balance(connection: Connection, integrator_key: UUID, participant_key: UUID) -> Balance | None:
    """Read a points account; None if the campaign has no such participant."""
    row = await connection.fetchrow(
        "select available, reserved, credited, debited from points_accounts"
        " where integrator_id = $1 and participant_id = $2",
        integrator_key,
        participant_key,
    )
    return None if row is None else balance_of(row)


_IN_STRETCH = (
    " from points_entries where integrator_id = $1 and participant_id = $2"
    " and ($3::timestamptz is null or created_at >= $3) and ($4::timestamptz is null or created_at < $4)"
)


async def list_lines(
    connection: Connection,
    integrator_key: UUID,
    participant_key: UUID,
    *,
    start_at: datetime | None,
    end_at: datetime | None,
    offset: int,
    limit: int,
) -> tuple[list[PointsLine], int]:
    """Read ledger lines of a stretch of time, its end excluded, newest first; and how many there are in all."""
    stretch = (integrator_key, participant_key, start_at, end_at)
    rows = await connection.fetch(
        f"select *{_IN_STRETCH} order by entry_no desc offset $5 limit $6",  # noqa: S608
        *stretch,
        offset,
        limit,
    )
    total: int = await connection.fetchval(f"select count(*){_IN_STRETCH}", *stretch)  # noqa: S608
    return [_line(row) for row in rows], total


def _line(row: Row) -> PointsLine:
    return PointsLine(
        key=row["entry_id"],
        entry_type=EntryType(row["entry_type"]),
        points=row["points"],
        available_after=row["available_after"],
        reserved_after=row["reserved_after"],
        authorization_code=row["authorization_code"],
        description=row["description"],
        external_reference=row["external_reference"],
        purchase_key=row["purchase_id"],
        order_key=row["order_id"],
        created_at=row["created_at"],
    )
