"""Signs requests as an integrator would, and any wrong way a test asks for."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP521R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEADER = {"typ": "JWT", "alg": "ES512"}


def new_signing_key() -> EllipticCurvePrivateKey:
    return generate_private_key(SECP521R1())


def pem_of(key: Any) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def segment(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def timestamp(offset_s: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def claims_of(method: str, target: str, body: bytes) -> dict[str, Any]:
    claims = {"timestamp": timestamp(), "method": method, "uri": target}
    return claims | ({"payload_sha256": hashlib.sha256(body).hexdigest()} if body else {})


def raw_signature(key: EllipticCurvePrivateKey, signed: bytes) -> bytes:
    """r and s side by side, as JWS has them."""
    r, s = decode_dss_signature(key.sign(signed, ECDSA(SHA512())))
    return r.to_bytes(66) + s.to_bytes(66)


def jwt_of(key: EllipticCurvePrivateKey, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
    parts = [segment(json.dumps(part).encode()) for part in (header or HEADER, claims)]
    signed = ".".join(parts)
    return f"{signed}.{segment(raw_signature(key, signed.encode()))}"


def signed_headers(
    key: EllipticCurvePrivateKey, client_key: object, method: str, target: str, body: bytes = b""
) -> dict[str, str]:
    """The two headers of a rightly signed request."""
    return {"api-client-key": str(client_key), "authorization": jwt_of(key, claims_of(method, target, body))}
