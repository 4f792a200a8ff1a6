"""Move security devices: status, webhook, audit and the notice to a number that lost its standing, in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aval.domain.message import NoticeName
from aval.domain.phone import PhoneDevice, PhoneStatus, phone_view
from aval.operations.fresh import new_key
from aval.operations.new_event import new_event
from aval.operations.record_act import Author
from aval.storage.audit import AuditRow, append_audit
from aval.storage.contacts import Contact, insert_notice
from aval.storage.database import Connection
from aval.storage.phones import write_phones
from aval.storage.webhook_events import EventRow, append_events

SUBJECT = "device"  # what the events count in
_NOTICES: Mapping[PhoneStatus, NoticeName] = {
    PhoneStatus.REPLACED: "phone_replaced",
    PhoneStatus.REMOVED: "phone_removed",
    PhoneStatus.BLOCKED: "phone_blocked",
}
_ACTIONS = {status: f"device.{status.value}" for status in PhoneStatus} | {
    PhoneStatus.ACTIVE: "device.activated",
    PhoneStatus.PENDING_REPLACEMENT: "device.verified",
}


@dataclass(frozen=True, slots=True)
class PhoneMove:
    """A device as it was and as it is now, and who moved it; `details` go into its audit row."""

    before: PhoneDevice
    after: PhoneDevice
    author: Author
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """What its audit row and its webhook call it."""
        is_unblocked = self.before.status is PhoneStatus.BLOCKED and self.after.status is PhoneStatus.ACTIVE
        return "device.unblocked" if is_unblocked else _ACTIONS[self.after.status]

    @property
    def is_told(self) -> bool:
        """Whether a webhook tells it; that a device waits for the former one is told by nothing."""
        return self.after.event_sequence > self.before.event_sequence


async def move_phones(connection: Connection, moves: Sequence[PhoneMove], *, has_notices: bool = True) -> None:
    """Write moves in the running transaction; whoever gives up its place goes first, for a participant has one device.

    A number that is replaced, removed or blocked gets a notice without a token.
    """
    leaving = [move for move in moves if not move.after.is_in_use]
    for part in (leaving, [move for move in moves if move.after.is_in_use]):
        if part:
            await write_phones(connection, [(move.before, move.after) for move in part])
    await append_events(connection, [_event_of(move) for move in moves if move.is_told])
    await append_audit(connection, [_act_of(move) for move in moves])
    for move in moves:
        if has_notices and move.before.is_in_use and move.after.status in _NOTICES:
            await _notice(connection, move.after, move.author)


def _event_of(move: PhoneMove) -> EventRow:
    device = move.after
    return new_event(
        move.action,
        phone_view(device, now=device.updated_at),
        integrator_key=device.integrator_key,
        subject_key=device.key,
        kind=SUBJECT,
        sequence=device.event_sequence,
        at=device.updated_at,
        correlation_id=move.author.correlation_id,
    )


def _act_of(move: PhoneMove) -> AuditRow:
    device = move.after
    return AuditRow(
        integrator_key=device.integrator_key,
        actor=move.author.name,
        action=move.action,
        operation_key=None,
        correlation_id=move.author.correlation_id,
        at=device.updated_at,
        details={
            "key": device.key,
            "participant": device.participant_key,
            "before": move.before.status.value,
            "after": device.status.value,
            "failure_reason": device.failure_reason,
            **move.details,
        },
    )


async def _notice(connection: Connection, device: PhoneDevice, author: Author) -> None:
    contact = Contact(
        key=device.key,
        approver_key=device.participant_key,
        contact_type="sms",  # how the notice travels
        masked_destination=device.masked_number,
        usable_at=device.created_at,
        created_at=device.created_at,
    )
    await insert_notice(
        connection,
        device.integrator_key,
        new_key(device.updated_at),
        contact,
        payload={"notice": _NOTICES[device.status]},
        correlation_id=author.correlation_id,
        at=device.updated_at,
    )
