"""A device in Python: a P-256 key that registers, and signs what it was shown (docs/reference/device-signature.md).

For native back ends and for tests. The key is as safe as the process that holds it; a phone's secure store is safer.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Self
from uuid import UUID, uuid4

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from aval.client.answers import Answer
from aval.client.errors import ArgumentNotValid, AvalError

CONTEXT = "aval-device-v1"
DETAILS_VERSION = 1
FILE_BYTES_MAX = 4_096


class ShownNotValid(AvalError):
    """What a session shows contradicts itself, or is of a version this device does not know: nothing was signed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class DeviceChallenge(Answer, frozen=True, kw_only=True):
    """What a new device signs, once."""

    session_id: UUID
    challenge: str
    rp_id: str | None
    expires_at: datetime

    _hidden: ClassVar = frozenset({"challenge"})


class DeviceSession(Answer, frozen=True, kw_only=True, rename={"status": "session_status"}):
    """What a device shows and signs: `details` of the operation, of a batch also its `items`, as they came.

    A nonce is there while the session is pending, and good for five minutes.
    """

    session_id: UUID
    status: str
    details: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]] | None = None
    nonce: str | None = None
    nonce_expires_at: datetime | None = None
    rp_id: str | None = None

    _hidden: ClassVar = frozenset({"details", "items", "nonce"})

    def check(self) -> None:
        """Hold items, number and total against the details that are signed; raises ShownNotValid."""
        details, items = self.details, self.items
        if details.get("version") != DETAILS_VERSION:
            raise ShownNotValid("version")
        if items is None:
            if details.get("items_digest") is not None:
                raise ShownNotValid("items")
            return
        if details.get("items_digest") != items_digest(items):
            raise ShownNotValid("items_digest")
        if details.get("item_count") != len(items):
            raise ShownNotValid("item_count")
        if sum(Decimal(item["amount"]) for item in items) != Decimal(details["amount"]):
            raise ShownNotValid("amount")

    def challenge(self, decision: str) -> bytes:
        """The 32 bytes to sign for `approve` or `deny`, over exactly these details; raises ShownNotValid."""
        self.check()
        if self.nonce is None:
            raise ShownNotValid("nonce")
        head = f"{CONTEXT}\n{decision}\n{self.nonce}\n"
        return hashlib.sha256(head.encode() + _canonical(self.details)).digest()


def items_digest(items: Sequence[Mapping[str, Any]]) -> str:
    """Hex SHA-256 of the canonical items, as `details` name them."""
    return hashlib.sha256(_canonical(items)).hexdigest()


@dataclass(frozen=True, slots=True)
class AppDevice:
    """A device of one approver on one account; `key` is its `device_key`."""

    key: UUID
    private_key: EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def new(cls, key: UUID | None = None) -> Self:
        """Make one with a fresh key, in memory."""
        return cls(key or uuid4(), generate_private_key(SECP256R1()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read one that `save` wrote; raises ArgumentNotValid unless the file is whole and its owner's alone."""
        try:
            with Path(path).open("rb") as file:
                mode, text = os.fstat(file.fileno()).st_mode, file.read(FILE_BYTES_MAX)
        except OSError:
            raise ArgumentNotValid("path", "not_readable") from None
        if stat.S_IMODE(mode) & 0o077:
            raise ArgumentNotValid("path", "readable_by_others")
        try:
            told = msgspec.json.decode(text, type=_DeviceFile)
            private_key = load_pem_private_key(told.private_key.encode(), None)
        except (msgspec.DecodeError, ValueError, TypeError, UnsupportedAlgorithm):
            raise ArgumentNotValid("path", "not_a_device") from None
        if not (isinstance(private_key, EllipticCurvePrivateKey) and isinstance(private_key.curve, SECP256R1)):
            raise ArgumentNotValid("path", "not_p256")
        return cls(told.device_key, private_key)

    def save(self, path: str | Path) -> None:
        """Write it to a new file of mode 600; raises FileExistsError."""
        pem = self.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(_DeviceFile(device_key=self.key, private_key=pem)))

    @property
    def public_key(self) -> bytes:
        """SubjectPublicKeyInfo, DER."""
        return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def credential(self, challenge: DeviceChallenge) -> dict[str, str]:
        """The object `credential` of a registration: the public key, and the proof that this device holds it."""
        try:
            challenge_bytes = base64.urlsafe_b64decode(challenge.challenge + "=" * (-len(challenge.challenge) % 4))
        except (binascii.Error, ValueError):
            raise ShownNotValid("challenge") from None
        signature = self._signed(challenge_bytes + str(self.key).encode("ascii"))
        return {"type": "p256", "public_key": _base64url(self.public_key), "signature": signature}

    def approval(self, session: DeviceSession) -> dict[str, str]:
        """The body of approve; whoever holds the device has seen what it shows. Raises ShownNotValid."""
        return self._answer(session, "approve")

    def denial(self, session: DeviceSession, reason: str = "other") -> dict[str, str]:
        """The body of deny: `not_me`, `wrong_details` or `other`. Raises ShownNotValid."""
        return self._answer(session, "deny") | {"reason": reason}

    def _answer(self, session: DeviceSession, decision: str) -> dict[str, str]:
        challenge = session.challenge(decision)
        assert session.nonce is not None
        return {
            "device_key": str(self.key),
            "nonce": session.nonce,
            "type": "p256",
            "signature": self._signed(challenge),
        }

    def _signed(self, data: bytes) -> str:
        return _base64url(self.private_key.sign(data, ECDSA(SHA256())))


class _DeviceFile(msgspec.Struct, kw_only=True):
    """The file: the key unencrypted, in a file nobody else may read."""

    device_key: UUID
    private_key: str


def _canonical(shown: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> bytes:
    """RFC 8785 for what is shown: strings, whole numbers and null under plain names."""
    return msgspec.json.encode(shown, order="sorted")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
