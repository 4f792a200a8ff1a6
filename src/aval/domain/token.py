"""The token: derived from a key that never enters PostgreSQL, compared in constant time, stored nowhere.

Source: DESIGN.md §3, transfers.md §2.7.
"""

import hashlib
import hmac
import re
from enum import StrEnum
from uuid import UUID

import msgspec

TOKEN_SYMBOLS = 6
SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CONTEXT = b"aval-token-v1"

_FORM = re.compile(r"[0-9A-Za-z]{6}", re.ASCII)
_ASCII_SPACE = " \t\n\r\f\v"
_FOLD_CROCKFORD = str.maketrans("ILO", "110")


class Alphabet(StrEnum):
    """The symbols a generation of tokens is made of."""

    CROCKFORD32 = "crockford32"
    DIGITS = "digits"

    @property
    def letter(self) -> str:
        """One letter, as `challenges.alphabets` keeps it."""
        return self.value[0]

    @classmethod
    def of_letter(cls, letter: str) -> "Alphabet":
        """The alphabet of a letter of `challenges.alphabets`."""
        return cls.CROCKFORD32 if letter == "c" else cls.DIGITS


class Token(msgspec.Struct, frozen=True):
    """Six symbols, as sent or as submitted; it does not print."""

    text: str

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints

    @classmethod
    def parse(cls, text: str) -> "Token | None":
        """A submitted token without its outer ASCII white space, or None if it is not six ASCII letters or digits."""
        trimmed = text.strip(_ASCII_SPACE)
        return cls(trimmed) if _FORM.fullmatch(trimmed) else None

    def folded(self, alphabet: Alphabet) -> bytes:
        """The bytes to compare: upper case, and for crockford32 I and L read as 1, O as 0."""
        text = self.text.upper()
        return (text.translate(_FOLD_CROCKFORD) if alphabet is Alphabet.CROCKFORD32 else text).encode("ascii")

    def is_same(self, other: "Token", alphabet: Alphabet) -> bool:
        """Whether two tokens are the same in an alphabet, in constant time."""
        return hmac.compare_digest(self.folded(alphabet), other.folded(alphabet))


class TokenSeed(msgspec.Struct, frozen=True):
    """All of a challenge that goes into its tokens, but the key and the generation."""

    integrator_key: UUID
    operation_key: UUID
    details_digest: bytes
    nonce: bytes

    def __repr__(self) -> str:
        return type(self).__name__  # nothing of it prints


def derived_token(secret: bytes, seed: TokenSeed, *, generation: int, alphabet: Alphabet) -> Token:
    """The token of one generation: HMAC-SHA-256 over length-prefixed parts, cut to six symbols.

    Crockford-32 takes the first 30 bits, five a symbol; digits take the first 64 bits modulo 10^6.
    """
    parts = (
        CONTEXT,
        seed.integrator_key.bytes,
        seed.operation_key.bytes,
        generation.to_bytes(4, "big"),
        seed.details_digest,
        seed.nonce,
    )
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    number = int.from_bytes(hmac.digest(secret, message, hashlib.sha256)[:8], "big")
    if alphabet is Alphabet.DIGITS:
        return Token(f"{number % 1_000_000:06d}")
    return Token("".join(SYMBOLS[(number >> shift) & 31] for shift in range(59, 29, -5)))
