"""Identity documents of a participant: what each type consists of, and how one moves.

Source: redemptions.md §3.2.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from aval.domain.campaign import DocumentKind, TwoFactorPolicy
from aval.domain.errors import Refusal

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
    created_at: datetime
    updated_at: datetime
    decision: Decision | None = None
    reason_code: str | None = None
    public_message: str | None = None
    internal_note: str | None = None
    expires_on: date | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    submitted_at: datetime | None = None
    purged_at: datetime | None = None
    event_sequence: int = 0
    files: tuple[DocumentFile, ...] = ()

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def rules(self) -> DocumentRules:
        """What its type is made of."""
        return RULES[self.type]

    @property
    def missing_sides(self) -> list[str]:
        """The sides of its type that no stored file shows."""
        return [side for side in self.rules.sides if side not in self.stored_files]

    @property
    def stored_files(self) -> dict[str, DocumentFile]:
        """The files that are there, by side."""
        return {file.side: file for file in self.files if file.object_key is not None}

    @property
    def is_on_its_way(self) -> bool:
        """Whether no other of its type may be; one that only a reset of the device asks for stands in nobody's way."""
        is_asked_for = self.status is DocumentStatus.RESUBMISSION_REQUESTED and self.decision is not None
        return is_asked_for or self.status in (DocumentStatus.DRAFT, DocumentStatus.PENDING)

    @property
    def is_submittable(self) -> bool:
        """Whether every side is there, and something new since a reviewer looked at it."""
        return self.has_new_file and not self.missing_sides


def refuse_new(present: Iterable[IdentityDocument], document_type: str) -> None:
    """Raise why no draft of this type may begin beside the documents there are."""
    kind = RULES[document_type].kind
    for document in present:
        is_twin = document.type == document_type and document.status in IN_PROGRESS
        if is_twin or (document.rules.kind == kind and document.status is DocumentStatus.REJECTED):
            raise wrong_status(document)


def refuse_files(document: IdentityDocument) -> None:
    """Raise why no file of this document may be sent or submitted now."""
    if document.status not in OPEN:
        raise wrong_status(document)


def refuse_submission(document: IdentityDocument, present: Iterable[IdentityDocument]) -> None:
    """Raise why this document cannot go to a reviewer: its status, its files, or another of its type on the way."""
    refuse_files(document)
    if not document.is_submittable:
        raise Refusal("rdm.document_incomplete", extra_fields={"missing_sides": document.missing_sides})
    refuse_twin(document, present)


def refuse_twin(document: IdentityDocument, present: Iterable[IdentityDocument]) -> None:
    """Raise that another document of its type is on its way already."""
    for other in present:
        if other.key != document.key and other.type == document.type and other.is_on_its_way:
            raise wrong_status(other)


def wrong_status(document: IdentityDocument) -> Refusal:
    """Make the refusal of a call that the status of a document does not allow."""
    return Refusal("rdm.wrong_status", extra_fields={"status": document.status.value})


def no_document() -> Refusal:
    """Make the refusal of a document or file that is unknown, gone, or of somebody else."""
    return Refusal("rdm.resource_not_found", extra_fields={"resource": "document"})


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
            faults.append(("reason_code", "invalid_value"))
        if self.reason_code is None and REASONS[self.decision]:
            faults.append(("reason_code", "missing"))
        if self.reason_code == "other" and not self.public_message:
            faults.append(("public_message", "missing"))
        if self.expires_on is not None and self.decision is not Decision.APPROVE:
            faults.append(("expires_on", "invalid_value"))
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
