"""Access tokens of applications: signed here for an hour, recognised by their key (redemptions.md §7.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from aval.domain.ids import parse_uuid
from aval.domain.jwt import BadJwt, UnverifiedJwt, check_claims
from aval.domain.keyring import Key, Keyring, Purpose

LIFE = timedelta(hours=1)  # spec redemptions.md §7.1
KEYS_READ_MAX = 16


@dataclass(frozen=True, slots=True)
class AccessGrant:
    """What an access token says: the application, and the scopes it may use."""

    application_key: UUID
    scopes: frozenset[str]
    claims: dict[str, Any]


def sign_access_token(key: Key, *, issuer: str, application_key: UUID, scopes: Sequence[str], now: datetime) -> str:
    """Make an access token that lives an hour."""
    issued_at = int(now.timestamp())
    claims = {
        "iss": issuer,
        "aud": issuer,
        "sub": str(application_key),
        "client_id": str(application_key),
        "scope": " ".join(scopes),
        "iat": issued_at,
        "exp": issued_at + int(LIFE.total_seconds()),
        "jti": str(uuid4()),
    }
    header = {"alg": "RS256", "kid": key.kid, "typ": "at+jwt"}
    return jws.serialize_compact(header, msgspec.json.encode(claims), _private_key(key.secret), algorithms=["RS256"])


def is_access_token(jwt: UnverifiedJwt, keyring: Keyring) -> bool:
    """Whether a JWT names one of our own keys."""
    return any(key.kid == jwt.kid for key in keyring.all_of(Purpose.ACCESS_TOKEN))


def read_access_token(jwt: UnverifiedJwt, keyring: Keyring) -> AccessGrant:
    """Check the signature of an access token and read it; its times are judged by `check_access_times`."""
    verify_jwt(jwt, _private_key(keyring.find(Purpose.ACCESS_TOKEN, jwt.kid).secret))
    subject, scope = jwt.claims.get("sub"), jwt.claims.get("scope")
    application_key = parse_uuid(subject) if isinstance(subject, str) else None
    if application_key is None or not isinstance(scope, str):
        raise BadJwt
    return AccessGrant(application_key, frozenset(scope.split()), dict(jwt.claims))


def check_access_times(grant: AccessGrant, *, issuer: str, now: datetime) -> None:
    """Judge issuer and times of an access token; raises BadJwt."""
    check_claims(grant.claims, issuer=issuer, audience=issuer, now=now)


def verify_jwt(jwt: UnverifiedJwt, key: RSAKey | ECKey) -> None:
    """Check the signature by one key and the algorithm the token was found by; raises BadJwt."""
    try:
        jws.deserialize_compact(jwt.text, key, algorithms=[jwt.algorithm])
    except (JoseError, ValueError):
        raise BadJwt from None


def public_keys(keyring: Keyring) -> list[dict[str, Any]]:
    """The public halves of all keys whose tokens may live, newest first, as a JWKS has them."""
    told = [(key.kid, _private_key(key.secret)) for key in keyring.all_of(Purpose.ACCESS_TOKEN)]
    return [{**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": "RS256"} for kid, key in told]


@lru_cache(KEYS_READ_MAX)
def _private_key(secret: bytes) -> RSAKey:
    """Reading a key checks its primes, which takes longer than signing with it."""
    pem = load_der_private_key(secret, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return RSAKey.import_key(pem)
