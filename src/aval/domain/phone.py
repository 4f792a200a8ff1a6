"""A participant's security device: a mobile phone, the states it moves through, and what is told of it.

Source: redemptions.md §3.1.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from msgspec.structs import replace

from aval.domain.calendar import wire_datetime
from aval.domain.challenge import Challenge
from aval.domain.errors import Refusal
from aval.domain.redemption_call import DAY, retry_refusal
from aval.domain.redemption_view import QUEUED, approval_of
from aval.domain.transfer import Kind, Reason

REGISTRATIONS_24H_MAX = 5  # spec redemptions.md §3.1
DETAILS_VERSION = 1


class PhoneStatus(StrEnum):
    """The wire's states of a security device."""

    PENDING_VERIFICATION = "pending_verification"
    PENDING_REPLACEMENT = "pending_replacement"
    ACTIVE = "active"
    BLOCKED = "blocked"
    REPLACED = "replaced"
    REMOVED = "removed"
    FAILED = "failed"


TRANSITIONS: Mapping[PhoneStatus, frozenset[PhoneStatus]] = {
    PhoneStatus.PENDING_VERIFICATION: frozenset(
        {PhoneStatus.ACTIVE, PhoneStatus.PENDING_REPLACEMENT, PhoneStatus.FAILED}
    ),
    PhoneStatus.PENDING_REPLACEMENT: frozenset({PhoneStatus.ACTIVE, PhoneStatus.FAILED}),
    PhoneStatus.ACTIVE: frozenset({PhoneStatus.BLOCKED, PhoneStatus.REPLACED, PhoneStatus.REMOVED}),
    PhoneStatus.BLOCKED: frozenset({PhoneStatus.ACTIVE, PhoneStatus.REMOVED}),
    PhoneStatus.REPLACED: frozenset(),
    PhoneStatus.REMOVED: frozenset(),
    PhoneStatus.FAILED: frozenset(),
}
IN_REGISTRATION = frozenset({PhoneStatus.PENDING_VERIFICATION, PhoneStatus.PENDING_REPLACEMENT})
IN_USE = frozenset({PhoneStatus.ACTIVE, PhoneStatus.BLOCKED})


def phone_moved_to(current: PhoneStatus, to: PhoneStatus) -> PhoneStatus:
    """The only writer of a device's status; a move outside the table is a bug."""
    assert to in TRANSITIONS[current], (current, to)
    return to


class PhoneDevice(msgspec.Struct, frozen=True):
    """A phone; its number is sealed elsewhere. `key` is also the key of its contact and of the operation that registers
    it, `replacement_key` that of the operation in which the former device approves it.
    """

    integrator_key: UUID
    key: UUID
    participant_key: UUID
    number_index: bytes
    masked_number: str
    status: PhoneStatus
    policy_version: int
    created_at: datetime
    updated_at: datetime
    failure_reason: str | None = None
    replacement_key: UUID | None = None
    verified_at: datetime | None = None
    active_from: datetime | None = None
    replaced_by: UUID | None = None
    undeliverable_at: datetime | None = None
    event_sequence: int = 0

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @property
    def operation_key(self) -> UUID:
        """The operation whose token the device waits, or last waited, for."""
        return self.replacement_key or self.key

    @property
    def is_in_registration(self) -> bool:
        """Whether a token can still bring it further."""
        return self.status in IN_REGISTRATION

    @property
    def is_in_use(self) -> bool:
        """Whether it is the participant's device, be it blocked."""
        return self.status in IN_USE

    def moved(self, to: PhoneStatus, at: datetime, **changes: Any) -> "PhoneDevice":
        """The device after a move of its status, which is one event unless it only waits on."""
        is_told = to is not PhoneStatus.PENDING_REPLACEMENT
        return replace(
            self,
            status=phone_moved_to(self.status, to),
            updated_at=at,
            event_sequence=self.event_sequence + is_told,
            **changes,
        )

    def failed(self, reason: Reason, at: datetime) -> "PhoneDevice":
        """The device after its registration came to nothing."""
        return self.moved(PhoneStatus.FAILED, at, failure_reason=reason.value)

    def activated(self, at: datetime, *, cooldown: timedelta) -> "PhoneDevice":
        """The device once it is the participant's; `cooldown` is nothing for the first one that ever was."""
        verified_at = self.verified_at or at
        return self.moved(PhoneStatus.ACTIVE, at, verified_at=verified_at, active_from=at + cooldown)


def phone_as_seen(device: PhoneDevice, challenge: Challenge | None, now: datetime) -> PhoneDevice:
    """The device as every read sees it: failed from the end of its window on, stored so or not."""
    if challenge is None or not device.is_in_registration or not challenge.is_overdue(now):
        return device
    return device.failed(Reason.APPROVAL_WINDOW_EXPIRED, challenge.approval_deadline)


def failure_of(challenge: Challenge, reason: Reason, now: datetime) -> Reason:
    """Why a registration fails that something ends: its window may have been over before."""
    return Reason.APPROVAL_WINDOW_EXPIRED if challenge.is_overdue(now) else reason


def registration_details(device: PhoneDevice, kind: Kind, *, operation_key: UUID, sent_to: UUID) -> dict[str, Any]:
    """What a token that registers or replaces is bound to, kept in `operations.facts`: person, phone, and the phone it
    goes to. A device never changes its number.
    """
    return {
        "version": DETAILS_VERSION,
        "operation": kind.value,
        "operation_key": str(operation_key),
        "participant_id": str(device.participant_key),
        "device_id": str(device.key),
        "sent_to": str(sent_to),
        "policy_version": device.policy_version,
    }


def refuse_registration(devices: Collection[PhoneDevice], now: datetime) -> None:
    """Raise why the participant may not register another device: the present one is blocked, or too many in a day."""
    blocked = next((device for device in devices if device.status is PhoneStatus.BLOCKED), None)
    if blocked is not None:
        raise wrong_status(blocked)
    made = sorted((d.created_at for d in devices if d.created_at > now - DAY), reverse=True)
    if len(made) >= REGISTRATIONS_24H_MAX:
        raise retry_refusal("rdm.registration_limit", made[REGISTRATIONS_24H_MAX - 1] + DAY - now)


def wrong_status(device: PhoneDevice) -> Refusal:
    """The refusal of what the device's status does not allow."""
    return Refusal("rdm.wrong_status", extra_fields={"status": device.status.value})


def phone_view(
    device: PhoneDevice, challenge: Challenge | None = None, *, now: datetime, delivery: str = QUEUED
) -> dict[str, Any]:
    """A device as answers tell it, as of `now`; its number is masked. `approval` while it is in registration."""
    seen = phone_as_seen(device, challenge, now)
    times = {
        "verified_at": seen.verified_at,
        "active_from": seen.active_from,
        "undeliverable_at": seen.undeliverable_at,
    }
    view: dict[str, Any] = {
        "id": seen.key,
        "participant_id": seen.participant_key,
        "type": "phone",
        "masked_number": seen.masked_number,
        "status": seen.status.value,
        "failure_reason": seen.failure_reason,
        "replaced_by": seen.replaced_by,
        "created_at": wire_datetime(seen.created_at),
    }
    view |= {name: wire_datetime(at) for name, at in times.items() if at is not None}
    view = {name: value for name, value in view.items() if value is not None}
    if seen.is_in_registration and challenge is not None:
        assert challenge.contact_key is not None
        view["approval"] = approval_of(challenge, challenge.contact_key, delivery)
    return view
