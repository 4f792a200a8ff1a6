"""Make the webhook of a change: its body, and the row that promises it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from aval.domain.view import event_body
from aval.operations.fresh import fresh_key
from aval.storage.webhook_events import EventRow


def new_event(
    event_type: str,
    data: Mapping[str, Any],
    *,
    integrator_key: UUID,
    subject_key: UUID,
    kind: str,
    sequence: int,
    at: datetime,
    correlation_id: str,
    item_key: UUID | None = None,
) -> EventRow:
    """One webhook; `sequence` was counted in the subject under its lock. Of an item the subject is its batch."""
    event_id = fresh_key()
    return EventRow(
        integrator_key=integrator_key,
        event_id=event_id,
        operation_key=subject_key,
        item_key=item_key,
        operation_kind=kind,
        sequence=sequence,
        event_type=event_type,
        body=event_body(event_type, data, at=at, event_id=event_id, sequence=sequence, correlation_id=correlation_id),
        correlation_id=correlation_id,
        at=at,
    )
