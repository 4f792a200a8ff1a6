"""Remember that a provider refused token messages for good: the phone cannot be reached, its purchase is told so."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from aval.domain.challenge import Challenge
from aval.domain.purchase import Purchase
from aval.domain.redemption_message import RedemptionMessage
from aval.domain.redemption_view import purchase_event_data
from aval.domain.transfer import Kind, Transfer
from aval.operations.new_event import new_event
from aval.storage.clock import read_clock
from aval.storage.database import Connection
from aval.storage.phones import mark_undeliverable
from aval.storage.purchases import lock_purchases
from aval.storage.sequences import count_purchase_events
from aval.storage.webhook_events import EventRow, append_events

DELIVERY_FAILED = "purchase.token_delivery_failed"


async def fail_phone_messages(
    connection: Connection,
    *,
    messages: Sequence[RedemptionMessage],
    locked: Mapping[tuple[UUID, UUID], tuple[Transfer, Challenge]],
) -> None:
    """Mark the phones, and tell of each purchase that still waits for this generation; their challenges are locked."""
    live = [(message, locked[message.transfer.integrator_key, message.transfer.key][1]) for message in messages]
    waiting = [
        (message.transfer.integrator_key, message.transfer.key)
        for message, challenge in live
        if message.transfer.kind is Kind.PURCHASE
        and challenge.is_pending
        and challenge.generation == message.generation
    ]
    purchases = await lock_purchases(connection, waiting)
    now = await read_clock(connection)
    sequences = await count_purchase_events(connection, sorted(purchases), now)
    await append_events(connection, [_event_of(purchases[key], sequence, now) for key, sequence in sequences.items()])
    phones = {(m.transfer.integrator_key, m.challenge.contact_key) for m in messages if m.challenge.contact_key}
    await mark_undeliverable(connection, sorted(phones), now)


def _event_of(purchase: Purchase, sequence: int, now: datetime) -> EventRow:
    return new_event(
        DELIVERY_FAILED,
        purchase_event_data(purchase),
        integrator_key=purchase.tenant_key,
        subject_key=purchase.key,
        kind=Kind.PURCHASE.value,
        sequence=sequence,
        at=now,
        correlation_id=purchase.origin_correlation_id,
    )
