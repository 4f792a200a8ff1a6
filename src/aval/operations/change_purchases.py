"""Move purchases under their locks: status, orders, points, one event and one audit record each, in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.purchase import TRANSITIONS, Purchase, PurchaseStatus, moved
from aval.domain.redemption_view import purchase_event_data
from aval.domain.transfer import Kind
from aval.domain.view import event_body
from aval.operations.fresh import fresh_keys
from aval.operations.new_event import new_event
from aval.storage.challenges import Decision
from aval.storage.database import Connection
from aval.storage.purchase_moves import PurchaseMove, move_purchases
from aval.storage.webhook_events import EventRow


class PurchaseChange(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase that is locked, and where it goes; `decision` ends its challenge, if that is not written yet."""

    before: Purchase
    to: PurchaseStatus
    at: datetime
    actor: str
    correlation_id: str
    reason: str | None = None
    authorization_ttl: timedelta | None = None
    audit_details: Mapping[str, Any] = {}
    decision: Decision | None = None


class ToldPurchase(msgspec.Struct, frozen=True):
    """A purchase after its move, what moved it, and what its event tells."""

    purchase: Purchase
    correlation_id: str
    data: Mapping[str, Any]


async def change_purchases(connection: Connection, changes: Sequence[PurchaseChange]) -> list[ToldPurchase]:
    """Write moves in the running transaction, in their order; answers the purchases as they are then."""
    if not changes:
        return []
    told, moves = [], []
    keys = iter(fresh_keys(3 * len(changes)))
    for change in changes:
        before, ttl = change.before, change.authorization_ttl
        after = moved(before, change.to, change.at, reason=change.reason, authorization_ttl=ttl)
        each = told_of(after, change.correlation_id)
        told.append(each)
        moves.append(_move_of(change, each, next(keys), next(keys), next(keys)))
    await move_purchases(connection, moves)
    return told


def told_of(purchase: Purchase, correlation_id: str) -> ToldPurchase:
    """What the event of a purchase tells after its last move."""
    return ToldPurchase(purchase, correlation_id, purchase_event_data(purchase))


def _move_of(
    change: PurchaseChange, told: ToldPurchase, audit_key: UUID, event_key: UUID, entry_key: UUID
) -> PurchaseMove:
    before, after = change.before, told.purchase
    details = {**change.audit_details, "former_status": before.status.value, "points": before.debited_points}
    if change.reason is not None:
        details["reason"] = change.reason
    return PurchaseMove(
        before=before,
        after=after,
        actor=change.actor,
        correlation_id=change.correlation_id,
        audit_key=audit_key,
        audit_details=details,
        event_key=event_key,
        event_body=body_of(told, event_key),
        entry_key=entry_key,
        entry_type=TRANSITIONS[before.status][after.status],
        decision=change.decision,
    )


def body_of(told: ToldPurchase, event_key: UUID) -> str:
    """The body of the webhook of the last move."""
    purchase = told.purchase
    return event_body(
        _event_type(purchase),
        told.data,
        at=purchase.updated_at,
        event_id=event_key,
        sequence=purchase.event_sequence,
        correlation_id=told.correlation_id,
    )


def purchase_events(told: Iterable[ToldPurchase]) -> list[EventRow]:
    """The events of purchases as they are after a move, each with the correlation id of what moved it."""
    return [_event_of(each) for each in told]


def _event_of(told: ToldPurchase) -> EventRow:
    purchase = told.purchase
    return new_event(
        _event_type(purchase),
        told.data,
        integrator_key=purchase.tenant_key,
        subject_key=purchase.key,
        kind=Kind.PURCHASE.value,
        sequence=purchase.event_sequence,
        at=purchase.updated_at,
        correlation_id=told.correlation_id,
    )


def _event_type(purchase: Purchase) -> str:
    return f"purchase.{purchase.status.value}"
