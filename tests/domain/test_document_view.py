"""A document as its owner, the back office and the webhooks are told of it."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from aval.domain.document_view import document_event, document_view
from aval.domain.identity_document import Decision, DocumentFile, DocumentStatus, IdentityDocument

NOW = datetime(2026, 3, 4, 18, 15, 11, 250_000, tzinfo=UTC)
TOLD = "2026-03-04T18:15:11.250Z"


def a_file(side: str, object_key: UUID | None = None) -> DocumentFile:
    return DocumentFile(side, 1, "image/png", 4_096, b"\xab\xcd", object_key, NOW)


def a_document(**change: Any) -> IdentityDocument:
    made = {"type": "rg", "status": DocumentStatus.DRAFT, "attempt": 1, "has_new_file": True}
    keys = {"integrator_key": UUID(int=1), "key": UUID(int=2), "participant_key": UUID(int=3)}
    return IdentityDocument(**keys | made | {"created_at": NOW, "updated_at": NOW} | change)


DECIDED = {
    "status": DocumentStatus.REJECTED,
    "decision": Decision.REJECT,
    "reason_code": "blurred",
    "public_message": "Foto sem foco.",
    "internal_note": "third try",
    "decided_by": "admin:ana",
    "decided_at": NOW,
    "submitted_at": NOW,
    "expires_on": date(2031, 2, 28),
}


def test_a_draft_has_no_decision_and_its_sides_in_their_order() -> None:
    told = document_view(a_document(files=(a_file("back"), a_file("front", UUID(int=9)))))
    assert {told[name] for name in ("decision", "reason_code", "expires_on", "submitted_at", "decided_at")} == {None}
    assert (told["status"], told["created_at"], told["updated_at"]) == ("draft", TOLD, TOLD)
    shown = {"media_type": "image/png", "size": 4_096, "sha256": "abcd"}
    assert told["files"] == [
        {"side": "front", "is_stored": True} | shown,
        {"side": "back", "is_stored": False} | shown,
    ]


def test_a_decision_is_told_without_who_made_it_and_what_they_noted() -> None:
    told = document_view(a_document(**DECIDED))
    assert (told["decision"], told["reason_code"], told["public_message"]) == ("reject", "blurred", "Foto sem foco.")
    assert (told["expires_on"], told["submitted_at"], told["decided_at"]) == ("2031-02-28", TOLD, TOLD)
    inside = {"internal_note": "third try", "decided_by": "admin:ana"}
    assert document_view(a_document(**DECIDED), is_back_office=True) == told | inside
    assert told.keys().isdisjoint(inside)


def test_a_webhook_tells_the_decision_and_no_file() -> None:
    assert document_event(a_document(**DECIDED)) == {
        "id": UUID(int=2),
        "type": "rg",
        "status": "rejected",
        "attempt": 1,
        "reason_code": "blurred",
        "public_message": "Foto sem foco.",
    }
