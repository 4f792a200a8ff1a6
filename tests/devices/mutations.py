"""Every way a passkey or an app could lie in approve and deny, and the code each lie gets (promises.md DV2)."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from aval.domain.device import DeviceDecision
from aval.domain.device_proof import base64url, device_challenge, from_base64url
from aval.domain.transfer import canonical
from tests.devices.authenticator import (
    ATTESTED,
    BACKED_UP,
    ELIGIBLE,
    ORIGIN,
    PRESENT,
    VERIFIED,
    Passkey,
    new_private_key,
)

PROOF, NONCE, SCHEMA = "OBD000924", "OBD000926", "QIT000001"
EXTENDED = 0x80
STRANGERS = (
    "the same approver, not active",
    "the same approver, disabled",
    "another approver",
    "another account",
    "another integrator",
)
RSA_KEY = rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Scene:
    """A pending session as its device sees it, and what else there is to mix it up with."""

    passkey: Passkey
    device_key: str
    session: Mapping[str, Any]
    chance: random.Random = field(repr=False)
    other_nonce: str  # of another session
    former_nonce: str  # of this one, void by now
    other_devices: Mapping[str, tuple[str, Passkey]]  # whose signatures are their own, and count for nothing here

    @property
    def details(self) -> dict[str, Any]:
        return dict(self.session["details"])

    @property
    def nonce(self) -> str:
        return str(self.session["nonce"])

    def challenge(self, decision: str = "approve", nonce: str | None = None, **details: Any) -> bytes:
        """The bytes to sign, were this shown."""
        return device_challenge(DeviceDecision(decision), nonce or self.nonce, self.details | details)


def forged(
    scene: Scene,
    *,
    challenge: bytes | None = None,
    client: dict[str, Any] | None = None,
    raw_client: Callable[[bytes], bytes] = bytes,
    authenticator: Callable[[bytes], bytes] = bytes,
    sign: Callable[[bytes, bytes], bytes] | None = None,
    signature: Callable[[bytes], bytes] = bytes,
    device: dict[str, Any] | None = None,
    **body: Any,
) -> dict[str, Any]:
    """An approval that differs from an honest one in what is given, and is signed by the right key otherwise."""
    passkey = replace(scene.passkey, **({"counter": scene.passkey.counter + 1} | (device or {})))
    client_data = raw_client(passkey.client_data("webauthn.get", challenge or scene.challenge(), **(client or {})))
    data = authenticator(passkey.authenticator_data())
    made = {
        "device_key": scene.device_key,
        "nonce": scene.nonce,
        "type": "webauthn",
        "credential_id": base64url(passkey.credential_id),
        "authenticator_data": base64url(data),
        "client_data_json": base64url(client_data),
        "signature": base64url(signature((sign or passkey.sign)(data, client_data))),
    }
    return {name: value for name, value in (made | body).items() if value is not None}


def flipped(scene: Scene, data: bytes, *, start: int = 0, end: int | None = None) -> bytes:
    """One bit of a stretch turned over."""
    stretch = range(start, len(data) if end is None else end)
    place, bit = scene.chance.choice(stretch), 1 << scene.chance.randrange(8)
    return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]


def as_raw(signature: bytes) -> bytes:
    """r and s side by side, as other formats have them."""
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def other_key(data: bytes, client_data: bytes) -> bytes:
    return new_private_key().sign(data + hashlib.sha256(client_data).digest(), ECDSA(SHA256()))


def p384(data: bytes, client_data: bytes) -> bytes:
    return generate_private_key(SECP384R1()).sign(data + hashlib.sha256(client_data).digest(), ECDSA(SHA384()))


def rs256(data: bytes, client_data: bytes) -> bytes:
    return RSA_KEY.sign(data + hashlib.sha256(client_data).digest(), padding.PKCS1v15(), SHA256())


def eddsa(data: bytes, client_data: bytes) -> bytes:
    return ed25519.Ed25519PrivateKey.generate().sign(data + hashlib.sha256(client_data).digest())


def other_shape(scene: Scene, change: Callable[[bytes], bytes]) -> bytes:
    """A challenge over the same details, put together another way."""
    head = f"aval-device-v1\napprove\n{scene.nonce}\n".encode()
    return hashlib.sha256(change(head + canonical(scene.details))).digest()


def look_alike(text: str) -> str:
    """The same to the eye: a Cyrillic letter for a Latin one, or an invisible character at the end."""
    return text.replace("a", "\u0430", 1) if "a" in text else text + "\u2060"


def by_other_device(scene: Scene, whose: str) -> dict[str, Any]:
    device_key, passkey = scene.other_devices[whose]
    return forged(replace(scene, passkey=passkey, device_key=device_key))


Lie = Callable[[Scene], dict[str, Any]]

CHALLENGE: dict[str, Lie] = {
    "a random challenge": lambda s: forged(s, challenge=s.chance.randbytes(32)),
    "no challenge": lambda s: forged(s, client={"challenge": ""}),
    "a short challenge": lambda s: forged(s, challenge=s.challenge()[:31]),
    "a long challenge": lambda s: forged(s, challenge=s.challenge() + b"\0"),
    "a flipped challenge": lambda s: forged(s, challenge=flipped(s, s.challenge())),
    "a padded challenge": lambda s: forged(s, client={"challenge": base64url(s.challenge()) + "="}),
    "a hexadecimal challenge": lambda s: forged(s, client={"challenge": s.challenge().hex()}),
    "the denial": lambda s: forged(s, challenge=s.challenge("deny")),
    "another nonce": lambda s: forged(s, challenge=s.challenge(nonce=s.other_nonce)),
    "the former nonce": lambda s: forged(s, challenge=s.challenge(nonce=s.former_nonce)),
    "another amount": lambda s: forged(s, challenge=s.challenge(amount=f"{s.chance.randrange(1, 10**6)}.00")),
    "an amount without trailing zeros": lambda s: forged(s, challenge=s.challenge(amount="202.010")),
    "an amount that is a number": lambda s: forged(s, challenge=s.challenge(amount=202.01)),
    "another fee": lambda s: forged(s, challenge=s.challenge(fee_amount="9.99")),
    "another payee": lambda s: forged(s, challenge=s.challenge(payee_name="Outra Pessoa")),
    "a payee that looks alike": lambda s: forged(
        s, challenge=s.challenge(payee_name=look_alike(s.details["payee_name"]))
    ),
    "another document": lambda s: forged(s, challenge=s.challenge(payee_document_masked="***000000**")),
    "another target": lambda s: forged(s, challenge=s.challenge(target="87654321/0001/1234567-9")),
    "no target": lambda s: forged(s, challenge=s.challenge(target=None)),
    "another operation": lambda s: forged(s, challenge=s.challenge(operation_key=str(s.chance.getrandbits(128)))),
    "another kind": lambda s: forged(s, challenge=s.challenge(operation="ted")),
    "another account": lambda s: forged(s, challenge=s.challenge(account_key=str(s.chance.getrandbits(128)))),
    "more items": lambda s: forged(s, challenge=s.challenge(item_count=2)),
    "an items digest": lambda s: forged(s, challenge=s.challenge(items_digest="0" * 64)),
    "another version": lambda s: forged(s, challenge=s.challenge(version=2)),
    "one detail more": lambda s: forged(s, challenge=s.challenge(status="approved")),
    "one detail less": lambda s: forged(
        s,
        challenge=device_challenge(
            DeviceDecision.APPROVE, s.nonce, {name: text for name, text in s.details.items() if name != "target"}
        ),
    ),
    "details in their order": lambda s: forged(
        s,
        challenge=hashlib.sha256(
            f"aval-device-v1\napprove\n{s.nonce}\n{json.dumps(s.details, separators=(',', ':'))}".encode()
        ).digest(),
    ),
    "details with spaces": lambda s: forged(s, challenge=other_shape(s, lambda text: text.replace(b'":', b'": '))),
    "CRLF": lambda s: forged(s, challenge=other_shape(s, lambda text: text.replace(b"\n", b"\r\n"))),
    "no line ends": lambda s: forged(s, challenge=other_shape(s, lambda text: text.replace(b"\n", b""))),
    "another context": lambda s: forged(s, challenge=other_shape(s, lambda text: text.replace(b"v1", b"v2", 1))),
    "the nonce's bytes": lambda s: forged(
        s,
        challenge=other_shape(s, lambda text: text.replace(s.nonce.encode(), from_base64url(s.nonce) or b"")),
    ),
}
CLIENT_DATA: dict[str, Lie] = {
    "another origin": lambda s: forged(s, client={"origin": "https://evil.example"}),
    "an origin below": lambda s: forged(s, client={"origin": ORIGIN.replace("app.", "app.evil.")}),
    "an origin that goes on": lambda s: forged(s, client={"origin": ORIGIN + ".evil.example"}),
    "an origin with a slash": lambda s: forged(s, client={"origin": ORIGIN + "/"}),
    "an origin with a port": lambda s: forged(s, client={"origin": ORIGIN + ":8443"}),
    "an origin in capitals": lambda s: forged(s, client={"origin": ORIGIN.upper()}),
    "plain http": lambda s: forged(s, client={"origin": ORIGIN.replace("https", "http")}),
    "an origin that looks alike": lambda s: forged(s, client={"origin": look_alike(ORIGIN)}),
    "no origin": lambda s: forged(s, client={"origin": None}),
    "the null origin": lambda s: forged(s, client={"origin": "null"}),
    "origins": lambda s: forged(s, client={"origin": [ORIGIN]}),
    "a registration": lambda s: forged(s, client={"type": "webauthn.create"}),
    "a payment": lambda s: forged(s, client={"type": "payment.get"}),
    "no type": lambda s: forged(s, client={"type": None}),
    "a foreign frame": lambda s: forged(s, client={"crossOrigin": True}),
    "crossOrigin that is no boolean": lambda s: forged(s, client={"crossOrigin": 0}),
    "a page above": lambda s: forged(s, client={"topOrigin": "https://evil.example"}),
    "a challenge twice": lambda s: forged(s, raw_client=lambda data: data.replace(b"{", b'{"challenge":"AAAA",', 1)),
    "an origin twice": lambda s: forged(
        s, raw_client=lambda data: data.replace(b"{", b'{"origin":"https://evil.example",', 1)
    ),
    "client data cut off": lambda s: forged(s, raw_client=lambda data: data[: s.chance.randrange(1, len(data))]),
    "client data that is a list": lambda s: forged(s, raw_client=lambda data: b"[" + data + b"]"),
    "client data not UTF-8": lambda s: forged(s, raw_client=lambda data: data + b"\xff"),
    "client data in UTF-16": lambda s: forged(s, raw_client=lambda data: data.decode().encode("utf-16")),
    "client data nested deep": lambda s: forged(s, raw_client=lambda data: b"[" * 50_000),
    "client data of nothing": lambda s: forged(s, raw_client=lambda data: b"null"),
    "client data unsigned": lambda s: forged(s) | {"client_data_json": forged(s, client={"x": 1})["client_data_json"]},
}
AUTHENTICATOR: dict[str, Lie] = {
    "another rp_id": lambda s: forged(s, device={"rp_id": "example.com"}),
    "the parent's rp_id": lambda s: forged(s, device={"rp_id": "com"}),
    "an rp_id hash with a flipped bit": lambda s: forged(s, authenticator=lambda data: flipped(s, data, end=32)),
    "nobody there": lambda s: forged(s, device={"flags": VERIFIED}),
    "nobody verified": lambda s: forged(s, device={"flags": PRESENT}),
    "no flags": lambda s: forged(s, device={"flags": 0}),
    "eligible for backup": lambda s: forged(s, device={"flags": s.passkey.flags | ELIGIBLE}),
    "backed up": lambda s: forged(s, device={"flags": s.passkey.flags | ELIGIBLE | BACKED_UP}),
    "backed up, not eligible": lambda s: forged(s, device={"flags": s.passkey.flags | BACKED_UP}),
    "attested data that is not there": lambda s: forged(s, device={"flags": s.passkey.flags | ATTESTED}),
    "extensions that are not there": lambda s: forged(s, device={"flags": s.passkey.flags | EXTENDED}),
    "extensions that are no CBOR": lambda s: forged(
        s, device={"flags": s.passkey.flags | EXTENDED}, authenticator=lambda data: data + b"\xff" * 9
    ),
    "the same counter": lambda s: forged(s, device={"counter": s.passkey.counter}),
    "a counter back": lambda s: forged(s, device={"counter": s.chance.randrange(1, s.passkey.counter)}),
    "a counter gone": lambda s: forged(s, device={"counter": 0}),
    "data cut off": lambda s: forged(s, authenticator=lambda data: data[: s.chance.randrange(1, 37)]),
    "data with more": lambda s: forged(s, authenticator=lambda data: data + s.chance.randbytes(3)),
    "data unsigned": lambda s: (
        forged(s) | {"authenticator_data": forged(s, device={"counter": 99})["authenticator_data"]}
    ),
}
SIGNATURE: dict[str, Lie] = {
    "another key": lambda s: forged(s, sign=other_key),
    "P-384": lambda s: forged(s, sign=p384),
    "RSA": lambda s: forged(s, sign=rs256),
    "Ed25519": lambda s: forged(s, sign=eddsa),
    "a flipped bit": lambda s: forged(s, signature=lambda made: flipped(s, made, start=8)),
    "random bytes": lambda s: forged(s, signature=lambda made: s.chance.randbytes(len(made))),
    "r and s as they are": lambda s: forged(s, signature=as_raw),
    "zeros": lambda s: forged(s, signature=lambda made: encode_dss_signature(0, 0)),
    "a signature with more": lambda s: forged(s, signature=lambda made: made + b"\0"),
    "a signature cut off": lambda s: forged(s, signature=lambda made: made[: s.chance.randrange(1, len(made))]),
    "over the client data itself": lambda s: forged(
        s, sign=lambda data, client: s.passkey.key.sign(data + client, ECDSA(SHA256()))
    ),
    "over the challenge alone": lambda s: forged(
        s, sign=lambda data, client: s.passkey.key.sign(s.challenge(), ECDSA(SHA256()))
    ),
    "over the digest unhashed": lambda s: forged(
        s, sign=lambda data, client: s.passkey.key.sign(hashlib.sha256(client).digest(), ECDSA(Prehashed(SHA256())))
    ),
    "as an app key": lambda s: {
        "device_key": s.device_key,
        "nonce": s.nonce,
        "type": "p256",
        "signature": base64url(s.passkey.key.sign(s.challenge(), ECDSA(SHA256()))),
    },
    "another credential_id": lambda s: forged(s, credential_id=base64url(s.chance.randbytes(32))),
    "a short credential_id": lambda s: forged(s, credential_id=base64url(s.passkey.credential_id[:-1])),
    "an unknown device": lambda s: forged(s, device_key="41c9e0a7-3d5f-4b62-8c14-f9b6027d8ae5"),
    **{f"a device of {whose}": partial(by_other_device, whose=whose) for whose in STRANGERS},
    "another's device_key": lambda s: forged(s, device_key=s.other_devices["another integrator"][0]),
}
OTHER_NONCE: dict[str, Lie] = {
    "a random nonce": lambda s: forged(s, nonce=base64url(s.chance.randbytes(32))),
    "another session's nonce": lambda s: forged(s, challenge=s.challenge(nonce=s.other_nonce), nonce=s.other_nonce),
    "a nonce that is void": lambda s: forged(s, challenge=s.challenge(nonce=s.former_nonce), nonce=s.former_nonce),
    "a nonce in other letters": lambda s: forged(s, nonce=s.nonce.swapcase()),
    "a short nonce": lambda s: forged(s, nonce=s.nonce[:-1]),
}
MALFORMED: dict[str, Lie] = {
    "no signature": lambda s: forged(s) | {"signature": ""},
    "a signature in plain base64": lambda s: forged(s) | {"signature": "+/+/"},
    "a signature with spaces": lambda s: forged(s) | {"signature": "AA AA"},
    "no authenticator data": lambda s: forged(s, authenticator_data=None),
    "no client data": lambda s: forged(s, client_data_json=None),
    "no credential_id": lambda s: forged(s, credential_id=None),
    "an unknown type": lambda s: forged(s, type="totp"),
    "a nonce of other symbols": lambda s: forged(s, nonce="é" * 43),
    "a field nobody knows": lambda s: forged(s, amount="0.01"),
    "a device_key that is none": lambda s: forged(s, device_key="x"),
}
LIES: dict[str, tuple[Lie, str]] = {
    **{f"challenge: {name}": (lie, PROOF) for name, lie in CHALLENGE.items()},
    **{f"client data: {name}": (lie, PROOF) for name, lie in CLIENT_DATA.items()},
    **{f"authenticator: {name}": (lie, PROOF) for name, lie in AUTHENTICATOR.items()},
    **{f"signature: {name}": (lie, PROOF) for name, lie in SIGNATURE.items()},
    **{f"nonce: {name}": (lie, NONCE) for name, lie in OTHER_NONCE.items()},
    **{f"body: {name}": (lie, SCHEMA) for name, lie in MALFORMED.items()},
}
