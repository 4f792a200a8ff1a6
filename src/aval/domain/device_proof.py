"""What a device proves: at registration that it holds a key, later that this key signed what was shown.

Source: transfers.md §5.1, §5.2. Every function raises ProofRefused for whatever is not a proof, however broken it is.
"""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from aval.domain.device import CredentialType, DeviceCredential, DeviceDecision, RelyingParty
from aval.domain.transfer import canonical

CONTEXT = "aval-device-v1"
CREDENTIAL_ID_BYTES_MAX = 1023  # WebAuthn, credential ids
ATTESTATIONS = ("none", "packed")  # nothing is decided by who made the device (docs/adr/0025)

Proven = TypeVar("Proven")


class ProofRefused(Exception):
    """The signature or attestation is not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class WebauthnAttestation:
    """What `navigator.credentials.create()` gave."""

    credential_id: bytes
    attestation_object: bytes
    client_data_json: bytes


@dataclass(frozen=True, slots=True)
class P256Attestation:
    """An app's public key, and its signature over challenge and device_key."""

    public_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class DeviceSignature:
    """A signature over a challenge; the last three are a passkey's."""

    type: CredentialType
    signature: bytes = field(repr=False)
    credential_id: bytes | None = None
    authenticator_data: bytes | None = None
    client_data_json: bytes | None = None


def base64url(data: bytes) -> str:
    """Write bytes as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes | None:
    """Read base64url with or without padding; None for every other spelling of the same bytes."""
    bare = text.rstrip("=")
    try:
        data = urlsafe_b64decode(f"{bare}{'=' * (-len(bare) % 4)}")
    except ValueError:
        return None
    written = base64url(data)
    return data if bare == written and text in (bare, f"{bare}{'=' * (-len(bare) % 4)}") else None


def device_challenge(decision: DeviceDecision, nonce: str, details: Mapping[str, Any]) -> bytes:
    """The 32 bytes a device signs: it recomputes them from what it shows, so nothing else can be signed for it."""
    head = f"{CONTEXT}\n{decision.value}\n{nonce}\n"
    return hashlib.sha256(head.encode() + canonical(details)).digest()


def registration_message(challenge: bytes, device_key: UUID) -> bytes:
    """What an app key signs at registration: the challenge and the 36 characters of its device_key."""
    return challenge + str(device_key).encode("ascii")


def attested_webauthn(attestation: WebauthnAttestation, *, challenge: bytes, party: RelyingParty) -> DeviceCredential:
    """The passkey of a registration: challenge, origin, rp_id, user presence and verification, ES256 on P-256."""
    return _proven(lambda: _attested_webauthn(attestation, challenge, party))


def attested_p256(attestation: P256Attestation, *, challenge: bytes, device_key: UUID) -> DeviceCredential:
    """The app key of a registration, which signed the challenge for this device and no other."""
    _proven(
        lambda: _p256(attestation.public_key).verify(
            attestation.signature, registration_message(challenge, device_key), ECDSA(SHA256())
        )
    )
    return DeviceCredential(CredentialType.P256, attestation.public_key)


def verified(
    credential: DeviceCredential, proof: DeviceSignature, *, challenge: bytes, party: RelyingParty
) -> DeviceCredential:
    """The credential as it is after this signature: its counter has moved on."""
    if proof.type is not credential.type:
        raise ProofRefused
    if credential.type is CredentialType.WEBAUTHN:
        return _proven(lambda: _verified_webauthn(credential, proof, challenge, party))
    _proven(lambda: _p256(credential.public_key).verify(proof.signature, challenge, ECDSA(SHA256())))
    return credential


def _proven(check: Callable[[], Proven]) -> Proven:
    """Run a check over bytes from outside: parsers below it raise a dozen kinds of exceptions, which all mean no."""
    try:
        return check()
    except Exception:  # noqa: BLE001 – broken CBOR, JSON, keys and signatures are one answer
        raise ProofRefused from None


def _p256(public_key: bytes) -> EllipticCurvePublicKey:
    return _on_p256(load_der_public_key(public_key))


def _on_p256(key: object) -> EllipticCurvePublicKey:
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ProofRefused
    return key


def _attested_webauthn(attestation: WebauthnAttestation, challenge: bytes, party: RelyingParty) -> DeviceCredential:
    # Here and below, the library is loaded by the first passkey: 7 MB that a process without any does without.
    from webauthn import verify_registration_response
    from webauthn.helpers import (
        decode_credential_public_key,
        decoded_public_key_to_cryptography,
        parse_attestation_object,
    )
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.structs import AuthenticatorAttestationResponse, RegistrationCredential

    rp_id = _rp_id_of(party)
    _check_client_data(attestation.client_data_json, "webauthn.create", challenge)
    parsed = parse_attestation_object(attestation.attestation_object)
    if parsed.fmt not in ATTESTATIONS:
        raise ProofRefused
    found = verify_registration_response(
        credential=RegistrationCredential(
            id=base64url(attestation.credential_id),
            raw_id=attestation.credential_id,
            response=AuthenticatorAttestationResponse(
                client_data_json=attestation.client_data_json, attestation_object=attestation.attestation_object
            ),
        ),
        expected_challenge=challenge,
        expected_rp_id=rp_id,
        expected_origin=list(party.origins),
        require_user_verification=True,
        supported_pub_key_algs=[COSEAlgorithmIdentifier.ECDSA_SHA_256],
    )
    is_same = found.credential_id == attestation.credential_id
    if not is_same or len(attestation.credential_id) > CREDENTIAL_ID_BYTES_MAX:
        raise ProofRefused
    _on_p256(decoded_public_key_to_cryptography(decode_credential_public_key(found.credential_public_key)))
    return DeviceCredential(
        type=CredentialType.WEBAUTHN,
        public_key=found.credential_public_key,
        credential_id=found.credential_id,
        sign_count=found.sign_count,
        is_backup_eligible=parsed.auth_data.flags.be,
    )


def _verified_webauthn(
    credential: DeviceCredential, proof: DeviceSignature, challenge: bytes, party: RelyingParty
) -> DeviceCredential:
    from webauthn import verify_authentication_response
    from webauthn.helpers import parse_authenticator_data
    from webauthn.helpers.structs import AuthenticationCredential, AuthenticatorAssertionResponse

    if not proof.credential_id or not proof.authenticator_data or not proof.client_data_json:
        raise ProofRefused
    if proof.credential_id != credential.credential_id:
        raise ProofRefused
    _check_client_data(proof.client_data_json, "webauthn.get", challenge)
    found = verify_authentication_response(
        credential=AuthenticationCredential(
            id=base64url(proof.credential_id),
            raw_id=proof.credential_id,
            response=AuthenticatorAssertionResponse(
                client_data_json=proof.client_data_json,
                authenticator_data=proof.authenticator_data,
                signature=proof.signature,
            ),
        ),
        expected_challenge=challenge,
        expected_rp_id=_rp_id_of(party),
        expected_origin=list(party.origins),
        credential_public_key=credential.public_key,
        credential_current_sign_count=credential.sign_count,
        require_user_verification=True,
    )
    if parse_authenticator_data(proof.authenticator_data).flags.be is not credential.is_backup_eligible:
        raise ProofRefused
    return replace(credential, sign_count=found.new_sign_count)


def _rp_id_of(party: RelyingParty) -> str:
    if not party.rp_id or not party.origins:
        raise ProofRefused
    return party.rp_id


def _check_client_data(client_data_json: bytes, expected_type: str, challenge: bytes) -> None:
    """What the library leaves open: one reading of the JSON, the exact challenge, no frame of somebody else's."""
    told = json.loads(client_data_json.decode(), object_pairs_hook=_without_repetition)
    is_framed = told.get("crossOrigin", False) is not False or "topOrigin" in told
    if told["type"] != expected_type or told["challenge"] != base64url(challenge) or is_framed:
        raise ProofRefused


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ProofRefused
    return members
