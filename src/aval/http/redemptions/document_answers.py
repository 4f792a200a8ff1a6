"""Identity documents and the onboarding as answers tell them (redemptions.md §3.2, §3.3)."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from aval.http.redemptions.phone_answers import DeviceAnswer

DocumentTypeName = Literal["rg", "cnh", "rne", "passport", "cnh_digital", "selfie", "proof_of_address"]
StatusName = Literal["draft", "pending", "approved", "rejected", "resubmission_requested", "expired"]
DecisionName = Literal["approve", "reject", "request_resubmission", "reopen"]
Side = Literal["front", "back", "single"]


class FileAnswer(msgspec.Struct, kw_only=True):
    """One side as it was received; `is_stored` is false once its file was destroyed."""

    side: Side
    media_type: Literal["image/jpeg", "image/png", "application/pdf"]
    size: int
    sha256: str
    is_stored: bool


class DocumentAnswer(msgspec.Struct, kw_only=True):
    """A document and the last word on it; `internal_note` and `decided_by` only for the back office."""

    id: str
    participant_id: str
    type: DocumentTypeName
    status: StatusName
    attempt: int
    decision: DecisionName | None
    reason_code: str | None
    public_message: str | None
    expires_on: str | None
    files: list[FileAnswer]
    submitted_at: str | None
    decided_at: str | None
    created_at: str
    updated_at: str
    internal_note: str | None | UnsetType = UNSET
    decided_by: str | None | UnsetType = UNSET


class DocumentListing(msgspec.Struct):
    """A part of a list of documents, oldest first."""

    items: list[DocumentAnswer]
    offset: int
    limit: int
    total: int


class OnboardingAnswer(msgspec.Struct, kw_only=True):
    """How far a participant is, and what is missing."""

    status: Literal[
        "suspended",
        "rejected",
        "resubmission_requested",
        "not_started",
        "device_pending",
        "documents_pending",
        "in_review",
        "complete",
    ]
    missing: list[Literal["device", "identity", "selfie", "proof_of_address"]]
    device: DeviceAnswer | UnsetType = UNSET
    documents: list[DocumentAnswer]
    can_redeem: bool
