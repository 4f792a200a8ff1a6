"""The deployment's secret keys, by purpose and `kid`, and what is made with them.

Keys never enter PostgreSQL (DESIGN.md §3); they come from `AVAL_KEYS_FILE`.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES_MIN = 32  # promises.md D19
SEAL_NONCE_BYTES = 12


class Purpose(StrEnum):
    """What a key is for; no key serves two purposes."""

    TOKEN = "token"
    CREDENTIAL = "credential"
    INDEX = "index"
    SEAL = "seal"
    EVIDENCE = "evidence"
    ACCESS_TOKEN = "access_token"  # an RSA private key (PKCS #8, DER); the others are random bytes
    DOCUMENT = "document"


# A file made before there was such a key goes on without it.
OPTIONAL = frozenset({Purpose.ACCESS_TOKEN, Purpose.DOCUMENT})


@dataclass(frozen=True, slots=True)
class Key:
    """One secret; it does not print."""

    purpose: Purpose
    kid: str
    secret: bytes = field(repr=False)
    created_at: datetime


class KeyMissing(Exception):
    """No key of this purpose and `kid` is at hand."""


class Keyring:
    """All keys of the deployment. The newest of a purpose is the one new things are made with.

    With `settled_until` only keys made until then are: a younger one may be unknown to another process as yet, and
    opens what others made with it.
    """

    def __init__(self, keys: Iterable[Key], *, settled_until: datetime | None = None) -> None:
        self._by_kid = {(key.purpose, key.kid): key for key in keys}
        newest_first = sorted(self._by_kid.values(), key=lambda key: key.created_at, reverse=True)
        self._by_purpose = {
            p: _current_first([key for key in newest_first if key.purpose is p], settled_until) for p in Purpose
        }
        credential_keys = b"".join(hashlib.sha256(key.secret).digest() for key in self._by_purpose[Purpose.CREDENTIAL])
        self._ciphers: dict[tuple[Purpose, str], AESGCM] = {}
        self._recall_secret = hmac.digest(credential_keys, b"recall", hashlib.sha256)

    def current(self, purpose: Purpose) -> Key:
        """The key new things are made with; raises KeyMissing."""
        keys = self._by_purpose[purpose]
        if not keys:
            raise KeyMissing(purpose)
        return keys[0]

    def find(self, purpose: Purpose, kid: str) -> Key:
        """The key of this `kid`; raises KeyMissing."""
        try:
            return self._by_kid[purpose, kid]
        except KeyError:
            raise KeyMissing(purpose, kid) from None

    def all_of(self, purpose: Purpose) -> Sequence[Key]:
        """Every key of a purpose, the current one first, then the newest."""
        return self._by_purpose[purpose]

    def credential_hashes(self, credential: str) -> list[bytes]:
        """Keyed hashes of an API key under every live key, the current one first; 32 bytes each."""
        return [_keyed_hash(key, credential) for key in self.all_of(Purpose.CREDENTIAL)]

    def recall_hash(self, told: bytes) -> bytes:
        """Keyed hash under every live credential key at once, for what a process recalls by credentials; 32 bytes.

        Whatever it recalls is forgotten when one of the keys comes or goes.
        """
        return hmac.digest(self._recall_secret, told, hashlib.sha256)

    def index_of(self, text: str) -> bytes:
        """Blind index of a CPF or phone for look-ups by equality; 32 bytes. The index key is never rotated."""
        return _keyed_hash(self.current(Purpose.INDEX), text)

    def sealed(self, plaintext: str, *, associated: str, nonce: bytes) -> bytes:
        """Encrypt under the current seal key: kid length, kid, 12-byte nonce, AES-256-GCM ciphertext.

        `associated` names the place (table, column, row), so that a value cannot be moved to another row.
        """
        return _sealed(self.current(Purpose.SEAL), plaintext.encode(), associated, nonce)

    def opened(self, sealed: bytes, *, associated: str) -> str:
        """Decrypt what `sealed` made for the same place; raises KeyMissing for an unknown key or a moved value."""
        return self._opened(Purpose.SEAL, sealed, associated).decode()

    def sealed_key(self, data_key: bytes, *, associated: str, nonce: bytes) -> bytes:
        """Encrypt the key of one stored file under the current document key, in the form of `sealed`."""
        return _sealed(self.current(Purpose.DOCUMENT), data_key, associated, nonce)

    def opened_key(self, sealed: bytes, *, associated: str) -> bytes:
        """Decrypt what `sealed_key` made for the same file; raises KeyMissing as `opened` does."""
        return self._opened(Purpose.DOCUMENT, sealed, associated)

    def _opened(self, purpose: Purpose, sealed: bytes, associated: str) -> bytes:
        kid_end = 1 + sealed[0]
        nonce_end = kid_end + SEAL_NONCE_BYTES
        key = self.find(purpose, sealed[1:kid_end].decode())
        try:
            return self._cipher(key).decrypt(sealed[kid_end:nonce_end], sealed[nonce_end:], associated.encode())
        except InvalidTag:
            raise KeyMissing(purpose, key.kid) from None

    def _cipher(self, key: Key) -> AESGCM:
        found = self._ciphers.get((key.purpose, key.kid))
        if found is None:
            found = self._ciphers[key.purpose, key.kid] = AESGCM(key.secret[:32])
        return found


def _current_first(newest_first: list[Key], settled_until: datetime | None) -> list[Key]:
    """The keys of one purpose; if none is settled, the oldest is the one most likely known everywhere."""
    settled = [key for key in newest_first if settled_until is None or key.created_at <= settled_until]
    current = (settled or newest_first[-1:])[:1]
    return current + [key for key in newest_first if key not in current]


def _sealed(key: Key, plaintext: bytes, associated: str, nonce: bytes) -> bytes:
    assert len(nonce) == SEAL_NONCE_BYTES
    kid = key.kid.encode()
    return bytes([len(kid)]) + kid + nonce + AESGCM(key.secret[:32]).encrypt(nonce, plaintext, associated.encode())


def _keyed_hash(key: Key, text: str) -> bytes:
    return hmac.digest(key.secret, text.encode(), hashlib.sha256)
