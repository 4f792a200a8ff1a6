"""A passkey and an app key in software. They are honest; `tests.devices.mutations` makes them lie."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aval.domain.device import DeviceDecision
from aval.domain.device_proof import base64url, device_challenge, registration_message

RP_ID = "pay.example.com"
ORIGIN = "https://app.pay.example.com"
PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
AAGUID = bytes(16)


def new_private_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP256R1())


@dataclass
class Passkey:
    """A WebAuthn authenticator with one key; a counter of 0 stays 0, as synchronised passkeys keep it."""

    rp_id: str = RP_ID
    origin: str = ORIGIN
    counter: int = 1
    flags: int = PRESENT | VERIFIED
    key: EllipticCurvePrivateKey = field(default_factory=new_private_key, repr=False)
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    type = "webauthn"

    def client_data(self, ceremony: str, challenge: bytes, /, **change: Any) -> bytes:
        """`clientDataJSON` as a browser writes it."""
        told = {"type": ceremony, "challenge": base64url(challenge), "origin": self.origin, "crossOrigin": False}
        return json.dumps({name: text for name, text in (told | change).items() if text is not None}).encode()

    def authenticator_data(self, *, attested: bytes = b"") -> bytes:
        """Hash of the rp_id, flags, counter, and at registration the key."""
        flags = self.flags | (ATTESTED if attested else 0)
        head = hashlib.sha256(self.rp_id.encode()).digest()
        return head + bytes([flags]) + self.counter.to_bytes(4, "big") + attested

    def cose_key(self) -> dict[int, Any]:
        """The public key as COSE tells it: EC2, ES256, P-256."""
        numbers = self.key.public_key().public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}

    def attested(self) -> bytes:
        """The attested credential data of a registration."""
        length = len(self.credential_id).to_bytes(2, "big")
        return AAGUID + length + self.credential_id + cbor2.dumps(self.cose_key())

    def make_credential(self, challenge: bytes, device_key: UUID | None = None) -> dict[str, str]:
        """`credential` of POST device."""
        authenticator_data = self.authenticator_data(attested=self.attested())
        attestation = {"fmt": "none", "attStmt": {}, "authData": authenticator_data}
        return {
            "type": "webauthn",
            "credential_id": base64url(self.credential_id),
            "attestation_object": base64url(cbor2.dumps(attestation)),
            "client_data_json": base64url(self.client_data("webauthn.create", challenge)),
        }

    def get_assertion(self, challenge: bytes) -> dict[str, str]:
        """The proof in the body of approve and deny."""
        if self.counter:
            self.counter += 1
        client_data, authenticator_data = self.client_data("webauthn.get", challenge), self.authenticator_data()
        return {
            "type": "webauthn",
            "credential_id": base64url(self.credential_id),
            "authenticator_data": base64url(authenticator_data),
            "client_data_json": base64url(client_data),
            "signature": base64url(self.sign(authenticator_data, client_data)),
        }

    def sign(self, authenticator_data: bytes, client_data: bytes) -> bytes:
        """The signature over what a relying party puts together."""
        return self.key.sign(authenticator_data + hashlib.sha256(client_data).digest(), ECDSA(SHA256()))


@dataclass
class AppKey:
    """A key an app keeps in its secure store."""

    key: EllipticCurvePrivateKey = field(default_factory=new_private_key, repr=False)

    type = "p256"

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def make_credential(self, challenge: bytes, device_key: UUID) -> dict[str, str]:
        """`credential` of POST device."""
        signature = self.key.sign(registration_message(challenge, device_key), ECDSA(SHA256()))
        return {"type": "p256", "public_key": base64url(self.public_key), "signature": base64url(signature)}

    def get_assertion(self, challenge: bytes) -> dict[str, str]:
        """The proof in the body of approve and deny."""
        return {"type": "p256", "signature": base64url(self.key.sign(challenge, ECDSA(SHA256())))}


Device = Passkey | AppKey


def signed_body(
    device: Device, device_key: object, session: dict[str, Any], decision: str = "approve", **change: Any
) -> dict[str, Any]:
    """The body of approve or deny for a session as GET told it."""
    challenge = device_challenge(DeviceDecision(decision), session["nonce"], session["details"])
    proof = device.get_assertion(challenge)
    return {"device_key": str(device_key), "nonce": session["nonce"], **proof, **change}
