"""redemptions.md §3.3, row by row."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.identity_document import DocumentStatus
from aval.domain.onboarding import DeviceFact, DocumentFact, OnboardingFacts, can_redeem, onboarding_of

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
POLICY = TwoFactorPolicy(enabled=True)


def facts(*documents: tuple[str, str], device: str | None = "active", **change: Any) -> OnboardingFacts:
    """A participant with documents, the oldest first."""
    in_use = DeviceFact(uuid4(), device == "active", NOW, None, "+55 11 *****-1234") if device in STATES else None
    found = [
        DocumentFact(kind, DocumentStatus(status), NOW + timedelta(minutes=number))
        for number, (kind, status) in enumerate(documents)
    ]
    told: dict[str, Any] = {"participant_status": "ACTIVE", "has_registered": device is not None} | change
    return OnboardingFacts(device=in_use, documents=tuple(found), **told)


STATES = ("active", "blocked")
WHOLE = (("rg", "approved"), ("selfie", "approved"))


@pytest.mark.parametrize(
    ("case", "status", "missing"),
    [
        (facts(*WHOLE), "complete", ()),
        (facts(*WHOLE, participant_status="INACTIVE"), "suspended", ()),
        (facts(("rg", "rejected"), ("selfie", "approved")), "rejected", ("identity",)),
        (facts(("rg", "rejected"), ("selfie", "approved"), participant_status="INACTIVE"), "suspended", ("identity",)),
        (facts(("rg", "resubmission_requested"), ("selfie", "pending")), *("resubmission_requested",),
         ("identity", "selfie")),
        (facts(("rg", "rejected"), ("selfie", "resubmission_requested"), device=None), "rejected",
         ("device", "identity", "selfie")),
        (facts(device=None), "not_started", ("device", "identity", "selfie")),
        (facts(device="failed"), "device_pending", ("device", "identity", "selfie")),
        (facts(*WHOLE, device=None), "device_pending", ("device",)),
        (facts(*WHOLE, device="blocked"), "device_pending", ("device",)),
        (facts(("rg", "approved")), "documents_pending", ("selfie",)),
        (facts(("rg", "approved"), ("selfie", "draft")), "documents_pending", ("selfie",)),
        (facts(("rg", "expired"), ("selfie", "approved")), "documents_pending", ("identity",)),
        (facts(("rg", "pending"), ("selfie", "draft")), "documents_pending", ("identity", "selfie")),
        (facts(("rg", "pending"), ("selfie", "approved")), "in_review", ("identity",)),
    ],
)  # fmt: skip
def test_the_first_row_that_fits_is_the_status(case: OnboardingFacts, status: str, missing: tuple[str, ...]):
    found = onboarding_of(POLICY, case)
    assert (found.status, found.missing) == (status, missing)
    assert found.is_ready is (status == "complete")


@pytest.mark.parametrize(
    ("documents", "status"),
    [
        ([("rg", "rejected"), ("cnh", "approved")], "rejected"),  # a rejection outweighs what came later
        ([("rg", "approved"), ("cnh", "pending")], "complete"),
        ([("rg", "expired"), ("cnh", "pending")], "in_review"),
        ([("cnh", "pending"), ("rg", "draft")], "documents_pending"),
        ([("passport", "approved"), ("proof_of_address", "rejected")], "complete"),  # of a kind nobody asks for
    ],
)
def test_one_document_of_a_kind_governs(documents: list[tuple[str, str]], status: str):
    policy = TwoFactorPolicy(enabled=True, required_documents=("identity",))
    assert onboarding_of(policy, facts(*documents)).status == status


def test_without_a_document_policy_only_the_device_counts():
    policy = TwoFactorPolicy(enabled=True, document_policy="none")
    assert onboarding_of(policy, facts(("rg", "rejected"))).status == "complete"
    found = onboarding_of(policy, facts(("rg", "rejected"), device="failed"))
    assert (found.status, found.missing) == ("device_pending", ("device",))


@pytest.mark.parametrize(("document_policy", "is_ready"), [("approved", False), ("submitted", True)])
def test_what_is_in_review_suffices_where_submitting_does(document_policy: Any, is_ready: bool):
    policy = TwoFactorPolicy(enabled=True, document_policy=document_policy)
    found = onboarding_of(policy, facts(("rg", "pending"), ("selfie", "approved")))
    assert found.status == "in_review"
    assert found.is_ready is is_ready
    assert found.missing == (() if is_ready else ("identity",))


@pytest.mark.parametrize(
    ("is_enabled", "participant_status", "expected"),
    [(True, "ACTIVE", False), (False, "ACTIVE", True), (False, "INACTIVE", False)],
)
def test_without_a_second_factor_whoever_is_active_may_redeem(
    is_enabled: bool, participant_status: str, expected: bool
):
    policy = TwoFactorPolicy(enabled=is_enabled)
    found = onboarding_of(policy, facts(device=None, participant_status=participant_status))
    assert can_redeem(policy, found) is expected
