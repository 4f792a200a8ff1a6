"""What device calls answer, as types for the OpenAPI document."""

from typing import Literal

import msgspec

from aval.http.transfer_answers import Approval

Shown = Literal["pending", "active", "disabled", "rejected"]


class DeviceChallengeAnswer(msgspec.Struct, kw_only=True):
    """What a device to be registered signs, once and within five minutes."""

    session_id: str
    challenge: str
    rp_id: str | None
    expires_at: str


class DeviceState(msgspec.Struct, kw_only=True):
    """A device in brief; `created` when its token was right."""

    device_key: str
    device_status: Literal["created", "pending", "active", "disabled", "rejected"]
    created_at: str


class DeviceAnswer(msgspec.Struct, kw_only=True):
    """A registration; a repeat of it tells what became of the device."""

    device_key: str
    device_status: Literal["pending_2fa_approval", "active", "disabled", "rejected"]
    created_at: str
    approval: Approval | msgspec.UnsetType = msgspec.UNSET


class DeviceDetail(msgspec.Struct, kw_only=True):
    """A device as GET and the list tell it."""

    device_key: str
    device_status: Shown
    device_name: str
    approver_document_number: str
    created_at: str
    updated_at: str
    approval: Approval | msgspec.UnsetType = msgspec.UNSET
