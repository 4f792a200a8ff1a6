"""Sums that limits are judged by: what an account approved in the current window of a family."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from aval.domain.batch import single_kind
from aval.domain.calendar import limit_window
from aval.domain.money import Brl
from aval.domain.transfer import Kind
from aval.storage.database import Connection
from aval.storage.rows import columns

_SPENT = """
select r.integrator_id, r.account_id, r.kind, coalesce((
       select sum(o.amount_centavos)
         from operations o
         join challenges c on c.integrator_id = o.integrator_id and c.operation_id = o.operation_id
        where o.integrator_id = r.integrator_id and o.account_id = r.account_id and o.kind = r.kind
          and o.created_at >= $4::timestamptz - interval '1 day' and c.consumed_at >= $4 and c.consumed_at < $5
          and c.status in ('pending', 'sent')), 0)::bigint as spent
  from unnest($1::uuid[], $2::uuid[], $3::text[]) as r (integrator_id, account_id, kind)
"""


class SpentQuestion(NamedTuple):
    """Whose sum is asked for; `kind` is a single one, as which items of batches count."""

    integrator_key: UUID
    account_key: UUID
    kind: Kind


def spent_question(integrator_key: UUID, account_key: UUID, kind: Kind) -> SpentQuestion:
    """What an operation of this kind asks for."""
    return SpentQuestion(integrator_key, account_key, single_kind(kind))


async def read_spent(
    connection: Connection, questions: Sequence[SpentQuestion], now: datetime
) -> Mapping[SpentQuestion, Brl]:
    """Amounts approved in the window `now` lies in and not rejected later; an account's key is its integrator's own.

    The caller holds the lock of the accounts when the sum decides money (promises.md D13). An approval comes at most
    a day after its request, the longest approval window, so older requests need not be read.
    """
    window = limit_window(now)
    rows = await connection.fetch(_SPENT, *columns(questions), window.start_at, window.end_at)
    return {
        SpentQuestion(row["integrator_id"], row["account_id"], Kind(row["kind"])): Brl(row["spent"]) for row in rows
    }
