"""What the database says about the state of the deployment, read when it is asked for (promises.md §7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from aval.storage.database import Connection

STAGES = ("requested", "delivered", "attempted", "approved", "settled")
SYMBOLS_IN_TOKEN = 6
ALPHABET_SIZES = {"crockford32": 32, "digits": 10}

# The index by deadline bounds the work: a deadline is never before the creation.
_FUNNEL = """
    select o.kind, c.method, count(*) as requested,
           count(*) filter (where exists (select from outbox m where m.integrator_id = o.integrator_id
                    and m.operation_id = o.operation_id and m.topic = 'token' and m.state = 'delivered')) as delivered,
           count(*) filter (where exists (select from comparisons p where p.integrator_id = o.integrator_id
                    and p.operation_id = o.operation_id)) as attempted,
           count(*) filter (where c.consumed_at is not null) as approved,
           count(*) filter (where c.status = 'sent' or (c.status = 'approved' and exists (
                    select from events e where e.integrator_id = o.integrator_id
                       and e.operation_id = o.operation_id and e.event_type like 'aval.%_batch.finished'))) as settled
      from challenges c join operations o using (integrator_id, operation_id)
     where c.approval_deadline > clock_timestamp() - interval '1 hour' and o.batch_id is null
       and o.created_at > clock_timestamp() - interval '1 hour'
     group by o.kind, c.method"""

_WRONG_TOKENS = """
    select integrator_id, alphabet, count(*) as wrong, count(*) filter (where is_budgeted) as budgeted from comparisons
     where verdict <> 'right' and judged_at > clock_timestamp() - interval '24 hours'
     group by integrator_id, alphabet"""

_QUEUES = """
    select 'messages' as queue, extract(epoch from clock_timestamp() - min(due_at))::float8 as age_s
      from outbox where state = 'ready' and due_at <= clock_timestamp()
    union all
    select 'settlements', extract(epoch from clock_timestamp() - min(due_at))::float8
      from settlement_jobs where state = 'ready' and due_at <= clock_timestamp()
    union all
    select 'webhooks', extract(epoch from clock_timestamp() - min(due_at))::float8
      from callbacks where status = 'pending' and due_at <= clock_timestamp()"""

_PARKED = """
    select 'messages' as queue, count(*) as parked from outbox where state = 'parked'
    union all select 'settlements', count(*) from settlement_jobs where state = 'parked'
    union all select 'webhooks', count(*) from callbacks where status = 'failed'"""


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """Operations requested in the last hour, by kind and channel; `counts` follow STAGES."""

    kind: str
    channel: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WrongTokens:
    """Wrong comparisons of the last 24 hours, by integrator and alphabet, and how many of them budgets count."""

    integrator_key: str
    alphabet: str
    count: int
    budgeted: int = 0

    @property
    def risk_year(self) -> float:
        """Probability that one such year of guessing finds a token: 365 · wrong / alphabet size⁶."""
        return 365.0 * self.count / float(ALPHABET_SIZES[self.alphabet] ** SYMBOLS_IN_TOKEN)


async def read_funnel(connection: Connection) -> list[FunnelRow]:
    """Count the last hour's operations by how far they came; batches count once, as settled when finished."""
    rows = await connection.fetch(_FUNNEL)
    return [FunnelRow(row["kind"], row["method"], tuple(row[stage] for stage in STAGES)) for row in rows]


async def read_wrong_tokens(connection: Connection) -> list[WrongTokens]:
    """Count wrong tokens, superseded ones included."""
    rows = await connection.fetch(_WRONG_TOKENS)
    return [WrongTokens(str(row["integrator_id"]), row["alphabet"], row["wrong"], row["budgeted"]) for row in rows]


async def read_queue_ages(connection: Connection) -> Sequence[tuple[str, float]]:
    """Tell for each queue how many seconds its oldest due entry has waited, 0 when none is due."""
    return [(row["queue"], max(0.0, row["age_s"] or 0.0)) for row in await connection.fetch(_QUEUES)]


async def read_parked(connection: Connection) -> Sequence[tuple[str, int]]:
    """Count what the worker gave up on and a person has to look at."""
    return [(row["queue"], row["parked"]) for row in await connection.fetch(_PARKED)]
