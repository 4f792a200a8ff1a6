"""The vectors of docs/reference/device-vectors.json, for whoever writes a device in another language.

Keys and signatures are the same every time: `python -m tests.devices.vectors` writes the file anew.
"""

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, derive_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aval.domain.device import DeviceDecision
from aval.domain.device_proof import base64url, device_challenge, registration_message
from aval.domain.transfer import canonical

FILE = Path(__file__).parents[2] / "docs" / "reference" / "device-vectors.json"
KEY = derive_private_key(int.from_bytes(hashlib.sha256(b"aval device vectors").digest()), SECP256R1())
DEVICE_KEY = UUID("41c9e0a7-3d5f-4b62-8c14-f9b6027d8ae5")
ITEMS = [
    {
        "request_control_key": "a17d4e92-60cb-4835-9fd2-3e8b7c1a0f56",
        "payee_name": "Maria Souza",
        "payee_document_masked": "***982247**",
        "target": "maria@example.com",
        "amount": "1500.00",
    },
    {
        "request_control_key": "c5e08b13-7f4a-4d96-a2c1-9d6f3b84e720",
        "payee_name": 'Padaria "Pão & Cia" Ltda',
        "payee_document_masked": "***22333000***",
        "target": "11222333000181",
        "amount": "80.50",
    },
]
SINGLE = {
    "version": 1,
    "operation": "ted",
    "operation_key": "2f6b9d03-8e4c-47a1-a5f8-d37c10e9b462",
    "account_key": "5b7c6f0e-2f0a-4c7d-9a53-1f6d8e2b4c10",
    "amount": "202.01",
    "fee_amount": "10.00",
    "payee_name": "Padaria Boa Vista Ltda",
    "payee_document_masked": "***22333000***",
    "target": "87654321/0001/7654321-0",
    "item_count": 1,
    "items_digest": None,
}
NAMED = SINGLE | {"operation": "pix_transfer", "payee_name": "João \\ “Zé” 😀 Lima", "target": "52998224725"}
BATCH = SINGLE | {
    "operation": "pix_transfer_batch",
    "amount": "1580.50",
    "fee_amount": "0.00",
    "payee_name": None,
    "payee_document_masked": None,
    "target": None,
    "item_count": 2,
    "items_digest": hashlib.sha256(canonical(ITEMS)).hexdigest(),  # type: ignore[arg-type]
}


def make_vectors() -> dict[str, Any]:
    """All of them."""
    nonce = base64url(bytes.fromhex("abcdef1234567890") * 4)
    cases = [
        _signed("a TED alone", DeviceDecision.APPROVE, nonce, SINGLE),
        _signed("the same TED, denied", DeviceDecision.DENY, nonce, SINGLE),
        _signed("a name beyond ASCII", DeviceDecision.APPROVE, nonce, NAMED),
        _signed("a batch", DeviceDecision.APPROVE, nonce, BATCH) | {"items": ITEMS},
    ]
    public_key = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    challenge = hashlib.sha256(b"registration").digest()
    message = registration_message(challenge, DEVICE_KEY)
    return {
        "public_key": base64url(public_key),
        "registration": {
            "challenge": base64url(challenge),
            "device_key": str(DEVICE_KEY),
            "message_hex": message.hex(),
            "signature": _signature(message),
        },
        "operations": cases,
    }


def _signed(name: str, decision: DeviceDecision, nonce: str, details: dict[str, Any]) -> dict[str, Any]:
    challenge = device_challenge(decision, nonce, details)
    return {
        "name": name,
        "decision": decision.value,
        "nonce": nonce,
        "details": details,
        "canonical": canonical(details).decode(),
        "challenge_hex": challenge.hex(),
        "challenge": base64url(challenge),
        "p256_signature": _signature(challenge),
    }


def _signature(message: bytes) -> str:
    return base64url(KEY.sign(message, ECDSA(SHA256(), deterministic_signing=True)))


if __name__ == "__main__":
    FILE.write_text(json.dumps(make_vectors(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
