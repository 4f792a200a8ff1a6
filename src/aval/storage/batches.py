"""Batches: their items are written, promised and counted set-wise; one statement, however many there are."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from aval.domain.batch import BatchRequest, ItemCounts, item_details, items_digest_of, single_kind
from aval.domain.challenge import Challenge
from aval.domain.money import Brl
from aval.domain.transfer import Transfer, details_digest_of
from aval.storage.database import Connection
from aval.storage.requests import insert_transfers
from aval.storage.rows import columns, facts_of, payee_of

ROWS_MAX = 250  # rows of one statement: 2 to 5 ms of encoding or decoding, for which all other calls stand still

OperationId = tuple[UUID, UUID]


class UsedIdentities(NamedTuple):
    """What other operations have already that items ask for."""

    keys: frozenset[UUID]
    end_to_end_ids: frozenset[str]


_READ_USED = """
select r.request_control_key, r.end_to_end_id,
       twin.operation_id is not null as is_key_used, e2e.operation_id is not null as is_end_to_end_id_used
  from unnest($1::uuid[], $2::text[]) as b (integrator_id, kind)
 cross join unnest($3::uuid[], $4::text[]) as r (request_control_key, end_to_end_id)
  left join operations twin on twin.integrator_id = b.integrator_id and twin.kind = b.kind
       and twin.request_control_key = r.request_control_key
  left join operations e2e on e2e.integrator_id = b.integrator_id and e2e.end_to_end_id = r.end_to_end_id
 where twin.operation_id is not null or e2e.operation_id is not null
"""


async def read_used_identities(connection: Connection, batch: BatchRequest) -> UsedIdentities:
    """Which request_control_keys and end_to_end_ids of its items serve another operation; one statement."""
    asked = columns((item.request_control_key, item.end_to_end_id) for item in batch.items)
    rows = await connection.fetch(_READ_USED, [batch.principal.integrator.key], [single_kind(batch.kind).value], *asked)
    return UsedIdentities(
        keys=frozenset(row["request_control_key"] for row in rows if row["is_key_used"]),
        end_to_end_ids=frozenset(row["end_to_end_id"] for row in rows if row["is_end_to_end_id_used"]),
    )


_INSERT_ITEMS = """
with made as (
    insert into operations (integrator_id, operation_id, kind, account_id, approver_id, credential_id, batch_id,
                            item_no, request_control_key, request_fingerprint, end_to_end_id, amount_centavos,
                            fee_centavos, facts, details_digest, nonce, correlation_id, created_at)
    select $1, r.operation_id, $2, $3, $4, $5, $6, r.item_no, r.request_control_key, r.request_fingerprint,
           r.end_to_end_id, r.amount_centavos, r.fee_centavos, r.facts::jsonb, r.details_digest, r.nonce, $7, $8
      from unnest($9::uuid[], $10::smallint[], $11::uuid[], $12::bytea[], $13::text[], $14::bigint[], $15::bigint[],
                  $16::text[], $17::bytea[], $18::bytea[])
           as r (operation_id, item_no, request_control_key, request_fingerprint, end_to_end_id, amount_centavos,
                 fee_centavos, facts, details_digest, nonce)
    on conflict do nothing
    returning 1
)
select count(*) from made
"""


async def insert_batch(
    connection: Connection,
    batch: Transfer,
    challenge: Challenge,
    items: Sequence[Transfer],
    *,
    message_key: UUID,
    template_key: UUID | None,
) -> bool:
    """Store a batch with its challenge and first message, and its items, in the running transaction.

    Items are written in the order of their request_control_keys, so that batches that share some do not wait for each
    other crosswise, and in a few statements: the driver encodes the rows of one without a pause.

    False: the batch or an item met what was stored meanwhile, and the transaction must be rolled back.
    """
    if not await insert_transfers(connection, [(batch, challenge, message_key, template_key)]):
        return False
    in_order = sorted(items, key=lambda item: item.request_control_key)
    for start in range(0, len(items), ROWS_MAX):
        rows = in_order[start : start + ROWS_MAX]
        made = await connection.fetchval(
            _INSERT_ITEMS,
            batch.integrator_key,
            items[0].kind.value,
            batch.account_key,
            batch.approver_key,
            batch.credential_key,
            batch.key,
            batch.correlation_id,
            batch.created_at,
            *columns(map(_item_columns, rows)),
        )
        if made < len(rows):
            return False
    return True


def _item_columns(item: Transfer) -> tuple[Any, ...]:
    return (
        item.key,
        item.item_no,
        item.request_control_key,
        item.request_fingerprint,
        item.end_to_end_id,
        item.amount.centavos,
        item.fee.centavos,
        msgspec.json.encode(facts_of(item)).decode(),
        item.details_digest,
        item.nonce,
    )


_READ_SHOWN = """
select o.item_no, o.request_control_key, o.facts, o.amount_centavos from operations o
 where o.batch_id = $1 and o.integrator_id = $2 and o.item_no > $3 order by o.item_no limit $4
"""


async def read_shown_items(connection: Connection, batch: Transfer) -> list[dict[str, str | None]]:
    """What is shown of the items of a batch, in the order of its request (see `item_details`)."""
    shown: list[dict[str, str | None]] = []
    last_no, is_read = 0, False
    while not is_read:
        rows = await connection.fetch(_READ_SHOWN, batch.key, batch.integrator_key, last_no, ROWS_MAX)
        shown += [item_details(r["request_control_key"], payee_of(r["facts"]), Brl(r["amount_centavos"])) for r in rows]
        last_no = rows[-1]["item_no"] if rows else last_no
        is_read = len(rows) < ROWS_MAX
    return shown


_PROMISE_ITEMS = """
with items as (
    select o.integrator_id, o.operation_id, o.batch_id, o.amount_centavos, o.fee_centavos
      from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, batch_id)
      join operations o on o.batch_id = r.batch_id and o.integrator_id = r.integrator_id
), challenged as (
    insert into challenges (integrator_id, operation_id, status, method, contact_id, masked_destination, generation,
                            attempts_used, kid, alphabets, issued_at, expires_at, can_resend_at, resends_left,
                            resend_cooldown_seconds, approval_deadline, consumed_at, updated_at)
    select i.integrator_id, i.operation_id, 'pending', c.method, c.contact_id, c.masked_destination, c.generation,
           c.attempts_used, c.kid, c.alphabets, c.issued_at, c.expires_at, c.can_resend_at, c.resends_left,
           c.resend_cooldown_seconds, c.approval_deadline, c.consumed_at, c.updated_at
      from items i join challenges c on c.integrator_id = i.integrator_id and c.operation_id = i.batch_id
     where c.status = 'approved'
    returning integrator_id, operation_id, consumed_at
), promised as (
    insert into settlement_jobs (integrator_id, operation_id, rail_reference, is_item, due_at, created_at, updated_at)
    select integrator_id, operation_id, operation_id, true, consumed_at, consumed_at, consumed_at from challenged
    returning 1
)
select batch_id, count(*) as items, sum(amount_centavos)::bigint as amount, sum(fee_centavos)::bigint as fee,
       (select count(*) from promised) as promised
  from items group by batch_id
"""


async def promise_items(connection: Connection, batches: Sequence[Transfer]) -> None:
    """Give every item of approved batches its own challenge, pending, and its settlement job, in one statement.

    Runs in the approving transaction after the batch was moved. Items that are not what was shown, approved and
    debited are a bug of ours, or somebody else wrote them: the transaction is abandoned.
    """
    for batch in batches:
        assert await _is_as_shown(connection, batch)
    rows = await connection.fetch(_PROMISE_ITEMS, *columns((batch.integrator_key, batch.key) for batch in batches))
    found = {row["batch_id"]: (row["items"], row["amount"], row["fee"]) for row in rows}
    assert found == {b.key: (b.item_count, b.amount.centavos, b.fee.centavos) for b in batches}
    assert rows[0]["promised"] == sum(batch.item_count for batch in batches)


async def _is_as_shown(connection: Connection, batch: Transfer) -> bool:
    """Whether the rows of a batch and its items are still those whose digest its token is bound to."""
    shown = await read_shown_items(connection, batch)
    return items_digest_of(shown) == batch.items_digest and details_digest_of(batch) == batch.details_digest


_COUNT_ITEMS = """
select o.batch_id, count(*) filter (where c.status = 'pending') as pending,
       count(*) filter (where c.status = 'sent') as sent, count(*) filter (where c.status = 'rejected') as rejected
  from unnest($1::uuid[], $2::uuid[]) as r (integrator_id, batch_id)
  join operations o on o.batch_id = r.batch_id and o.integrator_id = r.integrator_id
  join challenges c on c.integrator_id = o.integrator_id and c.operation_id = o.operation_id
 group by o.batch_id
"""


async def read_item_counts(connection: Connection, batches: Sequence[OperationId]) -> Mapping[UUID, ItemCounts]:
    """How far the items of approved batches came, by batch; each asked for as (integrator, batch)."""
    rows = await connection.fetch(_COUNT_ITEMS, *columns(batches)) if batches else []
    return {row["batch_id"]: ItemCounts(row["pending"], row["sent"], row["rejected"]) for row in rows}
