"""How far a participant is on the way to redeeming: derived from the policy, the device and the documents.

Source: redemptions.md §3.3.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from aval.domain.campaign import DocumentKind, TwoFactorPolicy
from aval.domain.identity_document import RULES, DocumentStatus

DEVICE = "device"
ACTIVE = "ACTIVE"


class OnboardingStatus(StrEnum):
    """The first row of redemptions.md §3.3 that fits."""

    SUSPENDED = "suspended"
    REJECTED = "rejected"
    RESUBMISSION_REQUESTED = "resubmission_requested"
    NOT_STARTED = "not_started"
    DEVICE_PENDING = "device_pending"
    DOCUMENTS_PENDING = "documents_pending"
    IN_REVIEW = "in_review"
    COMPLETE = "complete"


class DocumentFact(msgspec.Struct, frozen=True):
    """One document, as far as it matters here."""

    type: str
    status: DocumentStatus
    created_at: datetime


class DeviceFact(msgspec.Struct, frozen=True):
    """The phone of a participant that is active or blocked."""

    key: UUID
    is_active: bool
    active_from: datetime
    undeliverable_at: datetime | None
    masked_number: str


class OnboardingFacts(msgspec.Struct, frozen=True):
    """What a status derives from; `has_registered` tells of any device ever, `device` of the one in use."""

    participant_status: str
    has_registered: bool
    device: DeviceFact | None
    documents: tuple[DocumentFact, ...]


class Onboarding(msgspec.Struct, frozen=True):
    """The status, what is unmet, and whether a redemption under the second factor may begin."""

    status: OnboardingStatus
    missing: tuple[str, ...]
    is_ready: bool


def onboarding_of(policy: TwoFactorPolicy, facts: OnboardingFacts) -> Onboarding:
    """Derive it from the facts and the current version of the policy."""
    is_document_needed = policy.document_policy != "none"
    governing = {kind: _governing(kind, facts.documents) for kind in policy.required_documents * is_document_needed}
    has_device = facts.device is not None and facts.device.is_active
    status = _status(facts, list(governing.values()), has_device=has_device)
    enough = {DocumentStatus.APPROVED}
    if policy.document_policy == "submitted":
        enough.add(DocumentStatus.PENDING)
    unmet = [kind for kind, found in governing.items() if found not in enough]
    is_enough = status is OnboardingStatus.IN_REVIEW and policy.document_policy == "submitted"
    return Onboarding(
        status=status,
        missing=(*((DEVICE,) * (not has_device)), *unmet),
        is_ready=status is OnboardingStatus.COMPLETE or is_enough,
    )


def can_redeem(policy: TwoFactorPolicy, onboarding: Onboarding) -> bool:
    """Whether a purchase of this participant may begin: without a second factor, nothing but suspension forbids it."""
    is_suspended = onboarding.status is OnboardingStatus.SUSPENDED
    return onboarding.is_ready or not (policy.enabled or is_suspended)


def _governing(kind: DocumentKind, documents: Iterable[DocumentFact]) -> DocumentStatus | None:
    """Of a kind: the rejected document if there is one, else the approved one, else the latest."""
    own = sorted((each for each in documents if RULES[each.type].kind == kind), key=lambda each: each.created_at)
    for status in (DocumentStatus.REJECTED, DocumentStatus.APPROVED):
        if any(each.status is status for each in own):
            return status
    return own[-1].status if own else None


def _status(facts: OnboardingFacts, governing: list[DocumentStatus | None], *, has_device: bool) -> OnboardingStatus:
    unfinished = {None, DocumentStatus.DRAFT, DocumentStatus.EXPIRED}
    rows = (
        (OnboardingStatus.SUSPENDED, facts.participant_status != ACTIVE),
        (OnboardingStatus.REJECTED, DocumentStatus.REJECTED in governing),
        (OnboardingStatus.RESUBMISSION_REQUESTED, DocumentStatus.RESUBMISSION_REQUESTED in governing),
        (OnboardingStatus.NOT_STARTED, not facts.has_registered and not facts.documents),
        (OnboardingStatus.DEVICE_PENDING, not has_device),
        (OnboardingStatus.DOCUMENTS_PENDING, not unfinished.isdisjoint(governing)),
        (OnboardingStatus.IN_REVIEW, DocumentStatus.PENDING in governing),
    )
    return next((status for status, fits in rows if fits), OnboardingStatus.COMPLETE)
