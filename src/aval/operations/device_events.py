"""Webhooks about devices that are no status of an operation."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aval.domain.transfer import Transfer
from aval.operations.new_event import new_event
from aval.storage.webhook_events import EventRow

DEVICE_CHANGED = "aval.device.status_change"
OPERATION_DENIED = "aval.operation.denied"


def device_event_row(
    operation: Transfer, event_type: str, data: Mapping[str, Any], *, sequence: int, at: datetime
) -> EventRow:
    """One webhook of an operation; `sequence` was counted in its challenge under its lock."""
    return new_event(
        event_type,
        data,
        integrator_key=operation.integrator_key,
        subject_key=operation.key,
        kind=operation.kind.value,
        sequence=sequence,
        at=at,
        correlation_id=operation.correlation_id,
    )
