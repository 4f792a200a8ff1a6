"""Looks at PostgreSQL all the time the storm blows: one snapshot must never show half of a decision."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import aiohttp

from aval.storage.database import Connection, Database, DatabaseUnavailable
from tests.chaos.parties import Integrator, told

LOOK_S = 0.1
RAIL_LOOKS = 10
RECENT_S = 30  # a nightly run has too many rows to look at all of them each time

# Each row of the result is an operation whose rows do not tell one story (D5, D6, AU1, WH2).
TORN = """
with recent as (
    select c.*, o.amount_centavos + o.fee_centavos as debit, c.consumed_at is not null as is_approved
      from aval.challenges c join aval.operations o using (integrator_id, operation_id)
     where c.updated_at > clock_timestamp() - make_interval(secs => $1) and o.batch_id is null
       and o.kind not like '%_batch'
), seen as (
    select r.operation_id, r.status, r.attempts_used, r.event_sequence, r.is_approved, j.jobs, p.wrong, p.right_one,
           p.last_no, a.judged, a.settled, l.debited = r.debit as is_debited, e.events, e.last_event
      from recent r
     cross join lateral (select count(*) as jobs from aval.settlement_jobs j
            where (j.integrator_id, j.operation_id) = (r.integrator_id, r.operation_id)) j
     cross join lateral (select count(*) filter (where verdict <> 'right') as wrong,
                   count(*) filter (where verdict = 'right') as right_one, coalesce(max(comparison_no), 0) as last_no
              from aval.comparisons p
             where (p.integrator_id, p.operation_id) = (r.integrator_id, r.operation_id)) p
     cross join lateral (select count(*) filter (where action = 'operation.judged') as judged,
                   count(*) filter (where action = 'operation.settled') as settled
              from aval.audit a where (a.integrator_id, a.operation_id) = (r.integrator_id, r.operation_id)) a
     cross join lateral (select sum(amount_centavos) filter (where direction = 'debit') as debited
              from aval.ledger_entries l
             where (l.integrator_id, l.source_id) = (r.integrator_id, r.operation_id)) l
     cross join lateral (select count(*) as events, coalesce(max(sequence), 0) as last_event
              from aval.events e where (e.integrator_id, e.operation_id) = (r.integrator_id, r.operation_id)) e
)
select * from seen
 where jobs <> is_approved::int or right_one <> is_approved::int or wrong <> attempts_used
    or last_no <> wrong + right_one or judged <> wrong + right_one + (status = 'cancelled')::int
    or is_debited is distinct from nullif(is_approved, false)
    or is_approved <> (status in ('pending', 'sent') or settled > 0 and status = 'rejected')
    or events <> event_sequence or last_event <> event_sequence
    or events <> settled + (status = 'cancelled' or status = 'rejected' and not is_approved)::int
"""
# The same of batches: each stands for its items.
TORN_BATCHES = """
with recent as (
    select c.*, o.amount_centavos, o.fee_centavos, (o.facts->>'item_count')::int as item_count,
           c.consumed_at is not null as is_approved
      from aval.challenges c join aval.operations o using (integrator_id, operation_id)
     where c.updated_at > clock_timestamp() - make_interval(secs => $1) and o.kind like '%_batch'
), seen as (
    select r.operation_id, r.status, r.item_count, r.attempts_used, r.event_sequence, r.is_approved, i.*, p.*, e.*,
           i.amount = r.amount_centavos and i.fees = r.fee_centavos as is_whole,
           l.debited = r.amount_centavos + r.fee_centavos as is_debited
      from recent r
     cross join lateral (select count(*) as items, count(c.operation_id) as promised, count(j.operation_id) as jobs,
                   count(*) filter (where c.status = 'pending') as pending, sum(o.amount_centavos) as amount,
                   sum(o.fee_centavos) as fees, sum(a.settled) as settled
              from aval.operations o
              left join aval.challenges c using (integrator_id, operation_id)
              left join aval.settlement_jobs j using (integrator_id, operation_id)
             cross join lateral (select count(*) as settled from aval.audit a
                    where (a.integrator_id, a.operation_id) = (o.integrator_id, o.operation_id)) a
             where o.batch_id = r.operation_id) i
     cross join lateral (select count(*) filter (where verdict <> 'right') as wrong,
                   count(*) filter (where verdict = 'right') as right_one
              from aval.comparisons p
             where (p.integrator_id, p.operation_id) = (r.integrator_id, r.operation_id)) p
     cross join lateral (select sum(amount_centavos) filter (where direction = 'debit') as debited
              from aval.ledger_entries l
             where (l.integrator_id, l.source_id) = (r.integrator_id, r.operation_id)) l
     cross join lateral (select count(*) as events, coalesce(max(sequence), 0) as last_event,
                   count(*) filter (where item_id is null) as finished
              from aval.events e where (e.integrator_id, e.operation_id) = (r.integrator_id, r.operation_id)) e
)
select * from seen
 where not is_whole or items <> item_count or promised <> is_approved::int * item_count or jobs <> promised
    or right_one <> is_approved::int or wrong <> attempts_used
    or is_debited is distinct from nullif(is_approved, false)
    or events <> event_sequence or last_event <> event_sequence or events - finished <> settled
    or finished <> (status in ('rejected', 'cancelled') or is_approved and pending = 0)::int
"""
COUNTED = """
select operation_id, attempts_used from aval.challenges
 where updated_at > clock_timestamp() - make_interval(secs => $1)
"""
CONNECTIONS = """
select application_name as name, count(*) as n from pg_stat_activity
 where application_name like 'aval %' and application_name not in ('aval proof', 'aval command') group by 1
"""
DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"


class Watch:
    """What was seen of PostgreSQL and of the rails while the storm blew."""

    def __init__(
        self,
        db: Database,
        session: aiohttp.ClientSession,
        integrators: Sequence[Integrator],
        violations: list[str],
    ) -> None:
        self.looks = 0
        self.deadlocks = 0
        self.connections: dict[str, int] = {}
        self._db = db
        self._session = session
        self._integrators = integrators
        self._violations = violations
        self._attempts: dict[UUID, int] = {}

    async def run(self) -> None:
        """Look again and again until cancelled; while PostgreSQL is away there is nothing to see."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                async with self._db.connection() as connection:
                    await self._look(connection)
            except DatabaseUnavailable:
                continue
            if self.looks % RAIL_LOOKS == 0:
                await self._look_at_rails()

    async def _look(self, connection: Connection) -> None:
        for query in (TORN, TORN_BATCHES):
            for row in await connection.fetch(query, float(RECENT_S)):
                self._tell(f"ST1 TK3 AU1: the rows of an operation do not agree: {dict(row)}")
        for row in await connection.fetch(COUNTED, float(RECENT_S)):
            self._count(row["operation_id"], row["attempts_used"])
        for row in await connection.fetch(CONNECTIONS):
            self.connections[row["name"]] = max(self.connections.get(row["name"], 0), row["n"])
        self.deadlocks = max(self.deadlocks, await connection.fetchval(DEADLOCKS))
        self.looks += 1

    def _count(self, key: UUID, attempts_used: int) -> None:
        before = self._attempts.get(key, 0)
        if attempts_used < before or attempts_used > 5:
            self._violations.append(f"TK3: attempts of {key} went from {before} to {attempts_used}")
        self._attempts[key] = attempts_used

    async def _look_at_rails(self) -> None:
        for integrator in self._integrators:
            ledger: Any = await told(self._session, f"{integrator.core_url}/ledger")
            if ledger["blind_posts"]:
                self._tell(
                    f"ST1: sent again without asking, after {integrator.name} settlements: {ledger['blind_posts']}"
                )

    def _tell(self, violation: str) -> None:
        if violation not in self._violations:
            self._violations.append(violation)
