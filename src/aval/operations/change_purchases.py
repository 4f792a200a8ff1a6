"""Move purchases under their locks: status, orders, points, one event and one audit record each, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from aval.domain.points import EntryType, PointsEntry
from aval.domain.purchase import TRANSITIONS, Purchase, PurchaseStatus, moved
from aval.domain.redemption_view import purchase_event_data
from aval.domain.transfer import Kind
from aval.operations.fresh import fresh_key
from aval.operations.new_event import new_event
from aval.storage.database import Connection
from aval.storage.points import post_entries
from aval.storage.purchases import PurchaseMove, move_purchases
from aval.storage.webhook_events import EventRow, append_events


class PurchaseChange(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase that is locked, and where it goes."""

    before: Purchase
    to: PurchaseStatus
    at: datetime
    actor: str
    correlation_id: str
    reason: str | None = None
    authorization_ttl: timedelta | None = None
    audit_details: Mapping[str, Any] = {}


class ToldPurchase(msgspec.Struct, frozen=True):
    """A purchase after its move, what moved it, and what its event tells."""

    purchase: Purchase
    correlation_id: str
    data: Mapping[str, Any]


async def change_purchases(connection: Connection, changes: Sequence[PurchaseChange]) -> list[ToldPurchase]:
    """Write moves in the running transaction, in their order; answers the purchases as they are then."""
    if not changes:
        return []
    moves = [_move_of(change) for change in changes]
    await move_purchases(connection, moves)
    entries = [entry for move in moves for entry in _entries_of(move)]
    posted = await post_entries(connection, entries)
    assert len(posted) == len({(entry.integrator_key, entry.participant_key) for entry in entries})
    told = [told_of(move.after, move.correlation_id) for move in moves]
    await append_events(connection, purchase_events(told))
    return told


def told_of(purchase: Purchase, correlation_id: str) -> ToldPurchase:
    """What the event of a purchase tells after its last move."""
    return ToldPurchase(purchase, correlation_id, purchase_event_data(purchase))


def _move_of(change: PurchaseChange) -> PurchaseMove:
    before = change.before
    after = moved(before, change.to, change.at, reason=change.reason, authorization_ttl=change.authorization_ttl)
    details = dict(change.audit_details) | {"former_status": before.status.value, "points": before.debited_points}
    if change.reason is not None:
        details["reason"] = change.reason
    return PurchaseMove(before, after, fresh_key(), change.actor, change.correlation_id, details)


def _entries_of(move: PurchaseMove) -> list[PointsEntry]:
    entry_type = TRANSITIONS[move.before.status][move.after.status]
    return (
        [] if entry_type is None else entries_of(move.after, (entry_type,), move.after.updated_at, move.correlation_id)
    )


def entries_of(
    purchase: Purchase, entry_types: Iterable[EntryType], at: datetime, correlation_id: str
) -> list[PointsEntry]:
    """Lines of the ledger for all points of a purchase; none if it costs none."""
    if not purchase.debited_points:
        return []
    return [
        PointsEntry(
            integrator_key=purchase.tenant_key,
            participant_key=purchase.participant_key,
            key=fresh_key(),
            entry_type=entry_type,
            points=purchase.debited_points,
            authorization_code=purchase.authorization_code,
            description=purchase.description,
            correlation_id=correlation_id,
            created_at=at,
            purchase_key=purchase.key,
        )
        for entry_type in entry_types
    ]


def purchase_events(told: Iterable[ToldPurchase]) -> list[EventRow]:
    """The events of purchases as they are after a move, each with the correlation id of what moved it."""
    return [_event_of(each) for each in told]


def _event_of(told: ToldPurchase) -> EventRow:
    purchase = told.purchase
    return new_event(
        f"purchase.{purchase.status.value}",
        told.data,
        integrator_key=purchase.tenant_key,
        subject_key=purchase.key,
        kind=Kind.PURCHASE.value,
        sequence=purchase.event_sequence,
        at=purchase.updated_at,
        correlation_id=told.correlation_id,
    )
