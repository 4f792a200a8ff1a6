"""Credit, adjust or let expire points of a participant by the operator's word."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.points import Balance, EntryType, PointsEntry, PointsLine
from aval.domain.points_view import line_view
from aval.operations.fresh import fresh_key, new_authorization_code
from aval.operations.new_event import new_event
from aval.operations.record_act import Author, record_act
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.idempotency import KeptAnswer, find_answer, keep_answers
from aval.storage.participants import lock_participant, raise_event_sequence
from aval.storage.points import lock_points_accounts, post_entries
from aval.storage.webhook_events import EventRow, append_events


@dataclass(frozen=True, slots=True)
class CreditCall:
    """One line as asked for, and the key under which its answer is kept; `render` makes the answer of what was done."""

    integrator_key: UUID
    participant_key: UUID
    entry_type: EntryType
    points: int
    description: str
    external_reference: str | None
    path: str
    idempotency_key: str
    fingerprint: bytes
    render: Callable[[PointsLine, Balance], tuple[int, bytes]]


async def post_points(db: Database, *, call: CreditCall, author: Author) -> tuple[int, bytes, bool]:
    """Write the line under the participant's guard and keep its answer; tells status, body, and whether it is a replay.

    Refused: an unknown participant, a key that served another body, available points below 0.
    """
    owner = (call.integrator_key, call.participant_key)
    async with db.transaction() as connection:
        if await lock_participant(connection, *owner) is None:
            raise Refusal("rdm.participant_not_found")
        former = await find_answer(connection, call.integrator_key, call.path, call.idempotency_key)
        if former is not None:
            return _replayed(former, call)
        await lock_points_accounts(connection, [owner])
        entry = _entry(call, author, at=await read_clock(connection))
        balance = (await post_entries(connection, [entry])).get(owner)
        if balance is None:
            raise Refusal("rdm.insufficient_points")
        line = _line(entry, balance)
        status, body = call.render(line, balance)
        await _tell(connection, entry, line, author)
        kept = KeptAnswer(
            call.integrator_key, call.path, call.idempotency_key, call.fingerprint, status, body, entry.created_at
        )
        await keep_answers(connection, [kept])
    return status, body, False


def _replayed(former: KeptAnswer, call: CreditCall) -> tuple[int, bytes, bool]:
    if former.fingerprint != call.fingerprint:
        raise Refusal("rdm.idempotency_conflict")
    assert former.status is not None and former.body is not None  # kept in the transaction of the line
    return former.status, former.body, True


def _entry(call: CreditCall, author: Author, *, at: datetime) -> PointsEntry:
    return PointsEntry(
        integrator_key=call.integrator_key,
        participant_key=call.participant_key,
        key=fresh_key(),
        entry_type=call.entry_type,
        points=call.points,
        authorization_code=new_authorization_code(),
        description=call.description,
        external_reference=call.external_reference,
        correlation_id=author.correlation_id,
        created_at=at,
    )


def _line(entry: PointsEntry, balance: Balance) -> PointsLine:
    return PointsLine(
        key=entry.key,
        entry_type=entry.entry_type,
        points=entry.points,
        available_after=balance.available,
        reserved_after=balance.reserved,
        authorization_code=entry.authorization_code,
        description=entry.description,
        external_reference=entry.external_reference,
        purchase_key=None,
        order_key=None,
        created_at=entry.created_at,
    )


async def _tell(connection: Connection, entry: PointsEntry, line: PointsLine, author: Author) -> None:
    """Write the audit row, and the webhook of a line that gives points; the guard is held."""
    is_credit = entry.entry_type is not EntryType.EXPIRATION and entry.points > 0
    await record_act(
        connection,
        author,
        "points.credited" if is_credit else "points.taken",
        integrator_key=entry.integrator_key,
        key=entry.participant_key,
        at=entry.created_at,
        details={
            "entry": entry.key,
            "type": entry.entry_type.value,
            "points": entry.points,
            "available_after": line.available_after,
        },
    )
    if is_credit:
        sequence = await raise_event_sequence(connection, entry.integrator_key, entry.participant_key)
        await append_events(connection, [_event(entry, line, sequence)])


def _event(entry: PointsEntry, line: PointsLine, sequence: int) -> EventRow:
    return new_event(
        "points.credited",
        {"participant_id": entry.participant_key} | line_view(line),
        integrator_key=entry.integrator_key,
        subject_key=entry.participant_key,
        kind="participant",
        sequence=sequence,
        at=entry.created_at,
        correlation_id=entry.correlation_id,
    )
