"""Lists of transfers of an account, narrowed down and paged."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.challenge import Challenge, as_seen
from aval.domain.transfer import Kind, Transfer
from aval.storage.database import Connection
from aval.storage.rows import CHALLENGE_COLUMNS, OPERATION_COLUMNS, STANDING, challenge_of, transfer_of


@dataclass(frozen=True, slots=True)
class TransferFilter:
    """What a list is narrowed to; None = all."""

    integrator_key: UUID
    account_key: UUID
    kind: Kind
    request_control_key: UUID | None = None
    end_to_end_id: str | None = None
    transaction_key: UUID | None = None
    status: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    is_newest_first: bool = False
    batch_key: UUID | None = None  # its items, in the order of the request


# The status is judged as it is seen: past its deadline an operation is rejected, stored so or not.
_LIST = f"""
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}, s.now
  from (select clock_timestamp() as now) s, operations o
{STANDING} where o.integrator_id = $1 and o.account_id = $2 and o.kind = $3
   and ($4::uuid is null or o.request_control_key = $4)
   and ($5::text is null or o.end_to_end_id = $5)
   and ($6::uuid is null or c.transaction_key = $6)
   and ($7::text is null or $7 = case
        when c.status = 'pending_2fa_approval' and c.approval_deadline <= s.now then 'rejected' else c.status end)
   and ($8::timestamptz is null or o.created_at >= $8)
   and ($9::timestamptz is null or o.created_at < $9)
   and %(narrow)s
 order by %(order)s
 limit $11 offset $12
"""  # noqa: S608 – columns are constants
_ALL = "$10::uuid is null"
_OLDEST_FIRST = _LIST % {"narrow": _ALL, "order": "o.created_at, o.operation_id"}
_NEWEST_FIRST = _LIST % {"narrow": _ALL, "order": "o.created_at desc, o.operation_id desc"}
_ITEMS = _LIST % {"narrow": "o.batch_id = $10", "order": "o.item_no"}


async def list_transfers(
    connection: Connection, wanted: TransferFilter, *, offset: int, limit: int
) -> list[tuple[Transfer, Challenge]]:
    """Transfers with their challenge as seen now, oldest first unless asked otherwise; items with their batch's."""
    ordered = _NEWEST_FIRST if wanted.is_newest_first else _OLDEST_FIRST
    rows = await connection.fetch(
        ordered if wanted.batch_key is None else _ITEMS,
        wanted.integrator_key,
        wanted.account_key,
        wanted.kind.value,
        wanted.request_control_key,
        wanted.end_to_end_id,
        wanted.transaction_key,
        wanted.status,
        wanted.start_at,
        wanted.end_at,
        wanted.batch_key,
        limit,
        offset,
    )
    return [(transfer_of(row), as_seen(challenge_of(row), row["now"])) for row in rows]
