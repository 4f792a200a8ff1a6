"""Purchases as answers tell them: in brief, and with an approval while one is waited for."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from aval.domain.purchase import PurchaseStatus, begun, moved
from aval.domain.redemption_view import Shown, approval_of, purchase_view, snapshot_view
from tests.changed import replace
from tests.domain.examples import challenge
from tests.domain.test_purchase import NOW, a_purchase

LATER = NOW + timedelta(minutes=2)
DEVICE = UUID(int=4)


def test_in_brief_a_purchase_tells_why_it_was_rejected_and_only_then() -> None:
    pending = begun(a_purchase(), authorization_ttl=None)
    told: dict[str, Any] = {"id": pending.key, "status": "pending_2fa_approval", "total_points": 8_500}
    told |= {"debited_points": 8_500, "created_at": "2026-03-04T18:15:11.250Z"}
    assert snapshot_view(pending) == told
    rejected = moved(pending, PurchaseStatus.REJECTED, LATER, reason="attempts_exceeded")
    assert snapshot_view(rejected) == told | {"status": "rejected", "rejection_reason": "attempts_exceeded"}


def test_an_approval_is_told_while_the_purchase_waits_for_it() -> None:
    pending, waiting = begun(a_purchase(), authorization_ttl=None), challenge()
    told = purchase_view(pending, Shown(challenge=waiting, delivery="sent"))
    assert told["approval"] == approval_of(waiting, DEVICE, "sent")
    confirmed = moved(pending, PurchaseStatus.CONFIRMED, LATER)
    assert "approval" not in purchase_view(confirmed, Shown(challenge=waiting))
    assert "approval" not in purchase_view(pending, Shown())


@pytest.mark.parametrize(("resends_left", "is_told"), [(1, True), (0, False)])
def test_when_to_resend_is_told_while_that_is_possible(resends_left: int, is_told: bool) -> None:
    waiting = replace(challenge(), resends_left=resends_left)
    assert (approval_of(waiting, DEVICE)["can_resend_at"] is not None) is is_told


def test_what_was_told_just_now_is_told_again() -> None:
    told = purchase_view(a_purchase(), Shown(customer={"name": "Helena"}, told={"status": "pending_2fa_approval"}))
    assert told == {"status": "pending_2fa_approval", "customer": {"name": "Helena"}, "shipping": None}


def test_nothing_that_is_shown_prints() -> None:
    assert repr(Shown(customer={"name": "Helena"})) == "Shown"
