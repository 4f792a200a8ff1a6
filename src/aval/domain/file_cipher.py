"""Encryption of one stored file: AES-256-GCM under a key of its own, a little at a time.

What is stored is the nonce, the ciphertext and the tag. The associated data name the place, so that no file can stand
in for another (promises.md §5).
"""

from collections.abc import Iterable, Iterator
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

KEY_BYTES = 32
NONCE_BYTES = 12


class FileTampered(Exception):
    """What was stored is not what was encrypted here."""


def encrypted(chunks: Iterable[bytes], key: bytes, *, nonce: bytes, associated: str) -> Iterator[bytes]:
    """Encrypt a file; the key must never have encrypted another."""
    assert len(key) == KEY_BYTES
    assert len(nonce) == NONCE_BYTES
    cipher = Cipher(AES(key), GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(associated.encode())
    yield nonce
    for chunk in chunks:
        yield cipher.update(chunk)
    yield cipher.finalize()
    yield cipher.tag


def decrypted(stored: bytes, key: bytes, *, associated: str) -> bytes:
    """Decrypt a file whole, for nothing of it counts before its tag was checked; raises FileTampered."""
    try:
        return AESGCM(key).decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], associated.encode())
    except (InvalidTag, ValueError):
        raise FileTampered from None


def place_of_file(tenant_key: UUID, document_key: UUID, side: str, object_key: UUID) -> str:
    """The associated data of a file's bytes."""
    return f"{tenant_key}:document_files:{document_key}:{side}:{object_key}"


def place_of_key(tenant_key: UUID, document_key: UUID, side: str, version: int) -> str:
    """The associated data of a file's sealed key."""
    return f"{tenant_key}:document_files.key_sealed:{document_key}:{side}:{version}"
