"""Identity documents of a participant: what each type consists of, and how one moves.

Source: redemptions.md §3.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from aval.domain.calendar import wire_datetime
from aval.domain.campaign import DocumentKind, TwoFactorPolicy

FILE_BYTES_MAX = 5_242_880  # spec redemptions.md §3.2
PIXELS_PER_SIDE_MIN, PIXELS_PER_SIDE_MAX = 200, 8_000
PDF_PAGES_MAX = 10
DRAFT_DAYS_MAX = 30

JPEG, PNG, PDF = "image/jpeg", "image/png", "application/pdf"
IMAGES = (JPEG, PNG)
DEVICE_RESET = "device_reset"
RESUBMISSION_LIMIT = "resubmission_limit"


class DocumentStatus(StrEnum):
    """Where a document is on its way."""

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    RESUBMISSION_REQUESTED = "resubmission_requested"
    EXPIRED = "expired"


class Decision(StrEnum):
    """What a reviewer, or an operator who reopens, decides."""

    APPROVE = "approve"
    REJECT = "reject"
    REQUEST_RESUBMISSION = "request_resubmission"
    REOPEN = "reopen"


OPEN = frozenset({DocumentStatus.DRAFT, DocumentStatus.RESUBMISSION_REQUESTED})
IN_PROGRESS = OPEN | {DocumentStatus.PENDING}

TRANSITIONS: Mapping[DocumentStatus, frozenset[DocumentStatus]] = {
    DocumentStatus.DRAFT: frozenset({DocumentStatus.PENDING}),
    DocumentStatus.PENDING: frozenset(
        {DocumentStatus.APPROVED, DocumentStatus.REJECTED, DocumentStatus.RESUBMISSION_REQUESTED}
    ),
    DocumentStatus.APPROVED: frozenset({DocumentStatus.EXPIRED, DocumentStatus.RESUBMISSION_REQUESTED}),
    DocumentStatus.REJECTED: frozenset({DocumentStatus.RESUBMISSION_REQUESTED}),
    DocumentStatus.RESUBMISSION_REQUESTED: frozenset({DocumentStatus.PENDING}),
    DocumentStatus.EXPIRED: frozenset(),
}

REASONS: Mapping[Decision, frozenset[str]] = {
    Decision.APPROVE: frozenset(),
    Decision.REJECT: frozenset(
        {"fraud_suspected", "altered", "identity_mismatch", "identity_theft", "watch_listed"},
    ),
    Decision.REQUEST_RESUBMISSION: frozenset(
        {"bad_quality", "blurry", "missing_page", "document_expired", "wrong_type", "ownership_mismatch"}
        | {"password_protected", "partial", "other"}
    ),
    Decision.REOPEN: frozenset({"reconsidered"}),
}


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """What one type of document is made of."""

    kind: DocumentKind
    sides: tuple[str, ...]
    formats: frozenset[str]


_TWO_SIDES, _ONE_SIDE = ("front", "back"), ("single",)
_ANY = frozenset({JPEG, PNG, PDF})
RULES: Mapping[str, DocumentRules] = {
    "rg": DocumentRules("identity", _TWO_SIDES, _ANY),
    "cnh": DocumentRules("identity", _TWO_SIDES, _ANY),
    "rne": DocumentRules("identity", _TWO_SIDES, _ANY),
    "passport": DocumentRules("identity", _ONE_SIDE, _ANY),
    "cnh_digital": DocumentRules("identity", _ONE_SIDE, frozenset({PDF})),
    "selfie": DocumentRules("selfie", _ONE_SIDE, frozenset(IMAGES)),
    "proof_of_address": DocumentRules("proof_of_address", _ONE_SIDE, _ANY),
}


class DocumentFile(msgspec.Struct, frozen=True):
    """One side as it was received; without its object once the file is destroyed."""

    side: str
    version: int
    media_type: str
    received_size: int
    sha256: bytes
    object_key: UUID | None
    created_at: datetime


class IdentityDocument(msgspec.Struct, frozen=True):
    """A document and the last word on it."""

    integrator_key: UUID
    key: UUID
    participant_key: UUID
    type: str
    status: DocumentStatus
    attempt: int
    has_new_file: bool
    decision: Decision | None
    reason_code: str | None
    public_message: str | None
    internal_note: str | None
    expires_on: date | None
    decided_by: str | None
    decided_at: datetime | None
    submitted_at: datetime | None
    purged_at: datetime | None
    event_sequence: int
    created_at: datetime
    updated_at: datetime
    files: tuple[DocumentFile, ...] = ()

    @property
    def rules(self) -> DocumentRules:
        """What its type is made of."""
        return RULES[self.type]

    @property
    def missing_sides(self) -> list[str]:
        """The sides of its type that no stored file shows."""
        there = {file.side for file in self.files if file.object_key is not None}
        return [side for side in self.rules.sides if side not in there]

    @property
    def is_submittable(self) -> bool:
        """Whether every side is there, and something new since a reviewer looked at it."""
        return self.has_new_file and not self.missing_sides


def moved_to(before: DocumentStatus, after: DocumentStatus) -> DocumentStatus:
    """The status after a move; only this writes one."""
    assert after in TRANSITIONS[before]
    return after


def submitted(document: IdentityDocument, at: datetime) -> IdentityDocument:
    """The document once it waits for a reviewer; answering a reviewer's request counts as one more attempt."""
    is_answer = document.decision is Decision.REQUEST_RESUBMISSION
    return msgspec.structs.replace(
        document,
        status=moved_to(document.status, DocumentStatus.PENDING),
        attempt=document.attempt + (is_answer and document.status is DocumentStatus.RESUBMISSION_REQUESTED),
        has_new_file=False,
        submitted_at=at,
        updated_at=at,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision as a reviewer hands it in, its form checked."""

    decision: Decision
    reason_code: str | None = None
    public_message: str | None = field(default=None, repr=False)
    internal_note: str | None = field(default=None, repr=False)
    expires_on: date | None = None

    def faults(self) -> list[tuple[str, str]]:
        """Members that do not fit the decision, each with what is wrong."""
        faults = []
        if self.reason_code is not None and self.reason_code not in REASONS[self.decision]:
            faults.append(("reason_code", "not allowed for this decision"))
        if self.reason_code is None and REASONS[self.decision]:
            faults.append(("reason_code", "required for this decision"))
        if self.reason_code == "other" and not self.public_message:
            faults.append(("public_message", "required with this reason"))
        if self.expires_on is not None and self.decision is not Decision.APPROVE:
            faults.append(("expires_on", "only with approve"))
        return faults

    @property
    def decidable(self) -> DocumentStatus:
        """The only status this can be decided in."""
        return DocumentStatus.REJECTED if self.decision is Decision.REOPEN else DocumentStatus.PENDING


_OUTCOMES = {
    Decision.APPROVE: DocumentStatus.APPROVED,
    Decision.REJECT: DocumentStatus.REJECTED,
    Decision.REQUEST_RESUBMISSION: DocumentStatus.RESUBMISSION_REQUESTED,
    Decision.REOPEN: DocumentStatus.RESUBMISSION_REQUESTED,
}


def decided(
    document: IdentityDocument, verdict: Verdict, policy: TwoFactorPolicy, *, actor: str, at: datetime
) -> IdentityDocument:
    """The document after a decision; a request for new files becomes a rejection once the attempts are used up."""
    status, reason = _OUTCOMES[verdict.decision], verdict.reason_code
    if verdict.decision is Decision.REQUEST_RESUBMISSION and document.attempt > policy.max_resubmissions:
        status, reason = DocumentStatus.REJECTED, RESUBMISSION_LIMIT
    return msgspec.structs.replace(
        document,
        status=moved_to(document.status, status),
        has_new_file=False,
        decision=verdict.decision,
        reason_code=reason,
        public_message=verdict.public_message,
        internal_note=verdict.internal_note,
        expires_on=verdict.expires_on,
        decided_by=actor,
        decided_at=at,
        updated_at=at,
    )


def asked_again(document: IdentityDocument, at: datetime) -> IdentityDocument:
    """An approved document that is needed anew, because the device it stood beside is gone; no attempt is used."""
    return msgspec.structs.replace(
        document,
        status=moved_to(document.status, DocumentStatus.RESUBMISSION_REQUESTED),
        has_new_file=False,
        decision=None,
        reason_code=DEVICE_RESET,
        public_message=None,
        updated_at=at,
    )


def expired(document: IdentityDocument, at: datetime) -> IdentityDocument:
    """An approved document whose last day is over."""
    return msgspec.structs.replace(document, status=moved_to(document.status, DocumentStatus.EXPIRED), updated_at=at)


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
