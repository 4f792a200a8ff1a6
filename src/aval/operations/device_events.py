"""Webhooks about devices that are no status of an operation."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aval.domain.transfer import Transfer
from aval.domain.view import event_body
from aval.operations.fresh import fresh_key
from aval.storage.webhook_events import EventRow

DEVICE_CHANGED = "aval.device.status_change"
OPERATION_DENIED = "aval.operation.denied"


def device_event_row(
    operation: Transfer, event_type: str, data: Mapping[str, Any], *, sequence: int, at: datetime
) -> EventRow:
    """One webhook of an operation; `sequence` was counted in its challenge under its lock."""
    event_id = fresh_key()
    body = event_body(
        event_type, data, at=at, event_id=event_id, sequence=sequence, correlation_id=operation.correlation_id
    )
    return EventRow(
        integrator_key=operation.integrator_key,
        event_id=event_id,
        operation_key=operation.key,
        operation_kind=operation.kind.value,
        sequence=sequence,
        event_type=event_type,
        body=body,
        correlation_id=operation.correlation_id,
        at=at,
    )
