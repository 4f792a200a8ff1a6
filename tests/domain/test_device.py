from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from aval.domain.challenge import Challenge
from aval.domain.device import (
    DeviceApproval,
    DeviceChoice,
    DeviceFacts,
    DeviceSession,
    DeviceStatus,
    SessionStatus,
    device_status,
)
from aval.domain.money import Brl
from aval.domain.transfer import Reason, Status
from tests.changed import replace
from tests.domain.examples import challenge

NOW = datetime(2026, 11, 23, 14, 30, tzinfo=UTC)
KEY = UUID("41c9e0a7-3d5f-4b62-8c14-f9b6027d8ae5")
DAY = timedelta(hours=24)


def facts(**change: object) -> DeviceFacts:
    """An active device in its first day."""
    made = DeviceFacts(is_active=True, activated_at=NOW - timedelta(hours=1), cooldown=DAY)
    return replace(made, **change)


# promises.md DV5, AB7: 200.00 an operation and 1,000.00 a day in the first hours, to the centavo and the microsecond.
@pytest.mark.parametrize(
    ("age", "approved_today", "amount", "counts"),
    [
        (timedelta(0), 0, 200_00, True),
        (timedelta(0), 0, 200_01, False),
        (timedelta(0), 800_00, 200_00, True),
        (timedelta(0), 800_01, 200_00, False),
        (timedelta(0), 999_99, 1, True),
        (timedelta(0), 1_000_00, 1, False),
        (DAY - timedelta(microseconds=1), 0, 200_01, False),
        (DAY - timedelta(microseconds=1), 1_000_00, 1, False),
        (DAY, 0, 200_01, True),
        (DAY, 5_000_00, 9_999_999_99, True),
    ],
)
def test_a_young_device_approves_little(age: timedelta, approved_today: int, amount: int, counts: bool) -> None:
    device = facts(activated_at=NOW - age, approved_today=Brl(approved_today))
    assert device.counts_for(Brl(amount), NOW) is counts


@pytest.mark.parametrize("change", [{"is_active": False}, {"activated_at": None}])
def test_a_device_that_is_not_active_approves_nothing(change: dict[str, object]) -> None:
    assert not facts(cooldown=timedelta(0), **change).counts_for(Brl(1), NOW)


def test_without_a_cooldown_a_device_is_never_young() -> None:
    assert facts(activated_at=NOW, cooldown=timedelta(0)).counts_for(Brl(9_999_999_99), NOW)


@pytest.mark.parametrize(
    ("is_used", "devices", "serves"),
    [
        (False, [facts()], True),
        (True, [facts()], False),
        (False, [], False),
        (False, [facts(is_active=False), facts()], True),
        (False, [facts(is_active=False)], False),
    ],
)
def test_a_request_needs_a_new_session_and_one_device(is_used: bool, devices: list[DeviceFacts], serves: bool) -> None:
    assert DeviceChoice(is_used, devices).serves(Brl(100), NOW) is serves


@pytest.mark.parametrize(
    ("status", "device", "counts"),
    [
        (SessionStatus.APPROVED, facts(), True),
        (SessionStatus.APPROVED, facts(is_active=False), False),
        (SessionStatus.PENDING, None, False),
        (SessionStatus.DENIED, facts(), False),
        (SessionStatus.APPROVED, None, False),
    ],
)
def test_an_approval_counts_while_its_device_does(
    status: SessionStatus, device: DeviceFacts | None, counts: bool
) -> None:
    assert DeviceApproval(status, KEY, device).counts_for(Brl(100), NOW) is counts


def session(**change: object) -> DeviceSession:
    made = DeviceSession(KEY, KEY, KEY, SessionStatus.PENDING, "A" * 43, NOW + timedelta(minutes=5), None)
    return replace(made, **change)


@pytest.mark.parametrize(
    ("stored", "nonce", "after", "takes"),
    [
        ({}, "A" * 43, timedelta(0), True),
        ({}, "A" * 43, timedelta(minutes=5) - timedelta(microseconds=1), True),
        ({}, "A" * 43, timedelta(minutes=5), False),
        ({}, "a" * 43, timedelta(0), False),
        ({}, "A" * 42, timedelta(0), False),
        ({}, "\ud800", timedelta(0), False),
        ({"nonce": None}, "A" * 43, timedelta(0), False),
        ({"nonce_expires_at": None}, "A" * 43, timedelta(0), False),
    ],
)
def test_a_session_takes_the_nonce_it_told_last(
    stored: dict[str, object], nonce: str, after: timedelta, takes: bool
) -> None:
    assert session(**stored).takes(nonce, NOW + after) is takes


def ended(status: Status) -> Challenge:
    reason = Reason.ATTEMPTS_EXCEEDED if status is Status.REJECTED else None
    return replace(challenge(), status=status, rejection_reason=reason)


@pytest.mark.parametrize("stored", [SessionStatus.PENDING, SessionStatus.APPROVED, SessionStatus.DENIED])
@pytest.mark.parametrize("status", Status)
def test_a_pending_session_ends_with_its_operation(stored: SessionStatus, status: Status) -> None:
    is_closed = stored is SessionStatus.PENDING and status is not Status.PENDING_2FA_APPROVAL
    assert session(status=stored).seen(ended(status)) is (SessionStatus.CLOSED if is_closed else stored)


@pytest.mark.parametrize(
    ("status", "is_disabled", "told"),
    [
        (Status.PENDING_2FA_APPROVAL, False, DeviceStatus.PENDING),
        (Status.APPROVED, False, DeviceStatus.ACTIVE),
        (Status.APPROVED, True, DeviceStatus.DISABLED),
        (Status.CANCELLED, False, DeviceStatus.DISABLED),
        (Status.REJECTED, False, DeviceStatus.REJECTED),
    ],
)
def test_the_status_of_a_device_is_that_of_its_registration(
    status: Status, is_disabled: bool, told: DeviceStatus
) -> None:
    assert device_status(ended(status), is_disabled=is_disabled) is told
