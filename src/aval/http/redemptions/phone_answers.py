"""Security devices as answers tell them (redemptions.md §3.1, §4.1)."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class ApprovalAnswer(msgspec.Struct, kw_only=True):
    """Where the token of a pending purchase or device went, and what is left of it."""

    method: Literal["sms"]
    device_id: str
    masked_destination: str
    token_length: int
    generation: int
    attempts_remaining: int
    expires_at: str
    can_resend_at: str | None
    approval_deadline: str
    delivery: Literal["queued", "sent", "delivered", "failed"]


class DeviceAnswer(msgspec.Struct, kw_only=True):
    """A security device; `number` only for the back office with `devices.read_full`."""

    id: str
    participant_id: str
    type: Literal["phone"]
    masked_number: str
    status: Literal["pending_verification", "pending_replacement", "active", "blocked", "replaced", "removed", "failed"]
    failure_reason: (
        Literal["attempts_exceeded", "approval_window_expired", "superseded", "device_changed"] | UnsetType
    ) = UNSET
    verified_at: str | UnsetType = UNSET
    active_from: str | UnsetType = UNSET
    replaced_by: str | UnsetType = UNSET
    undeliverable_at: str | UnsetType = UNSET
    created_at: str
    approval: ApprovalAnswer | UnsetType = UNSET
    number: str | UnsetType = UNSET


class DeviceListing(msgspec.Struct):
    """A part of a participant's devices, newest first."""

    items: list[DeviceAnswer]
    offset: int
    limit: int
    total: int
