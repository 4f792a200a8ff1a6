"""Evidence of an approval: one record of what was shown, by which factor it was approved and when, sealed.

Source: promises.md AU5, docs/adr/0031. The form is described in docs/reference/evidence.md.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aval.domain.challenge import ATTEMPTS_MAX, TOKEN_LIFETIME, Challenge
from aval.domain.keyring import Key, Purpose
from aval.domain.token import Alphabet
from aval.domain.transfer import Method, Transfer, canonical, details_of

FORMAT = "aval-evidence-v1"
ALGORITHM = "Ed25519"


class Approval(msgspec.Struct, frozen=True):
    """Everything about one approval that its rows tell.

    `comparisons`, `signatures` and `audit` are oldest first, nothing in them is younger than the approval. `context` is
    what may have changed since: it is as the sealer found it, a moment later. `is_intact` tells whether the rows still
    have the keyed digest that the approval was written with.
    """

    transfer: Transfer
    challenge: Challenge
    approved_at: datetime
    items: Sequence[Mapping[str, Any]] | None
    comparisons: Sequence[Mapping[str, Any]]
    signatures: Sequence[Mapping[str, Any]]
    audit: Sequence[Mapping[str, Any]]
    context: Mapping[str, Any]
    is_intact: bool = False

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


def record_of(approval: Approval) -> dict[str, Any]:
    """What is sealed, of values every language reads alike: text, whole numbers, true, false and null."""
    record = {
        "operation": _operation(approval.transfer),
        "shown": {"details": details_of(approval.transfer), "items": approval.items},
        "approver": {"approver_key": approval.transfer.approver_key},
        "factor": _factor(approval),
        "policy": _policy(approval.challenge),
        "comparisons": approval.comparisons,
        "signatures": approval.signatures,
        "approved_at": approval.approved_at,
        "audit": approval.audit,
        "is_intact": approval.is_intact,
        "context": approval.context,
    }
    told: dict[str, Any] = plain(record)
    return told


def _operation(transfer: Transfer) -> dict[str, Any]:
    return {
        "integrator_key": transfer.integrator_key,
        "operation": transfer.kind.value,
        "operation_key": transfer.key,
        "account_key": transfer.account_key,
        "request_control_key": transfer.request_control_key,
        "end_to_end_id": transfer.end_to_end_id,
        "requested_by_credential": transfer.credential_key,
        "requested_at": transfer.created_at,
        "correlation_id": transfer.correlation_id,
        "details_digest": transfer.details_digest.hex(),
    }


def _factor(approval: Approval) -> dict[str, Any]:
    challenge = approval.challenge
    if challenge.method is Method.DEVICE:
        counted = approval.signatures[-1] if approval.signatures else {"device_key": None, "nonce": None}
        return {
            "method": challenge.method.value,
            "device_key": counted["device_key"],
            "nonce": counted["nonce"],
        }
    return {
        "method": challenge.method.value,
        "masked_destination": challenge.masked_destination,
        "contact_key": challenge.contact_key,
        "generation": challenge.generation,
        "token_kid": challenge.kid,
        "issued_at": challenge.issued_at,
        "expires_at": challenge.expires_at,
    }


def _policy(challenge: Challenge) -> dict[str, Any]:
    return {
        "attempts_max": ATTEMPTS_MAX,
        "token_lifetime_seconds": int(TOKEN_LIFETIME.total_seconds()),
        "alphabets": [Alphabet.of_letter(letter).value for letter in challenge.alphabets],
        "resend_cooldown_seconds": int(challenge.resend_cooldown.total_seconds()),
        "approval_deadline": challenge.approval_deadline,
    }


def plain(value: Any) -> Any:
    """A value as the record holds it: keys and times as text, bytes as base64url."""
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    if isinstance(value, datetime):
        return evidence_time(value)
    if isinstance(value, bytes):
        return text_of(value)
    assert isinstance(value, UUID), type(value)
    return str(value)


def evidence_time(at: datetime) -> str:
    """A time to the microsecond, so that what happened at one moment is told as one."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sealed(record: Mapping[str, Any], key: Key, *, at: datetime) -> dict[str, Any]:
    """The file: the record under the deployment's signature, which covers all of it but itself."""
    public_key = public_key_of(key)
    seal = {
        "algorithm": ALGORITHM,
        "kid": key.kid,
        "public_key": text_of(public_key),
        "fingerprint": fingerprint_of(public_key),
        "sealed_at": evidence_time(at),
    }
    signature = _private(key).sign(message_of({"format": FORMAT, "record": record, "seal": seal}))
    return {"format": FORMAT, "record": record, "seal": seal | {"signature": text_of(signature)}}


def message_of(file: Mapping[str, Any]) -> bytes:
    """The bytes that are signed: the format, a line feed, and the canonical file without its signature."""
    seal = {name: value for name, value in file["seal"].items() if name != "signature"}
    return f"{FORMAT}\n".encode() + canonical({**file, "seal": seal})


def public_key_of(key: Key) -> bytes:
    """The public half of an evidence key; 32 bytes."""
    return _private(key).public_key().public_bytes_raw()


def fingerprint_of(public_key: bytes) -> str:
    """What people compare: hex SHA-256 of the raw public key."""
    return hashlib.sha256(public_key).hexdigest()


def text_of(data: bytes) -> str:
    """Write bytes as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@lru_cache(maxsize=8)
def _private(key: Key) -> Ed25519PrivateKey:
    assert key.purpose is Purpose.EVIDENCE
    return Ed25519PrivateKey.from_private_bytes(key.secret[:32])
