"""The calls of devices: registering one, and the sessions in which it approves or denies (transfers.md §5)."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID, uuid4

import msgspec

from aval.client.answers import Answer, Approval, Page
from aval.client.app_device import AppDevice, DeviceChallenge, DeviceSession
from aval.client.call import Call, Key, ids_of, json_body, key_text, once
from aval.client.paging import page_reader, query_of
from aval.client.requests import Approver, TokenChannel

DenialReason = Literal["not_me", "wrong_details", "other"]


class RegisteredDevice(Answer, frozen=True, kw_only=True, rename={"key": "device_key", "status": "device_status"}):
    """A device as register, validate, resend and disable tell it: `created` when its token was right."""

    key: UUID
    status: str
    created_at: datetime
    approval: Approval | None = None


class DeviceDetail(
    RegisteredDevice,
    frozen=True,
    kw_only=True,
    rename={"name": "device_name", "key": "device_key", "status": "device_status"},
):
    """A device as it is read and listed; the document is masked."""

    name: str
    approver_document_number: str
    updated_at: datetime

    _hidden: ClassVar = frozenset({"name"})


class SessionState(Answer, frozen=True, kw_only=True, rename={"status": "session_status"}):
    """What a session came to."""

    session_id: UUID
    status: str


_read_challenge = msgspec.json.Decoder(DeviceChallenge).decode
_read_registered = msgspec.json.Decoder(RegisteredDevice).decode
_read_device = msgspec.json.Decoder(DeviceDetail).decode
_read_devices = page_reader(DeviceDetail)
_read_session = msgspec.json.Decoder(DeviceSession).decode
_read_state = msgspec.json.Decoder(SessionState).decode


def challenge_device(account_key: Key, approver: Approver, *, session_id: Key | None = None) -> Call[DeviceChallenge]:
    """Ask for what a new device has to sign within five minutes, in a session of its own."""
    session = key_text("session_id", session_id or uuid4())
    body = json_body(session_id=session, approver_document_number=approver.document_number)
    return Call("POST", f"{_devices(account_key)}/challenge", _read_challenge, body, is_repeatable=False)


def register_device(
    account_key: Key, device: AppDevice, challenge: DeviceChallenge, approver: Approver, *, name: str
) -> Call[RegisteredDevice]:
    """Register a device that answered its challenge; the approver gets a token over SMS or e-mail."""
    body = json_body(
        device_key=str(device.key),
        session_id=str(challenge.session_id),
        device_name=name,
        tfa_info=approver.wire(),
        credential=device.credential(challenge),
    )
    return Call("POST", _devices(account_key), _read_registered, body)


def validate_device(
    account_key: Key,
    device_key: Key,
    token: str,
    *,
    idempotency_key: str | None = None,
    correlation_id: str | None = None,
) -> Call[RegisteredDevice]:
    """Hand in the token of a registration: the device is active then."""
    ids = once(correlation_id, idempotency_key)
    return Call("PUT", _device(account_key, device_key, "validate"), _read_registered, json_body(token=token), ids=ids)


def resend_device(
    account_key: Key,
    device_key: Key,
    contact_type: TokenChannel | None = None,
    *,
    idempotency_key: str | None = None,
    correlation_id: str | None = None,
) -> Call[RegisteredDevice]:
    """Have a new token of a registration sent; the old one is void."""
    ids = once(correlation_id, idempotency_key)
    body = json_body(contact_type=contact_type)
    return Call("PATCH", _device(account_key, device_key, "resend_token"), _read_registered, body, ids=ids)


def get_device(account_key: Key, device_key: Key) -> Call[DeviceDetail]:
    """Read one device."""
    return Call("GET", _device(account_key, device_key), _read_device)


def list_devices(
    account_key: Key, *, page: int | None = None, page_size: int | None = None
) -> Call[Page[DeviceDetail]]:
    """List the devices of an account."""
    return Call("GET", f"{_devices(account_key)}s", _read_devices, query=query_of(page=page, page_size=page_size))


def disable_device(account_key: Key, device_key: Key) -> Call[RegisteredDevice]:
    """End a device at once and for good."""
    return Call("DELETE", _device(account_key, device_key, "disable"), _read_registered)


def open_session(session_id: Key) -> Call[DeviceSession]:
    """Read what a device is to show and sign; the nonce told before is void. Takes no credential."""
    return Call("GET", _session(session_id), _read_session)


def approve_session(session: DeviceSession, device: AppDevice) -> Call[SessionState]:
    """Send the device's signature; raises ShownNotValid where what is shown contradicts itself.

    Not repeated once it may have arrived: after NoAnswer open the session again, which tells.
    """
    body = msgspec.json.encode(device.approval(session))
    return Call("POST", _session(session.session_id, "approve"), _read_state, body, ids=ids_of(), is_repeatable=False)


def deny_session(session: DeviceSession, device: AppDevice, *, reason: DenialReason = "other") -> Call[SessionState]:
    """Send the device's denial: the operation is rejected, and the integrator alarmed."""
    body = msgspec.json.encode(device.denial(session, reason))
    return Call("POST", _session(session.session_id, "deny"), _read_state, body, ids=ids_of(), is_repeatable=False)


def _devices(account_key: Key) -> str:
    return f"/account/{key_text('account_key', account_key)}/device"


def _device(account_key: Key, device_key: Key, *last: str) -> str:
    return "/".join((_devices(account_key), key_text("device_key", device_key), *last))


def _session(session_id: Key, *last: str) -> str:
    return "/".join(("/device_sessions", key_text("session_id", session_id), *last))
