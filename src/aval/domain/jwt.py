"""The parts of a JWT that are judged before and after its signature: form, header, issuer, audience, times.

Source: redemptions.md §7.3.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast

import msgspec

Algorithm = Literal["RS256", "ES256"]
ALGORITHMS: tuple[Algorithm, ...] = ("RS256", "ES256")
LEEWAY = timedelta(seconds=60)  # spec redemptions.md §7.3
KID_CHARACTERS_MAX = 256

# Keys and rules that a token brings along itself are none.
_FORBIDDEN = ("b64", "crit", "jku", "jwk", "x5c", "x5u")
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+")


class BadJwt(Exception):
    """The JWT proves nothing; nobody is told why."""


@dataclass(frozen=True, slots=True)
class UnverifiedJwt:
    """A well-formed JWT whose signature nobody has looked at: only good for finding the key."""

    text: str
    algorithm: Algorithm
    kid: str
    claims: Mapping[str, Any]


def parse_jwt(text: str) -> UnverifiedJwt:
    """Read a signed JWT of one of the two algorithms that names its key; raises BadJwt."""
    segments = text.split(".")
    if len(segments) != 3:
        raise BadJwt
    header, claims = _members(segments[0]), _members(segments[1])
    _decoded(segments[2])
    algorithm, kid = header.get("alg"), header.get("kid")
    is_known = algorithm in ALGORITHMS and isinstance(kid, str) and 1 <= len(kid) <= KID_CHARACTERS_MAX
    if not is_known or any(name in header for name in _FORBIDDEN):
        raise BadJwt
    return UnverifiedJwt(text, cast(Algorithm, algorithm), cast(str, kid), claims)


def check_claims(claims: Mapping[str, Any], *, issuer: str, audience: str, now: datetime) -> None:
    """Judge who made a token, for whom, and when it counts; raises BadJwt."""
    told = claims.get("aud")
    audiences = told if isinstance(told, list) else [told]
    if claims.get("iss") != issuer or audience not in audiences:
        raise BadJwt
    at, leeway = now.timestamp(), LEEWAY.total_seconds()
    if at >= _seconds(claims.get("exp")) + leeway:
        raise BadJwt
    if "nbf" in claims and at < _seconds(claims["nbf"]) - leeway:
        raise BadJwt


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadJwt
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all times
        raise BadJwt from None


def _members(segment: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(_decoded(segment), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):  # a wrong shape is a DecodeError as well
        raise BadJwt from None


def _decoded(segment: str) -> bytes:
    """Base64url without padding."""
    if not _SEGMENT.fullmatch(segment):
        raise BadJwt
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise BadJwt from None
