"""Moves of purchases under their locks, each with all that belongs to it, in one statement for many."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.points import EntryType, deltas
from aval.domain.purchase import Purchase
from aval.storage.challenges import Decision
from aval.storage.database import Connection
from aval.storage.points import POSTING
from aval.storage.rows import columns
from aval.storage.webhook_events import TELLING


class PurchaseMove(msgspec.Struct, frozen=True, kw_only=True):
    """A move of a purchase, the ledger line, the event and the one audit record of it.

    `decision` is the end of its challenge, if that is not written yet; `entry_type` what the ledger says, if anything.
    """

    before: Purchase
    after: Purchase
    actor: str
    correlation_id: str
    audit_key: UUID
    audit_details: Mapping[str, Any]
    event_key: UUID
    event_body: str
    entry_key: UUID
    entry_type: EntryType | None
    decision: Decision | None = None

    @property
    def has_entry(self) -> bool:
        """Whether points move, too."""
        return self.entry_type is not None and self.after.debited_points > 0


# What a line of the ledger does to the account for each point, by its type: written here from the domain's table.
_FACTORS = ", ".join(
    f"('{kind}', {', '.join(map(str, deltas(kind, 1)))})" for kind in (EntryType.DEBIT, EntryType.RELEASE)
)

# What a row does not tell of its purchase the table knows.
_MOVED = f"""
with input as (
    select r.*, 'purchase.' || r.status as told_as
      from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                  $8::json[], $9::integer[], $10::timestamptz[], $11::uuid[], $12::text[], $13::jsonb[], $14::text[],
                  $15::uuid[], $16::text[], $17::uuid[], $18::text[], $19::text[], $20::smallint[], $21::smallint[],
                  $22::smallint[], $23::text[], $24::text[], $25::boolean[]) with ordinality
           as r (integrator_id, purchase_id, former_status, status, rejection_reason, confirmed_at, authorized_until,
                 status_history, event_sequence, at, audit_id, actor, audit_details,
                 correlation_id, entry_id, entry_type, event_id, event_body, challenge_status, attempts_used,
                 former_attempts, generation, comparison, alphabet, is_budgeted, place)
), moved as (
    update purchases p
       set status = r.status, rejection_reason = r.rejection_reason, confirmed_at = r.confirmed_at,
           authorized_until = r.authorized_until, status_history = r.status_history,
           event_sequence = r.event_sequence, updated_at = r.at
      from input r
     where p.integrator_id = r.integrator_id and p.purchase_id = r.purchase_id and p.status = r.former_status
       and p.event_sequence = r.event_sequence - 1
    returning p.integrator_id, p.purchase_id, p.participant_id, p.debited_points, p.authorization_code, p.description,
              r.entry_id, r.entry_type, r.correlation_id, r.at, r.place, r.former_attempts, r.generation, r.comparison,
              r.alphabet, r.is_budgeted
), decided as (
    update challenges c
       set status = r.challenge_status, attempts_used = r.attempts_used, rejection_reason = r.rejection_reason,
           consumed_at = case when r.challenge_status = 'approved' then r.at end, updated_at = r.at
      from input r
     where c.integrator_id = r.integrator_id and c.operation_id = r.purchase_id and r.challenge_status is not null
       and c.status = 'pending_2fa_approval' and c.generation = r.generation and c.attempts_used = r.former_attempts
    returning 1
), audited as (
    insert into audit (integrator_id, audit_id, at, actor, action, operation_id, details, correlation_id)
    select integrator_id, audit_id, at, actor, told_as, purchase_id, audit_details, correlation_id from input
), lines as (
    select m.integrator_id, m.participant_id, m.entry_id, m.entry_type, m.debited_points as points,
           m.debited_points * f.available as available, m.debited_points * f.reserved as reserved,
           m.debited_points * f.credited as credited, m.debited_points * f.debited as debited, m.purchase_id,
           null::uuid as order_id, null::uuid as reversal_id, m.authorization_code, m.description,
           null::text as external_reference, m.correlation_id, m.at as created_at, m.place
      from moved m
      join (values {_FACTORS}) as f (entry_type, available, reserved, credited, debited) on f.entry_type = m.entry_type
     where m.debited_points > 0
), {POSTING}, happened as not materialized (
    select integrator_id, event_id, purchase_id as operation_id, 'purchase' as operation_kind,
           event_sequence as sequence, told_as as event_type, event_body as body, correlation_id, at,
           null::uuid as item_id
      from input
), {TELLING}"""  # noqa: S608 – constants only
_COUNTS = """
select (select count(*) from moved) as moved, (select count(*) from decided) as decided,
       (select count(*) from entered) as entered
"""
_MOVE_ENDINGS = _MOVED + _COUNTS
_MOVE = (
    _MOVED
    + """, compared as (
    insert into comparisons (integrator_id, operation_id, comparison_no, generation, verdict, alphabet, approver_id,
                             is_budgeted, judged_at)
    select integrator_id, purchase_id, former_attempts + 1, generation, comparison, alphabet, participant_id,
           is_budgeted, at
      from moved where comparison is not null
)"""
    + _COUNTS
)


async def move_purchases(connection: Connection, moves: Sequence[PurchaseMove]) -> None:
    """Write moves with challenges, points, events, history and audit, in one statement under their locks.

    The points accounts are locked here, in the order of their keys. What is not as it was locked is a bug of ours, and
    so is a reserve that is not there: the transaction is abandoned.
    """
    decisions = [move.decision for move in moves if move.decision is not None]
    is_compared = any(decision.comparison is not None for decision in decisions)  # needs more rights (D15)
    row = await connection.fetchrow(_MOVE if is_compared else _MOVE_ENDINGS, *columns(map(_columns_of, moves)))
    written = (len(moves), len(decisions), sum(move.has_entry for move in moves))
    assert row is not None and (row["moved"], row["decided"], row["entered"]) == written


def _columns_of(move: PurchaseMove) -> tuple[Any, ...]:
    before, after = move.before, move.after
    return (
        after.tenant_key,
        after.key,
        before.status,
        after.status,
        after.rejection_reason,
        after.confirmed_at,
        after.authorized_until,
        msgspec.json.encode(after.status_history),  # in an array of json a list would be a dimension
        after.event_sequence,
        after.updated_at,
        move.audit_key,
        move.actor,
        msgspec.json.encode(move.audit_details),
        move.correlation_id,
        move.entry_key,
        move.entry_type,
        move.event_key,
        move.event_body,
        *_decision_columns(move.decision),
    )


def _decision_columns(decision: Decision | None) -> tuple[Any, ...]:
    if decision is None:
        return (None,) * 7
    before = decision.before
    return (
        decision.status,
        decision.attempts_used,
        before.attempts_used,
        before.generation,
        decision.comparison,
        before.alphabet,
        decision.is_budgeted,
    )
