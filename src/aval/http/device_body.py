"""Bodies of device calls: keys and signatures come as base64url (transfers.md §5.1, §5.2)."""

import re
from typing import Literal

import msgspec

from aval.domain.device import CredentialType
from aval.domain.device_proof import DeviceSignature, P256Attestation, WebauthnAttestation, from_base64url
from aval.http.transfer_body import Errors

NONCE = re.compile(r"[A-Za-z0-9_-]{1,128}")  # of another length it was never told
Fields = dict[str, bytes]


class DeviceChallengeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Who wants to register a device, and the id of the session it happens in."""

    session_id: str
    approver_document_number: str


class DeviceTfaInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Who approves a registration, and over what; never a device."""

    approver_document_number: str
    contact_type: Literal["sms", "email"]


class DeviceCredentialBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a device proves: `webauthn` takes the first three, `p256` the last two."""

    type: Literal["webauthn", "p256"]
    credential_id: str | None = None
    attestation_object: str | None = None
    client_data_json: str | None = None
    public_key: str | None = None
    signature: str | None = None


class DeviceBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A registration."""

    device_key: str
    session_id: str
    device_name: str
    credential: DeviceCredentialBody
    tfa_info: DeviceTfaInfo | None = None


class ApproveBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A device's signature over what its session shows; `webauthn` takes all, `p256` only the signature."""

    device_key: str
    nonce: str
    type: Literal["webauthn", "p256"]
    signature: str
    credential_id: str | None = None
    authenticator_data: str | None = None
    client_data_json: str | None = None


class DenyBody(ApproveBody, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The same for a denial, and why."""

    reason: Literal["not_me", "wrong_details", "other"] = "other"


_ATTESTED = {
    "webauthn": ("credential_id", "attestation_object", "client_data_json"),
    "p256": ("public_key", "signature"),
}
_SIGNED = {
    "webauthn": ("signature", "credential_id", "authenticator_data", "client_data_json"),
    "p256": ("signature",),
}
_PLAIN = {"type", "device_key", "nonce", "reason"}


def read_attestation(errors: Errors, body: DeviceCredentialBody) -> WebauthnAttestation | P256Attestation:
    """Read the fields of a credential's type; what is wrong is noted."""
    found = _binary(errors, body, _ATTESTED[body.type], place="credential.")
    if body.type == "p256":
        return P256Attestation(found["public_key"], found["signature"])
    return WebauthnAttestation(found["credential_id"], found["attestation_object"], found["client_data_json"])


def read_signature(errors: Errors, body: ApproveBody) -> DeviceSignature:
    """Read the fields of a signature's type; what is wrong is noted."""
    found = _binary(errors, body, _SIGNED[body.type], place="")
    return DeviceSignature(
        type=CredentialType(body.type),
        signature=found["signature"],
        credential_id=found.get("credential_id"),
        authenticator_data=found.get("authenticator_data"),
        client_data_json=found.get("client_data_json"),
    )


def signed_fields(body: ApproveBody) -> dict[str, str]:
    """The proof as it came, to be kept as evidence."""
    return {"type": body.type} | {name: getattr(body, name) for name in _SIGNED[body.type]}


def _binary(errors: Errors, body: msgspec.Struct, names: tuple[str, ...], *, place: str) -> Fields:
    found: Fields = {}
    for name in body.__struct_fields__:
        text = getattr(body, name)
        if name in _PLAIN:
            continue
        if name not in names and text is not None:
            errors.add(place + name, "not_allowed")
        elif name in names:
            found[name] = _bytes(errors, text, place + name)
    return found


def _bytes(errors: Errors, text: str | None, field: str) -> bytes:
    data = None if text is None else from_base64url(text)
    if not data:
        errors.add(field, "missing" if text is None else "invalid_value")
    return data or b""
