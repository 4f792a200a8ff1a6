"""Evidence of approvals: finding those without, reading what their rows tell, keeping the sealed record."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from aval.domain.batch import item_details_of
from aval.domain.evidence import Approval
from aval.storage.challenges import OperationId
from aval.storage.database import Connection, Row
from aval.storage.requests import FAMILY_OF_LIMITS
from aval.storage.rows import CHALLENGE_COLUMNS, OPERATION_COLUMNS, challenge_of, columns, transfer_of

MARGIN = timedelta(seconds=20)  # longer than idle_in_transaction_session_timeout: an approval has committed by then

_UNSEALED = """
select a.integrator_id, a.operation_id, a.at, o.facts -> 'item_count' as item_count
  from audit a
  left join evidence e on e.integrator_id = a.integrator_id and e.operation_id = a.operation_id
  join operations o on o.integrator_id = a.integrator_id and o.operation_id = a.operation_id
 where a.at >= coalesce((select swept_until from sweeps where name = 'evidence'), '-infinity')
   and a.action = 'operation.judged' and a.details ->> 'status' in ('pending', 'approved') and e.operation_id is null
 order by a.at limit $1
"""


class Unsealed(NamedTuple):
    """An approval without a record."""

    operation: OperationId
    at: datetime
    item_count: int


async def find_unsealed(connection: Connection, *, most: int) -> list[Unsealed]:
    """Approvals that have no sealed record yet, from a watermark on, the oldest first."""
    rows = await connection.fetch(_UNSEALED, most)
    counts = [row["item_count"] if isinstance(row["item_count"], int) else 1 for row in rows]
    return [
        Unsealed((row["integrator_id"], row["operation_id"]), row["at"], count)
        for row, count in zip(rows, counts, strict=True)
    ]


async def move_evidence_watermark(connection: Connection, *, looked_at: datetime, sealed_until: datetime) -> None:
    """Remember up to when all is sealed: at most a little before the look, for another may commit meanwhile."""
    await connection.execute(
        "insert into sweeps (name, swept_until) values ('evidence', $1)"
        " on conflict (name) do update set swept_until = greatest(sweeps.swept_until, excluded.swept_until)",
        min(looked_at - MARGIN, sealed_until),
    )


class SealedRecord(NamedTuple):
    """A file to keep."""

    integrator_key: UUID
    operation_key: UUID
    kid: str
    file: str
    sealed_at: datetime


async def keep_evidence(connection: Connection, records: Sequence[SealedRecord]) -> None:
    """Store sealed records; whoever sealed an approval first stays."""
    await connection.execute(
        "insert into evidence (integrator_id, operation_id, kid, file, sealed_at)"
        " select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[])"
        " on conflict do nothing",
        *columns(records),
    )


async def read_evidence(connection: Connection, operation: OperationId) -> str | None:
    """The sealed record of an approval, as it was kept."""
    file: str | None = await connection.fetchval(
        "select file from evidence where integrator_id = $1 and operation_id = $2", *operation
    )
    return file


async def find_operation(connection: Connection, key: UUID) -> list[OperationId]:
    """Whose operations have this key; of an item its batch, which is what was approved."""
    rows = await connection.fetch(
        "select o.integrator_id, coalesce(o.batch_id, o.operation_id) as operation_id from integrators i"
        " join operations o on o.integrator_id = i.integrator_id and o.operation_id = $1"
        " where i.tenant_type = 'integrator' order by 1",
        key,
    )
    return [(row["integrator_id"], row["operation_id"]) for row in rows]


_ASKED = "unnest($1::uuid[], $2::uuid[]) with ordinality as r (integrator_id, operation_id, place)"
_APPROVALS = f"""
select {OPERATION_COLUMNS}, {CHALLENGE_COLUMNS}, c.consumed_at, ap.document_masked, i.version as integrator_version,
       i.device_cooldown_hours, a.limits, aa.powers, aa.max_amount_centavos
  from {_ASKED}
  join operations o on o.integrator_id = r.integrator_id and o.operation_id = r.operation_id
  join challenges c on c.integrator_id = r.integrator_id and c.operation_id = r.operation_id
  join approvers ap on ap.integrator_id = o.integrator_id and ap.approver_id = o.approver_id
  join integrators i on i.integrator_id = o.integrator_id
  join accounts a on a.integrator_id = o.integrator_id and a.account_id = o.account_id
  left join account_approvers aa on aa.integrator_id = o.integrator_id and aa.account_id = o.account_id
       and aa.approver_id = o.approver_id
 where c.consumed_at is not null
 order by r.place
"""
_COMPARISONS = f"""
select r.place, m.comparison_no, m.generation, m.verdict, m.alphabet, m.judged_at
  from {_ASKED} join comparisons m on m.integrator_id = r.integrator_id and m.operation_id = r.operation_id
 order by r.place, m.comparison_no
"""
_SIGNATURES = f"""
select r.place, s.decision, s.reason, s.nonce, s.challenge, s.proof, s.rp_id, s.origins, s.session_id, s.decided_at,
       d.device_id, d.name, d.credential_type, d.public_key, d.credential_id, d.is_backup_eligible, d.created_at
  from {_ASKED}
  join device_decisions s on s.operation_id = r.operation_id and s.integrator_id = r.integrator_id
  join devices d on d.integrator_id = s.integrator_id and d.device_id = s.device_id
 order by r.place, s.decided_at
"""
_AUDIT = f"""
select r.place, u.audit_id, u.at, u.actor, u.action, u.details, u.correlation_id
  from {_ASKED}
  join challenges c on c.integrator_id = r.integrator_id and c.operation_id = r.operation_id
  join audit u on u.operation_id = r.operation_id and u.integrator_id = r.integrator_id and u.at <= c.consumed_at
 order by r.place, u.at, u.audit_id
"""
_MESSAGES = f"""
select r.place, m.generation, m.channel, m.template_id, m.state, m.finished_at
  from {_ASKED}
  join outbox m on m.operation_id = r.operation_id and m.integrator_id = r.integrator_id and m.topic = 'token'
 order by r.place, m.generation
"""
_ITEMS = f"""
select r.place, {OPERATION_COLUMNS}
  from {_ASKED} join operations o on o.batch_id = r.operation_id and o.integrator_id = r.integrator_id
 order by r.place, o.item_no
"""

_Many = Mapping[int, list[Row]]


async def read_approvals(
    connection: Connection, operations: Sequence[OperationId]
) -> list[tuple[OperationId, Callable[[], Approval]]]:
    """What the rows tell of approved operations, in their order; six statements, whatever their number.

    Each is made when it is called for: rows that somebody changed may raise anything.
    """
    keys = columns(operations)
    rows = await connection.fetch(_APPROVALS, *keys)
    places = {key: place for place, key in enumerate(operations, 1)}
    parts = {query: await _by_place(connection, query, keys) for query in _PARTS}
    found = [((row["integrator_id"], row["operation_id"]), row) for row in rows]
    return [(key, partial(_approval_of, row, places[key], parts)) for key, row in found]


_PARTS = (_COMPARISONS, _SIGNATURES, _AUDIT, _MESSAGES, _ITEMS)


async def _by_place(connection: Connection, query: str, keys: Sequence[list[Any]]) -> _Many:
    found: dict[int, list[Row]] = {}
    for row in await connection.fetch(query, *keys):
        found.setdefault(row["place"], []).append(row)
    return found


def _approval_of(row: Row, place: int, parts: Mapping[str, _Many]) -> Approval:
    comparisons, signatures, audit, messages, items = (parts[query].get(place, ()) for query in _PARTS)
    transfer = transfer_of(row)
    return Approval(
        transfer=transfer,
        challenge=challenge_of(row),
        approved_at=row["consumed_at"],
        items=[item_details_of(transfer_of(item)) for item in items] if transfer.kind.is_batch else None,
        comparisons=[_without_place(each) for each in comparisons],
        signatures=[_signature_of(each) for each in signatures],
        audit=[_without_place(each) for each in audit],
        context=_context_of(row, [_without_place(each) for each in messages]),
    )


def _context_of(row: Row, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "approver_document_masked": row["document_masked"],
        "powers": row["powers"] or [],
        "max_amount_centavos": row["max_amount_centavos"],
        "limits_centavos": (row["limits"] or {}).get(FAMILY_OF_LIMITS[transfer_of(row).kind]) or {},
        "integrator_version": row["integrator_version"],
        "device_cooldown_hours": row["device_cooldown_hours"],
        "messages": messages,
    }


def _signature_of(row: Row) -> dict[str, Any]:
    return {
        "decision": row["decision"],
        "reason": row["reason"],
        "nonce": row["nonce"],
        "challenge": row["challenge"],
        "proof": row["proof"],
        "rp_id": row["rp_id"],
        "origins": list(row["origins"]),
        "session_id": row["session_id"],
        "decided_at": row["decided_at"],
        "device_key": row["device_id"],
        "device": {
            "device_name": row["name"],
            "type": row["credential_type"],
            "public_key": row["public_key"],
            "credential_id": row["credential_id"],
            "is_backup_eligible": row["is_backup_eligible"],
            "registered_at": row["created_at"],
        },
    }


def _without_place(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "place"}
