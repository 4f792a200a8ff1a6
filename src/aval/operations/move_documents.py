"""Write moves of documents: state, webhook and audit in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from aval.domain.document_view import document_event
from aval.domain.identity_document import DocumentStatus, IdentityDocument
from aval.operations.new_event import new_event
from aval.operations.record_act import Author
from aval.storage.audit import AuditRow, append_audit
from aval.storage.database import Connection
from aval.storage.identity_documents import write_documents
from aval.storage.webhook_events import EventRow, append_events

SUBJECT = "document"  # what the events count in
SUBMITTED, PURGED = "document.submitted", "document.purged"


@dataclass(frozen=True, slots=True)
class DocumentMove:
    """A document as it was and as it is now; `details` go into its audit row, never a name, a note or a picture."""

    before: IdentityDocument
    after: IdentityDocument
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def action(self) -> str:
        """What its audit row and its webhook call it."""
        if self.after.status is self.before.status:
            return PURGED
        return SUBMITTED if self.after.status is DocumentStatus.PENDING else f"document.{self.after.status.value}"


async def move_documents(
    connection: Connection, moves: Sequence[DocumentMove], *, author: Author
) -> list[IdentityDocument]:
    """Write moves in the running transaction, each with its webhook; answers the documents as they are then.

    The guards of their participants are held.
    """
    if not moves:
        return []
    counted = [
        DocumentMove(move.before, replace(move.after, event_sequence=move.before.event_sequence + 1), move.details)
        for move in moves
    ]
    await write_documents(connection, [move.after for move in counted])
    await append_events(connection, [_event_of(move, author) for move in counted])
    await append_audit(connection, [_act_of(move, author) for move in counted])
    return [move.after for move in counted]


def act_on(document: IdentityDocument, action: str, author: Author, **details: Any) -> AuditRow:
    """An audit row about a document that does not move."""
    return AuditRow(
        integrator_key=document.integrator_key,
        actor=author.name,
        action=action,
        operation_key=None,
        correlation_id=author.correlation_id,
        at=document.updated_at,
        details={"key": document.key, "participant": document.participant_key, "type": document.type, **details},
    )


def _event_of(move: DocumentMove, author: Author) -> EventRow:
    document = move.after
    return new_event(
        move.action,
        document_event(document),
        integrator_key=document.integrator_key,
        subject_key=document.key,
        kind=SUBJECT,
        sequence=document.event_sequence,
        at=document.updated_at,
        correlation_id=author.correlation_id,
    )


def _act_of(move: DocumentMove, author: Author) -> AuditRow:
    document = move.after
    details = {
        "before": move.before.status.value,
        "after": document.status.value,
        "attempt": document.attempt,
        "reason_code": document.reason_code,
        **move.details,
    }
    return act_on(document, move.action, author, **details)
