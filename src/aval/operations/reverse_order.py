"""Give points of a confirmed order back (redemptions.md §5)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.errors import Refusal
from aval.domain.ids import whole_key
from aval.domain.points import EntryType, PointsEntry
from aval.domain.purchase import Order, Purchase
from aval.domain.reversal import (
    REVERSIBLE,
    Refund,
    Reversal,
    ReversalRequest,
    left_of,
    refund_of,
    reversal_view,
    without,
)
from aval.domain.transfer import Kind
from aval.operations.change_purchases import purchase_events, told_of
from aval.operations.fresh import fresh_key
from aval.operations.new_event import new_event
from aval.storage.audit import AuditRow, append_audit
from aval.storage.clock import read_clock
from aval.storage.database import Connection, Database
from aval.storage.idempotency import KeptAnswer, find_answer, keep_answers
from aval.storage.points import post_entries
from aval.storage.purchases import find_purchase, lock_purchases
from aval.storage.reversals import write_reversal
from aval.storage.webhook_events import EventRow, append_events

ADMIN = "admin:"
ORDER_REVERSED = "order.reversed"  # an event, and an action of the audit


@dataclass(frozen=True, slots=True)
class ReversalCall:
    """One reversal as asked for; `path` is one for both spellings of the call."""

    order_key: UUID
    request: ReversalRequest
    motive_id: int
    motive_description: str | None
    actor: str
    correlation_id: str
    path: str
    idempotency_key: str | None
    fingerprint: bytes
    render: Callable[[Reversal], tuple[int, bytes]]


async def reverse_order(db: Database, *, call: ReversalCall) -> tuple[int, bytes]:
    """Decide under the purchase's lock and write points, counters, events and audit; the answer, or the one kept.

    Raises Refusal: an unknown order or item, a key that served another body, fields that contradict each other, an
    order that is not confirmed, more than is left.
    """
    async with db.transaction() as connection:
        found = await find_purchase(connection, whole_key(call.order_key), None)
        if found is None:
            raise unknown_order()
        place = found.purchase.id
        purchase = (await lock_purchases(connection, [place]))[place]
        order = order_of(purchase, call.order_key)
        now = await read_clock(connection)
        kept = call.idempotency_key and await find_answer(
            connection, purchase.tenant_key, call.path, call.idempotency_key
        )
        if kept:
            return _replayed(kept, call)
        reversal = _reversal(call, _refund(call.request, order), now)
        after = without(purchase, order.key, reversal.refund, now)
        await _write(connection, call, purchase, reversal, after)
        status, body = call.render(reversal)
        if call.idempotency_key:
            answer = KeptAnswer(
                purchase.tenant_key, call.path, call.idempotency_key, call.fingerprint, status, body, now
            )
            await keep_answers(connection, [answer])
        return status, body


def order_of(purchase: Purchase, order_key: UUID) -> Order:
    """The order of a purchase that has this key; raises Refusal if none has."""
    order = next((order for order in purchase.orders if order.key == order_key), None)
    if order is None:
        raise unknown_order()
    return order


def unknown_order() -> Refusal:
    """Make the refusal of an order that is unknown or of somebody else."""
    return Refusal("rdm.resource_not_found", extra_fields={"resource": "order"})


def _replayed(kept: KeptAnswer, call: ReversalCall) -> tuple[int, bytes]:
    if kept.fingerprint != call.fingerprint:
        raise Refusal("rdm.idempotency_conflict")
    assert kept.status is not None
    assert kept.body is not None
    return kept.status, kept.body


def _refund(request: ReversalRequest, order: Order) -> Refund:
    if order.status not in REVERSIBLE:
        raise Refusal("rdm.wrong_status", extra_fields={"status": order.status.value})
    return refund_of(request, left_of(order))


def _reversal(call: ReversalCall, refund: Refund, at: datetime) -> Reversal:
    return Reversal(
        key=fresh_key(),
        order_key=call.order_key,
        refund=refund,
        motive_id=call.motive_id,
        motive_description=call.motive_description,
        requested_by=call.actor.removeprefix(ADMIN),
        created_at=at,
    )


async def _write(
    connection: Connection, call: ReversalCall, before: Purchase, reversal: Reversal, after: Purchase
) -> None:
    """In the order of all locks: the purchase is held, the account comes before order and items."""
    posted = await post_entries(connection, [_entry(call, after, reversal)])
    assert posted
    await write_reversal(connection, reversal, after)
    await append_events(connection, _events(call, before, reversal, after))
    await append_audit(connection, _acts(call, before, reversal, after))


def _entry(call: ReversalCall, purchase: Purchase, reversal: Reversal) -> PointsEntry:
    return PointsEntry(
        integrator_key=purchase.tenant_key,
        participant_key=purchase.participant_key,
        key=fresh_key(),
        entry_type=EntryType.REVERSAL,
        points=reversal.refund.total,
        authorization_code=purchase.authorization_code,
        description=f"Estorno: {purchase.description.removeprefix('Resgate: ')}",
        correlation_id=call.correlation_id,
        created_at=reversal.created_at,
        purchase_key=purchase.key,
        order_key=reversal.order_key,
        reversal_key=reversal.key,
    )


def _events(call: ReversalCall, before: Purchase, reversal: Reversal, after: Purchase) -> list[EventRow]:
    order = order_of(after, reversal.order_key)
    told = {
        **reversal_view(reversal),
        "order_status": order.status.value,
        "purchase_id": after.key,
        "origin_correlation_id": after.origin_correlation_id,
    }
    reversed_ = new_event(
        ORDER_REVERSED,
        told,
        integrator_key=after.tenant_key,
        subject_key=after.key,
        kind=Kind.PURCHASE.value,
        sequence=before.event_sequence + 1,
        at=after.updated_at,
        correlation_id=call.correlation_id,
    )
    is_moved = after.status is not before.status
    return [reversed_, *(purchase_events([told_of(after, call.correlation_id)]) if is_moved else [])]


def _acts(call: ReversalCall, before: Purchase, reversal: Reversal, after: Purchase) -> list[AuditRow]:
    refund = reversal.refund
    details = {
        "reversal": reversal.key,
        "order": reversal.order_key,
        "kind": refund.kind.value,
        "points": refund.products,
        "shipping_points": refund.shipping,
        "motive": reversal.motive_id,
    }
    acts = [_act(call, after, ORDER_REVERSED, details)]
    if after.status is not before.status:
        acts.append(_act(call, after, f"purchase.{after.status.value}", {"former_status": before.status.value}))
    return acts


def _act(call: ReversalCall, purchase: Purchase, action: str, details: dict[str, Any]) -> AuditRow:
    return AuditRow(
        integrator_key=purchase.tenant_key,
        actor=call.actor,
        action=action,
        operation_key=purchase.key,
        correlation_id=call.correlation_id,
        at=purchase.updated_at,
        details=details,
    )
