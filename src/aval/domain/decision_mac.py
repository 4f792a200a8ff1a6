"""A keyed digest of an approval, written with it: who changes its rows before they are sealed is found (ADR 0031)."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from aval.domain.keyring import Key, KeyMissing, Keyring, Purpose
from aval.domain.transfer import Transfer

CONTEXT = "aval-decision-v1"
TOLD = ("status", "method", "generation", "comparison", "details_digest", "signed")  # of the details of the audit row


def decision_mac(
    keyring: Keyring, transfer: Transfer, details: Mapping[str, Any], actor: str, at: datetime
) -> str | None:
    """Key id and HMAC-SHA-256 of what is approved, how, by whom and when; None without a key to make it with."""
    try:
        key = keyring.current(Purpose.EVIDENCE)
    except KeyMissing:
        return None
    return f"{key.kid}:{_mac(key, transfer, details, actor, at)}"


def is_decision_intact(
    keyring: Keyring, transfer: Transfer, details: Mapping[str, Any], actor: str, at: datetime
) -> bool:
    """Whether the rows still are those the digest in `details` was made of."""
    kid, _, mac = str(details.get("mac")).partition(":")
    try:
        key = keyring.find(Purpose.EVIDENCE, kid)
    except KeyMissing:
        return False
    return hmac.compare_digest(_mac(key, transfer, details, actor, at), mac)


def _mac(key: Key, transfer: Transfer, details: Mapping[str, Any], actor: str, at: datetime) -> str:
    """Over a JSON array: text, numbers and null stand apart in it, so that no two decisions read alike."""
    told = [details.get(name) for name in TOLD]
    told += [str(transfer.integrator_key), str(transfer.key), str(transfer.approver_key), transfer.details_digest.hex()]
    message = msgspec.json.encode([*told, actor, at.astimezone(UTC).isoformat(timespec="microseconds")])
    return hmac.digest(_key_of_decisions(key), message, hashlib.sha256).hex()


@lru_cache(maxsize=8)
def _key_of_decisions(key: Key) -> bytes:
    """The seal's key signs; this one, made of it, only keys digests."""
    return hmac.digest(key.secret, CONTEXT.encode(), hashlib.sha256)
