"""redemptions.md §3.3 against a second reading of its table: every combination of a few documents and devices."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.identity_document import DocumentStatus
from aval.domain.onboarding import DeviceFact, DocumentFact, OnboardingFacts, can_redeem, onboarding_of

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
KINDS = {"rg": "identity", "cnh": "identity", "selfie": "selfie"}
STATUSES = tuple(status.value for status in DocumentStatus)
IN_USE = {
    state: DeviceFact(uuid4(), state == "active", NOW, None, "+55 11 *****-1234") for state in ("active", "blocked")
}
Documents = tuple[tuple[str, str], ...]


def told(policy: TwoFactorPolicy, status: str, device: str, documents: Documents) -> tuple[str, tuple[str, ...], bool]:
    """Status, what is missing and whether to redeem, as the table tells them; the oldest document comes first."""
    governing: dict[str, str] = {}
    for kind in policy.required_documents if policy.document_policy != "none" else ():
        of_kind = [state for document, state in documents if KINDS[document] == kind]
        governing[kind] = "none"
        if of_kind:
            governing[kind] = of_kind[-1]
        if "approved" in of_kind:
            governing[kind] = "approved"
        if "rejected" in of_kind:
            governing[kind] = "rejected"
    found = "complete"
    for row, states in (
        ("in_review", {"pending"}),
        ("documents_pending", {"none", "draft", "expired"}),
        ("device_pending", None),
        ("not_started", None),
        ("resubmission_requested", {"resubmission_requested"}),
        ("rejected", {"rejected"}),
    ):  # from the last row to the first, so that the first that fits stays
        fits = states is not None and bool(states & set(governing.values()))
        fits |= row == "device_pending" and device != "active"
        fits |= row == "not_started" and device == "never" and not documents
        found = row if fits else found
    if status != "ACTIVE":
        found = "suspended"
    met = {"approved", "pending"} if policy.document_policy == "submitted" else {"approved"}
    missing = (["device"] if device != "active" else []) + [kind for kind in governing if governing[kind] not in met]
    ready = {"complete", "in_review"} if policy.document_policy == "submitted" else {"complete"}
    return found, tuple(missing), found in ready or (not policy.enabled and found != "suspended")


def policies() -> Iterator[TwoFactorPolicy]:
    required: tuple[Any, ...] = ((), ("identity",), ("selfie",), ("identity", "selfie"), ("selfie", "identity"))
    for document_policy, needed, is_enabled in product(("none", "submitted", "approved"), required, (True, False)):
        yield TwoFactorPolicy(enabled=is_enabled, document_policy=document_policy, required_documents=needed)


def sets_of_documents() -> Iterator[Documents]:
    each = list(product(KINDS, STATUSES))
    for count in range(3):
        yield from product(each, repeat=count)
    identity = product(STATUSES, repeat=3)
    yield from ((("rg", first), ("cnh", second), ("rg", third)) for first, second, third in identity)


@pytest.mark.parametrize(
    "policy", list(policies()), ids=lambda each: f"{each.document_policy}-{each.required_documents}-{each.enabled}"
)
def test_the_table_and_the_code_agree(policy: TwoFactorPolicy):
    for documents in sets_of_documents():
        for device, status in (("active", "ACTIVE"), ("blocked", "ACTIVE"), ("failed", "ACTIVE"), ("never", "ACTIVE"),
                               ("active", "INACTIVE"), ("never", "INACTIVE")):  # fmt: skip
            facts = facts_of(status, device, documents)
            found = onboarding_of(policy, facts)
            expected = told(policy, status, device, documents)
            assert (found.status, found.missing, can_redeem(policy, found)) == expected, (documents, device, status)


def test_the_order_of_reading_does_not_count():
    policy = TwoFactorPolicy(enabled=True, required_documents=("identity",))
    for states in product(STATUSES, repeat=3):
        facts = facts_of("ACTIVE", "active", tuple(zip(("rg", "cnh", "rg"), states, strict=True)))
        found = {
            onboarding_of(policy, OnboardingFacts("ACTIVE", True, facts.device, order)).status  # noqa: FBT003
            for order in permutations(facts.documents)
        }
        assert len(found) == 1


def facts_of(status: str, device: str, documents: Documents) -> OnboardingFacts:
    found = tuple(
        DocumentFact(kind, DocumentStatus(state), NOW + timedelta(seconds=number))
        for number, (kind, state) in enumerate(documents)
    )
    return OnboardingFacts(status, device != "never", IN_USE.get(device), found)
