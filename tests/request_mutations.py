"""Signed requests gone wrong: what a thief makes of one without the key, and what the key never should have signed."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from tests.signing import HEADER, claims_of, jwt_of, new_signing_key, pem_of, raw_signature, segment, timestamp

ORDER = int("01" + "f" * 65 + "a51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 16)  # SEC 2, P-521

Sign = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Sent:
    """One request as it goes over the wire."""

    method: str
    target: str
    body: bytes
    client_key: str
    jwt: str

    @property
    def signature(self) -> bytes:
        return base64.urlsafe_b64decode(self.jwt.rpartition(".")[2] + "==")

    @property
    def claims(self) -> dict[str, Any]:
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(self.jwt.split(".")[1] + "=="))
        return claims


@dataclass(frozen=True)
class Signer:
    """Who signs rightly."""

    key: Any
    client_key: str

    def request(self, method: str, target: str, body: bytes = b"", /, **changes: Any) -> Sent:
        """A signed request; a claim given as None is left out."""
        claims = {**claims_of(method, target, body), **changes}
        given = {name: value for name, value in claims.items() if value is not None}
        return Sent(method, target, body, self.client_key, jwt_of(self.key, given))


def with_signature(sent: Sent, change: Sign) -> Sent:
    return replace(sent, jwt=f"{sent.jwt.rpartition('.')[0]}.{segment(change(sent.signature))}")


def resigned(sent: Sent, header: Any, sign: Sign) -> Sent:
    """The same claims under another header and signature."""
    signed = f"{segment(json.dumps(header).encode())}.{sent.jwt.split('.')[1]}"
    return replace(sent, jwt=f"{signed}.{segment(sign(signed.encode()))}")


def with_claims(sent: Sent, **changes: Any) -> Sent:
    """Other claims under the old signature."""
    header, _, signature = sent.jwt.split(".")
    return replace(sent, jwt=f"{header}.{segment(json.dumps(sent.claims | changes).encode())}.{signature}")


def flipped(data: bytes, chance: random.Random) -> bytes:
    """One bit other than it was."""
    place = chance.randrange(len(data) * 8)
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def mirrored(signature: bytes) -> bytes:
    """The second valid signature that every ECDSA signature comes with."""
    return signature[:66] + (ORDER - int.from_bytes(signature[66:])).to_bytes(66)


def redirected(post: Sent, get: Sent, stranger: str) -> dict[str, Sent]:
    """A captured request sent elsewhere or with something else; `post` makes a TED, `get` lists with a query."""
    path = get.target.partition("?")[0]
    longer = json.dumps(json.loads(post.body) | {"transaction_amount": 9}).encode()
    account = post.target.split("/")[2]
    return {
        "body: one letter": replace(post, body=post.body.replace(b"Padaria", b"padaria")),
        "body: other amount": replace(post, body=longer),
        "body: space after it": replace(post, body=post.body + b" "),
        "body: last byte gone": replace(post, body=post.body[:-1]),
        "body: empty": replace(post, body=b""),
        "body: {}": replace(post, body=b"{}"),
        "body: added to a GET": replace(get, body=b"{} "),
        "target: other account": replace(post, target=f"/account/{uuid4()}/ted"),
        "target: other case": replace(post, target=post.target.replace(account, account.upper())),
        "target: query added": replace(post, target=post.target + "?page=1"),
        "target: pix for ted": replace(post, target=post.target.removesuffix("ted") + "pix_transfer"),
        "target: pix list for ted list": replace(get, target=get.target.replace("/teds", "/pix_transfers")),
        "target: cancel instead": replace(post, method="PATCH", target=f"{post.target}/{uuid4()}/cancel"),
        "query: gone": replace(get, target=path),
        "query: other value": replace(get, target=get.target.replace("page=1", "page=2")),
        "query: other order": replace(get, target=path + "?page_size=30&page=1"),
        "query: other spelling": replace(get, target=get.target.replace("page=1", "page=%31")),
        "key: the stranger's": replace(post, client_key=stranger),
        "claims: later time": with_claims(post, timestamp=timestamp(1)),
        "claims: other method": with_claims(post, method="PUT"),
        "claims: other uri": with_claims(post, uri="/account"),
        "claims: other digest": with_claims(post, payload_sha256=hashlib.sha256(longer).hexdigest()),
    }


def forged(post: Sent, public_pem: str) -> dict[str, Sent]:
    """Another algorithm or another key, and a header that asks to be believed."""
    own = new_signing_key()
    payload, signature = post.jwt.split(".")[1:]

    def hs(digest: str) -> Sign:
        return lambda signed: hmac.digest(public_pem.encode(), signed, digest)

    def unsigned(algorithm: str) -> str:
        return segment(json.dumps(HEADER | {"alg": algorithm}).encode())

    def by_own_key(**more: Any) -> Sent:
        return resigned(post, HEADER | more, lambda signed: raw_signature(own, signed))

    return {
        "alg: none": replace(post, jwt=f"{unsigned('none')}.{payload}."),
        "alg: None, old signature": replace(post, jwt=f"{unsigned('None')}.{payload}.{signature}"),
        "alg: HS256 with the public key": resigned(post, HEADER | {"alg": "HS256"}, hs("sha256")),
        "alg: HS512 with the public key": resigned(post, HEADER | {"alg": "HS512"}, hs("sha512")),
        "alg: ES512 said, HS512 done": resigned(post, HEADER, hs("sha512")),
        "alg: ES256": resigned(post, HEADER | {"alg": "ES256"}, _on_curve(SECP256R1(), SHA256())),
        "alg: ES384": resigned(post, HEADER | {"alg": "ES384"}, _on_curve(SECP384R1(), SHA384())),
        "alg: ES512 said, P-256 used": resigned(post, HEADER, _on_curve(SECP256R1(), SHA512())),
        "key: own": by_own_key(),
        "key: own, as jwk": by_own_key(jwk=_jwk_of(own)),
        "key: own, by jku": by_own_key(jku="https://keys.example.com/jwks.json"),
        "key: own, by x5u": by_own_key(x5u="https://keys.example.com/cert.pem"),
        "kid: path": by_own_key(kid="../../../../dev/null"),
        "kid: SQL": by_own_key(kid="x' union select '"),
        "header: crit": by_own_key(crit=["exp"]),
    }


def mangled(post: Sent, other: Sent, chance: random.Random) -> dict[str, Sent]:
    """The signature or its spelling changed."""
    header, payload, signature = post.jwt.split(".")
    return {
        "signature: gone": replace(post, jwt=f"{header}.{payload}."),
        "signature: segment gone": replace(post, jwt=f"{header}.{payload}"),
        "signature: bit flipped": with_signature(post, lambda data: flipped(data, chance)),
        "signature: halves swapped": with_signature(post, lambda data: data[66:] + data[:66]),
        "signature: zeros": with_signature(post, lambda _: bytes(132)),
        "signature: r = s = order": with_signature(post, lambda _: ORDER.to_bytes(66) * 2),
        "signature: s + order": with_signature(post, _above_order),
        "signature: DER": with_signature(post, _der),
        "signature: cut": with_signature(post, lambda data: data[:-1]),
        "signature: longer": with_signature(post, lambda data: data + b"\x00"),
        "signature: of another request": replace(post, jwt=f"{header}.{payload}.{other.jwt.split('.')[2]}"),
        "jwt: padded": replace(post, jwt=post.jwt + "="),
        "jwt: fourth segment": replace(post, jwt=post.jwt + "." + payload),
        "jwt: as Bearer": replace(post, jwt="Bearer " + post.jwt),
        "jwt: twice": replace(post, jwt=f"{post.jwt}, {post.jwt}"),
        "jwt: absent": replace(post, jwt=""),
        "jwt: standard alphabet": replace(post, jwt=f"{header}.{payload}.{signature[:-4]}+/+/"),
    }


def misclaimed(signer: Signer, post: Sent, get: Sent) -> dict[str, Sent]:
    """Rightly signed claims that do not fit the request."""
    sha256, md5 = hashlib.sha256(post.body).hexdigest(), hashlib.md5(post.body).hexdigest()

    def claims(**changes: Any) -> Sent:
        return signer.request("POST", post.target, post.body, **changes)

    return {
        "time: 61 s old": claims(timestamp=timestamp(-61)),
        "time: 61 s ahead": claims(timestamp=timestamp(63)),  # it takes a moment to arrive
        "time: yesterday": claims(timestamp=timestamp(-86_400)),
        "time: with an offset": claims(timestamp=timestamp().replace("Z", "+00:00")),
        "time: local, 3 h behind": claims(timestamp=timestamp(-10_800).removesuffix("Z")),
        "time: a number": claims(timestamp=1_790_000_000),
        "time: second 60": claims(timestamp=timestamp()[:17] + "60Z"),
        "time: 30 February": claims(timestamp="2026-02-30T00:00:00Z"),
        "time: absent": claims(timestamp=None),
        "method: lower case": claims(method="post"),
        "method: other": claims(method="PUT"),
        "method: absent": claims(method=None),
        "uri: absolute": claims(uri="http://127.0.0.1" + post.target),
        "uri: without the query": signer.request("GET", get.target, uri=get.target.partition("?")[0]),
        "uri: absent": claims(uri=None),
        "digest: none with a body": claims(payload_sha256=None),
        "digest: a list": claims(payload_sha256=[sha256]),
        "digest: sha256 of another body": claims(payload_sha256=hashlib.sha256(b"{}").hexdigest()),
        "digest: sha256 in upper case": claims(payload_sha256=sha256.upper()),
        "digest: right md5, wrong sha256": claims(payload_md5=md5, payload_sha256="0" * 64),
        "digest: wrong md5, right sha256": claims(payload_md5="0" * 32),
        "digest: md5 of {} with a body": claims(payload_md5=hashlib.md5(b"{}").hexdigest(), payload_sha256=None),
        "digest: of something without a body": signer.request("GET", get.target, payload_sha256=sha256),
        "claims: one too many": claims(admin=True),
    }


def misheaded(signer: Signer, post: Sent) -> dict[str, Sent]:
    """Rightly signed under a header that is not the one there is."""
    headers: dict[str, Any] = {
        "header: kid": HEADER | {"kid": "1"},
        "header: no typ": {"alg": "ES512"},
        "header: other typ": {"typ": "JWS", "alg": "ES512"},
        "header: alg in lower case": {"typ": "JWT", "alg": "es512"},
        "header: an array": [],
    }
    return {
        name: resigned(post, header, lambda signed: raw_signature(signer.key, signed))
        for name, header in headers.items()
    }


def all_mutations(
    signer: Signer, make_post: Callable[[], Sent], make_get: Callable[[], Sent], stranger: str, chance: random.Random
) -> dict[str, Sent]:
    """Every mutation by its name, made of requests that nobody has sent yet."""
    post, get = make_post(), make_get()
    return {
        **redirected(post, get, stranger),
        **forged(post, pem_of(signer.key)),
        **mangled(post, make_post(), chance),
        **misclaimed(signer, post, get),
        **misheaded(signer, post),
    }


def _on_curve(curve: Any, algorithm: Any) -> Sign:
    key, size = generate_private_key(curve), (curve.key_size + 7) // 8

    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(signed, ECDSA(algorithm)))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def _above_order(signature: bytes) -> bytes:
    return signature[:66] + (int.from_bytes(signature[66:]) + ORDER).to_bytes(66)


def _der(signature: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(signature[:66]), int.from_bytes(signature[66:]))


def _jwk_of(key: Any) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-521", "x": segment(numbers.x.to_bytes(66)), "y": segment(numbers.y.to_bytes(66))}
