"""Rules of documents: redemptions.md §3.2."""

from datetime import UTC, date, datetime
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from aval.domain.campaign import TwoFactorPolicy
from aval.domain.errors import Refusal
from aval.domain.identity_document import (
    RULES,
    TRANSITIONS,
    Decision,
    DocumentFile,
    DocumentStatus,
    IdentityDocument,
    Verdict,
    asked_again,
    decided,
    expired,
    moved_to,
    refuse_files,
    refuse_new,
    refuse_submission,
    refuse_twin,
    submitted,
)

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
POLICY = TwoFactorPolicy(max_resubmissions=2)


def file(side: str, *, is_stored: bool = True) -> DocumentFile:
    return DocumentFile(side, 1, "image/jpeg", 9, bytes(32), uuid4() if is_stored else None, NOW)


def document(status: str, document_type: str = "rg", **change: Any) -> IdentityDocument:
    made: dict[str, Any] = {"attempt": 1, "has_new_file": True, "created_at": NOW, "updated_at": NOW} | change
    return IdentityDocument(uuid4(), uuid4(), uuid4(), document_type, DocumentStatus(status), **made)


@pytest.mark.parametrize(("before", "after"), list(product(DocumentStatus, DocumentStatus)))
def test_a_status_moves_by_the_table_alone(before: DocumentStatus, after: DocumentStatus):
    if after in TRANSITIONS[before]:
        assert moved_to(before, after) is after
    else:
        with pytest.raises(AssertionError):
            moved_to(before, after)


@pytest.mark.parametrize(
    ("decision", "attempt", "status", "reason"),
    [
        ("approve", 1, "approved", None),
        ("reject", 1, "rejected", "altered"),
        ("request_resubmission", 1, "resubmission_requested", "blurry"),
        ("request_resubmission", 2, "resubmission_requested", "blurry"),
        ("request_resubmission", 3, "rejected", "resubmission_limit"),
        ("request_resubmission", 9, "rejected", "resubmission_limit"),
        ("approve", 3, "approved", None),
    ],
)
def test_a_decision_ends_in_its_status(decision: str, attempt: int, status: str, reason: str | None):
    asked = Verdict(Decision(decision), {"reject": "altered", "request_resubmission": "blurry"}.get(decision))
    after = decided(document("pending", attempt=attempt), asked, POLICY, actor="admin:ana", at=NOW)
    assert (after.status, after.reason_code, after.decided_by, after.attempt) == (status, reason, "admin:ana", attempt)
    assert not after.has_new_file


@pytest.mark.parametrize(
    ("status", "decision", "attempt"),
    [
        ("draft", None, 1),
        ("resubmission_requested", Decision.REQUEST_RESUBMISSION, 2),
        ("resubmission_requested", Decision.REOPEN, 1),
        ("resubmission_requested", None, 1),  # the device was reset
    ],
)
def test_an_answer_to_a_reviewer_counts_and_no_other_submission(status: str, decision: Any, attempt: int):
    after = submitted(document(status, decision=decision), NOW)
    assert (after.status, after.attempt, after.submitted_at) == ("pending", attempt, NOW)


@pytest.mark.parametrize(
    ("verdict", "fields"),
    [
        (Verdict(Decision.APPROVE), []),
        (Verdict(Decision.APPROVE, expires_on=date(2031, 1, 1)), []),
        (Verdict(Decision.APPROVE, "blurry"), ["reason_code"]),
        (Verdict(Decision.REJECT), ["reason_code"]),
        (Verdict(Decision.REJECT, "altered", expires_on=date(2031, 1, 1)), ["expires_on"]),
        (Verdict(Decision.REQUEST_RESUBMISSION, "other"), ["public_message"]),
        (Verdict(Decision.REQUEST_RESUBMISSION, "other", "De novo"), []),
        (Verdict(Decision.REOPEN, "altered"), ["reason_code"]),
        (Verdict(Decision.REOPEN, "reconsidered"), []),
    ],
)
def test_a_verdict_has_the_members_of_its_decision(verdict: Verdict, fields: list[str]):
    assert [field for field, _ in verdict.faults()] == fields


def test_every_side_and_something_new_make_a_submission():
    whole = document("draft", files=(file("front"), file("back")))
    refuse_submission(whole, [whole])
    for lacking, sides in (
        (document("draft", files=(file("back"),)), ["front"]),
        (document("draft", files=(file("front"), file("back", is_stored=False))), ["back"]),
        (document("resubmission_requested", has_new_file=False, files=whole.files), []),
    ):
        with pytest.raises(Refusal) as refused:
            refuse_submission(lacking, [lacking])
        assert refused.value.extra_fields["missing_sides"] == sides


@pytest.mark.parametrize(
    ("present", "asked", "is_refused"),
    [
        (("draft", "rg"), "rg", True),
        (("pending", "rg"), "rg", True),
        (("resubmission_requested", "rg"), "rg", True),
        (("approved", "rg"), "rg", False),
        (("expired", "rg"), "rg", False),
        (("pending", "rg"), "cnh", False),
        (("rejected", "rg"), "cnh", True),
        (("rejected", "rg"), "selfie", False),
        (("rejected", "selfie"), "selfie", True),
    ],
)
def test_what_is_in_the_way_of_a_new_document(present: tuple[str, str], asked: str, is_refused: bool):
    if is_refused:
        with pytest.raises(Refusal, match="wrong_status"):
            refuse_new([document(*present)], asked)
    else:
        refuse_new([document(*present)], asked)


def test_files_come_to_a_document_that_waits_for_them():
    for status in DocumentStatus:
        if status in ("draft", "resubmission_requested"):
            refuse_files(document(status))
        else:
            with pytest.raises(Refusal):
                refuse_files(document(status))


def test_what_only_a_reset_asks_for_is_in_nobody_s_way():
    other = asked_again(document("approved", decision=Decision.APPROVE), NOW)
    assert (other.status, other.reason_code, other.decision) == ("resubmission_requested", "device_reset", None)
    refuse_twin(document("resubmission_requested"), [other, document("approved"), document("pending", "cnh")])
    for status in ("draft", "pending"):
        with pytest.raises(Refusal):
            refuse_twin(document("rejected"), [document(status)])


def test_only_what_is_approved_expires():
    assert expired(document("approved", expires_on=date(2026, 3, 3)), NOW).status == "expired"
    with pytest.raises(AssertionError):
        expired(document("pending"), NOW)


def test_every_type_has_its_sides_and_formats():
    assert {name for name, rules in RULES.items() if rules.sides == ("front", "back")} == {"rg", "cnh", "rne"}
    assert RULES["cnh_digital"].formats == {"application/pdf"}
    assert RULES["selfie"].formats == {"image/jpeg", "image/png"}


def test_nothing_of_a_document_prints():
    assert repr(document("pending", internal_note="parece outra pessoa")) == "IdentityDocument"
    assert "secreta" not in repr(Verdict(Decision.REJECT, "altered", "secreta", "secreta"))
