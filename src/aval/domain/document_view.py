"""How identity documents and the onboarding are told on the wire (redemptions.md §3, §9, §10)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from aval.domain.calendar import wire_datetime
from aval.domain.identity_document import DocumentFile, IdentityDocument


def document_view(document: IdentityDocument, *, is_back_office: bool = False) -> dict[str, Any]:
    """A document as answers tell it; note and name of the reviewer are for the back office alone."""
    view = {
        "id": document.key,
        "participant_id": document.participant_key,
        "type": document.type,
        "status": document.status.value,
        "attempt": document.attempt,
        "decision": document.decision and document.decision.value,
        "reason_code": document.reason_code,
        "public_message": document.public_message,
        "expires_on": document.expires_on and document.expires_on.isoformat(),
        "files": [file_view(file) for file in _in_order(document)],
        "submitted_at": _told(document.submitted_at),
        "decided_at": _told(document.decided_at),
        "created_at": wire_datetime(document.created_at),
        "updated_at": wire_datetime(document.updated_at),
    }
    if is_back_office:
        view |= {"internal_note": document.internal_note, "decided_by": document.decided_by}
    return view


def file_view(file: DocumentFile) -> dict[str, Any]:
    """A side as answers tell it: what was received, whatever became of it."""
    return {
        "side": file.side,
        "media_type": file.media_type,
        "size": file.received_size,
        "sha256": file.sha256.hex(),
        "is_stored": file.object_key is not None,
    }


def document_event(document: IdentityDocument) -> dict[str, Any]:
    """`data` of the webhooks about a document (redemptions.md §9)."""
    return {
        "id": document.key,
        "type": document.type,
        "status": document.status.value,
        "attempt": document.attempt,
        "reason_code": document.reason_code,
        "public_message": document.public_message,
    }


def _in_order(document: IdentityDocument) -> Sequence[DocumentFile]:
    return sorted(document.files, key=lambda file: document.rules.sides.index(file.side))


def _told(at: datetime | None) -> str | None:
    return None if at is None else wire_datetime(at)
