import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import cbor2
import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from aval.domain.device import CredentialType, DeviceCredential, DeviceDecision, RelyingParty
from aval.domain.device_proof import (
    DeviceSignature,
    P256Attestation,
    ProofRefused,
    WebauthnAttestation,
    attested_p256,
    attested_webauthn,
    base64url,
    device_challenge,
    from_base64url,
    verified,
)
from tests.devices.authenticator import BACKED_UP, ELIGIBLE, ORIGIN, PRESENT, RP_ID, VERIFIED, AppKey, Passkey
from tests.devices.vectors import FILE, make_vectors

PARTY = RelyingParty(RP_ID, ("https://other.example.com", ORIGIN))
CHALLENGE = bytes(range(32))
DEVICE_KEY = UUID("41c9e0a7-3d5f-4b62-8c14-f9b6027d8ae5")


def data(text: str) -> bytes:
    found = from_base64url(text)
    assert found is not None
    return found


def attestation_of(passkey: Passkey, challenge: bytes = CHALLENGE) -> WebauthnAttestation:
    told = passkey.make_credential(challenge)
    return WebauthnAttestation(*(data(told[n]) for n in ("credential_id", "attestation_object", "client_data_json")))


def registered(passkey: Passkey) -> DeviceCredential:
    return attested_webauthn(attestation_of(passkey), challenge=CHALLENGE, party=PARTY)


def signature_of(passkey: Passkey, challenge: bytes = CHALLENGE) -> DeviceSignature:
    told = passkey.get_assertion(challenge)
    return DeviceSignature(
        CredentialType.WEBAUTHN,
        data(told["signature"]),
        *(data(told[name]) for name in ("credential_id", "authenticator_data", "client_data_json")),
    )


def resigned(passkey: Passkey, **change: Any) -> DeviceSignature:
    """An assertion over other client data, which the passkey signed all the same."""
    client_data = passkey.client_data("webauthn.get", CHALLENGE, **change)
    return over(passkey, passkey.authenticator_data(), client_data)


def over(passkey: Passkey, authenticator_data: bytes, client_data: bytes) -> DeviceSignature:
    passkey.counter += 1
    signature = passkey.sign(authenticator_data, client_data)
    return DeviceSignature(CredentialType.WEBAUTHN, signature, passkey.credential_id, authenticator_data, client_data)


def test_a_passkey_is_registered_with_what_later_signatures_are_held_to() -> None:
    passkey = Passkey(counter=7, flags=PRESENT | VERIFIED | ELIGIBLE)
    credential = registered(passkey)
    assert credential.credential_id == passkey.credential_id
    assert (credential.sign_count, credential.is_backup_eligible) == (7, True)
    assert cbor2.loads(credential.public_key) == passkey.cose_key()


def test_a_self_attested_passkey_is_registered_too() -> None:
    passkey = Passkey()
    told = attestation_of(passkey)
    authenticator_data = passkey.authenticator_data(attested=passkey.attested())
    signature = passkey.sign(authenticator_data, told.client_data_json)
    statement = {"fmt": "packed", "attStmt": {"alg": -7, "sig": signature}, "authData": authenticator_data}
    credential = attested_webauthn(
        replace(told, attestation_object=cbor2.dumps(statement)), challenge=CHALLENGE, party=PARTY
    )
    assert credential.credential_id == passkey.credential_id


def attested_with(**change: Any) -> Callable[[Passkey, WebauthnAttestation], WebauthnAttestation]:
    def make(_: Passkey, told: WebauthnAttestation) -> WebauthnAttestation:
        return replace(told, attestation_object=cbor2.dumps(cbor2.loads(told.attestation_object) | change))

    return make


def keyed_with(**change: Any) -> Callable[[Passkey, WebauthnAttestation], WebauthnAttestation]:
    """An attestation of another public key: members of the COSE key by name."""

    def make(passkey: Passkey, told: WebauthnAttestation) -> WebauthnAttestation:
        names = {"kty": 1, "alg": 3, "crv": -1, "x": -2, "y": -3}
        key = passkey.cose_key() | {names[name]: value for name, value in change.items()}
        length = len(passkey.credential_id).to_bytes(2, "big")
        attested = bytes(16) + length + passkey.credential_id + cbor2.dumps(key)
        statement = {"fmt": "none", "attStmt": {}, "authData": passkey.authenticator_data(attested=attested)}
        return replace(told, attestation_object=cbor2.dumps(statement))

    return make


def told_as(**change: Any) -> Callable[[Passkey, WebauthnAttestation], WebauthnAttestation]:
    return lambda passkey, told: replace(
        told, client_data_json=passkey.client_data("webauthn.create", CHALLENGE, **change)
    )


P384_POINT = generate_private_key(SECP384R1()).public_key().public_numbers()
BAD_ATTESTATIONS: dict[str, Callable[[Passkey, WebauthnAttestation], WebauthnAttestation]] = {
    "another challenge": lambda passkey, _: attestation_of(passkey, bytes(32)),
    "another origin": told_as(origin="https://app.pay.example.com.evil.example"),
    "http origin": told_as(origin=ORIGIN.replace("https", "http")),
    "of an assertion": told_as(type="webauthn.get"),
    "no type": told_as(type=None),
    "in a foreign frame": told_as(crossOrigin=True),
    "crossOrigin as text": told_as(crossOrigin="false"),
    "below another page": told_as(topOrigin="https://evil.example"),
    "another rp_id": lambda passkey, _: attestation_of(replace(passkey, rp_id="example.com")),
    "user not present": lambda passkey, _: attestation_of(replace(passkey, flags=VERIFIED)),
    "user not verified": lambda passkey, _: attestation_of(replace(passkey, flags=PRESENT)),
    "backed up but not eligible": lambda passkey, _: attestation_of(
        replace(passkey, flags=PRESENT | VERIFIED | BACKED_UP)
    ),
    "another credential_id": lambda _, told: replace(told, credential_id=bytes(32)),
    "no credential_id": lambda passkey, _: attestation_of(replace(passkey, credential_id=b"")),
    "a credential_id too long": lambda passkey, _: attestation_of(replace(passkey, credential_id=bytes(1024))),
    "ES384": keyed_with(alg=-35),
    "RS256": keyed_with(alg=-257),
    "no algorithm": keyed_with(alg=0),
    "a point off the curve": keyed_with(x=bytes(32)),
    "a point at infinity": keyed_with(x=bytes(32), y=bytes(32)),
    "P-384 under ES256": keyed_with(crv=2, x=P384_POINT.x.to_bytes(48, "big"), y=P384_POINT.y.to_bytes(48, "big")),
    "an OKP key": keyed_with(kty=1),
    "an unknown key type": keyed_with(kty=99),
    "SafetyNet": attested_with(fmt="android-safetynet"),
    "an unknown format": attested_with(fmt="mine"),
    "a format that is no text": attested_with(fmt=7),
    "a statement where none may be": attested_with(attStmt={"alg": -7, "sig": b"x"}),
    "a packed statement that is wrong": attested_with(fmt="packed", attStmt={"alg": -7, "sig": b"x"}),
    "no authData": attested_with(authData=b""),
    "authData cut off": attested_with(authData=bytes(60)),
    "authData that is text": attested_with(authData="x"),
    "broken CBOR": lambda _, told: replace(told, attestation_object=told.attestation_object[:-5]),
    "nested CBOR": lambda _, told: replace(told, attestation_object=b"\x81" * 50_000),
    "endless CBOR": lambda _, told: replace(told, attestation_object=b"\x9f" * 50_000),
    "a CBOR string of 2^60 bytes": lambda _, told: replace(told, attestation_object=b"\x5b\x10" + bytes(7)),
    "CBOR twice the same key": lambda _, told: replace(
        told, attestation_object=b"\xa4\x63fmt\x64mine" + told.attestation_object[1:]
    ),
    "empty CBOR": lambda _, told: replace(told, attestation_object=b""),
    "client data that is no JSON": lambda _, told: replace(told, client_data_json=b"{"),
    "client data that is no object": lambda _, told: replace(told, client_data_json=b"[]"),
    "client data nested": lambda _, told: replace(told, client_data_json=b"[" * 100_000),
    "client data not UTF-8": lambda _, told: replace(told, client_data_json=b"\xff"),
    "client data with two origins": lambda _, told: replace(
        told, client_data_json=told.client_data_json.replace(b"{", b'{"origin": "https://evil.example", ', 1)
    ),
}


@pytest.mark.parametrize("name", BAD_ATTESTATIONS)
def test_what_is_no_attestation_of_a_passkey_is_refused(name: str) -> None:
    passkey = Passkey()
    told = BAD_ATTESTATIONS[name](passkey, attestation_of(passkey))
    with pytest.raises(ProofRefused):
        attested_webauthn(told, challenge=CHALLENGE, party=PARTY)


@pytest.mark.parametrize("party", [RelyingParty(None, (ORIGIN,)), RelyingParty("", (ORIGIN,)), RelyingParty(RP_ID, ())])
def test_an_integrator_without_rp_id_or_origins_takes_no_passkey(party: RelyingParty) -> None:
    with pytest.raises(ProofRefused):
        attested_webauthn(attestation_of(Passkey()), challenge=CHALLENGE, party=party)


@pytest.mark.parametrize(("before", "after", "told"), [(1, 2, 2), (0, 0, 0), (0, 4, 5)])
def test_a_signature_of_a_passkey_moves_its_counter(before: int, after: int, told: int) -> None:
    passkey = Passkey(counter=before)
    credential = registered(passkey)
    passkey.counter = after and told - 1
    assert verified(credential, signature_of(passkey), challenge=CHALLENGE, party=PARTY).sign_count == told


BAD_ASSERTIONS: dict[str, Callable[[Passkey], DeviceSignature]] = {
    "another challenge": lambda passkey: signature_of(passkey, bytes(32)),
    "another origin": lambda passkey: resigned(passkey, origin="https://evil.example"),
    "an origin that only begins alike": lambda passkey: resigned(passkey, origin=ORIGIN + "/"),
    "no origin": lambda passkey: resigned(passkey, origin=None),
    "of a registration": lambda passkey: resigned(passkey, type="webauthn.create"),
    "of a payment": lambda passkey: resigned(passkey, type="payment.get"),
    "in a foreign frame": lambda passkey: resigned(passkey, crossOrigin=True),
    "the challenge padded": lambda passkey: resigned(passkey, challenge=base64url(CHALLENGE) + "="),
    "the challenge with a stranger in it": lambda passkey: resigned(passkey, challenge="!" + base64url(CHALLENGE)),
    "another rp_id": lambda passkey: signature_of(replace(passkey, rp_id="example.com")),
    "user not present": lambda passkey: signature_of(replace(passkey, flags=VERIFIED)),
    "user not verified": lambda passkey: signature_of(replace(passkey, flags=PRESENT)),
    "eligible for backup now": lambda passkey: signature_of(replace(passkey, flags=PRESENT | VERIFIED | ELIGIBLE)),
    "backed up but not eligible": lambda passkey: signature_of(replace(passkey, flags=PRESENT | VERIFIED | BACKED_UP)),
    "the counter as it was": lambda passkey: signature_of(replace(passkey, counter=4)),
    "the counter back": lambda passkey: signature_of(replace(passkey, counter=2)),
    "the counter gone": lambda passkey: signature_of(replace(passkey, counter=0)),
    "another key": lambda passkey: replace(signature_of(Passkey(counter=9)), credential_id=passkey.credential_id),
    "another credential_id": lambda passkey: replace(signature_of(passkey), credential_id=bytes(32)),
    "no credential_id": lambda passkey: replace(signature_of(passkey), credential_id=None),
    "no authenticator data": lambda passkey: replace(signature_of(passkey), authenticator_data=None),
    "authenticator data cut off": lambda passkey: over(
        passkey, passkey.authenticator_data()[:36], passkey.client_data("webauthn.get", CHALLENGE)
    ),
    "authenticator data with more": lambda passkey: over(
        passkey, passkey.authenticator_data() + b"x", passkey.client_data("webauthn.get", CHALLENGE)
    ),
    "no client data": lambda passkey: replace(signature_of(passkey), client_data_json=None),
    "no signature": lambda passkey: replace(signature_of(passkey), signature=b""),
    "a broken signature": lambda passkey: replace(signature_of(passkey), signature=b"\x30\x02\x02\x00"),
    "of an app key": lambda passkey: DeviceSignature(CredentialType.P256, passkey.key.sign(CHALLENGE, ECDSA(SHA256()))),
}


@pytest.mark.parametrize("name", BAD_ASSERTIONS)
def test_what_is_no_signature_of_the_passkey_is_refused(name: str) -> None:
    passkey = Passkey(counter=5)
    credential = registered(passkey)
    with pytest.raises(ProofRefused):
        verified(credential, BAD_ASSERTIONS[name](passkey), challenge=CHALLENGE, party=PARTY)
    passkey.counter = 5
    assert verified(credential, signature_of(passkey), challenge=CHALLENGE, party=PARTY).sign_count == 6


def test_a_passkey_that_could_be_backed_up_stays_one() -> None:
    passkey = Passkey(flags=PRESENT | VERIFIED | ELIGIBLE)
    credential = registered(passkey)
    backed_up = replace(passkey, flags=passkey.flags | BACKED_UP)
    assert verified(credential, signature_of(backed_up), challenge=CHALLENGE, party=PARTY)
    with pytest.raises(ProofRefused):
        verified(credential, signature_of(replace(passkey, flags=PRESENT | VERIFIED)), challenge=CHALLENGE, party=PARTY)


def app_attestation(app: AppKey, challenge: bytes = CHALLENGE, device_key: UUID = DEVICE_KEY) -> P256Attestation:
    told = app.make_credential(challenge, device_key)
    return P256Attestation(data(told["public_key"]), data(told["signature"]))


def test_an_app_key_is_registered_and_signs() -> None:
    app = AppKey()
    credential = attested_p256(app_attestation(app), challenge=CHALLENGE, device_key=DEVICE_KEY)
    proof = DeviceSignature(CredentialType.P256, data(app.get_assertion(CHALLENGE)["signature"]))
    assert credential.public_key == app.public_key
    assert verified(credential, proof, challenge=CHALLENGE, party=PARTY) == credential
    for wrong in (bytes(32), CHALLENGE[:31], CHALLENGE + b"x"):
        with pytest.raises(ProofRefused):
            verified(credential, proof, challenge=wrong, party=PARTY)


def public_key_of(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


P384 = generate_private_key(SECP384R1())
BAD_APP_ATTESTATIONS: dict[str, Callable[[AppKey], P256Attestation]] = {
    "another challenge": lambda app: app_attestation(app, bytes(32)),
    "another device": lambda app: app_attestation(app, device_key=UUID(int=1)),
    "another key": lambda app: replace(app_attestation(app), public_key=AppKey().public_key),
    "P-384": lambda _: P256Attestation(
        public_key_of(P384), P384.sign(CHALLENGE + str(DEVICE_KEY).encode(), ECDSA(SHA256()))
    ),
    "no key": lambda app: replace(app_attestation(app), public_key=b""),
    "PEM": lambda app: replace(app_attestation(app), public_key=b"-----BEGIN PUBLIC KEY-----"),
    "a bare point": lambda app: replace(app_attestation(app), public_key=app.public_key[-65:]),
    "no signature": lambda app: replace(app_attestation(app), signature=b""),
}


@pytest.mark.parametrize("name", BAD_APP_ATTESTATIONS)
def test_what_is_no_attestation_of_an_app_key_is_refused(name: str) -> None:
    with pytest.raises(ProofRefused):
        attested_p256(BAD_APP_ATTESTATIONS[name](AppKey()), challenge=CHALLENGE, device_key=DEVICE_KEY)


def test_an_app_key_takes_no_signature_of_a_passkey() -> None:
    app = AppKey()
    credential = attested_p256(app_attestation(app), challenge=CHALLENGE, device_key=DEVICE_KEY)
    passkey = Passkey(key=app.key)
    with pytest.raises(ProofRefused):
        verified(credential, signature_of(passkey), challenge=CHALLENGE, party=PARTY)


@pytest.mark.parametrize("name", ["decision", "nonce", "amount", "payee_name", "target", "item_count", "items_digest"])
def test_the_challenge_changes_with_whatever_is_shown(name: str) -> None:
    details = {"amount": "1.00", "payee_name": "Ana", "target": "x", "item_count": 1, "items_digest": None}
    usual = device_challenge(DeviceDecision.APPROVE, "n", details)
    decision = DeviceDecision.DENY if name == "decision" else DeviceDecision.APPROVE
    nonce = "m" if name == "nonce" else "n"
    changed = details | ({} if name in ("decision", "nonce") else {name: "2"})
    assert device_challenge(decision, nonce, changed) != usual


@pytest.mark.parametrize("text", ["", "AA", "AA==", "_-8", "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA"])
def test_base64url_is_read_with_and_without_padding(text: str) -> None:
    assert from_base64url(text) == b64decode(text.replace("-", "+").replace("_", "/").rstrip("=") + "==")


@pytest.mark.parametrize("text", ["A", "AB", "AA=", "AA===", "A A", "AA\n", "+/8", "AA==AA", "ÁA", "=", "\ud800"])
def test_other_spellings_of_base64url_are_none(text: str) -> None:
    assert from_base64url(text) is None


def test_the_published_vectors_are_what_is_computed() -> None:
    assert json.loads(FILE.read_text(encoding="utf-8")) == make_vectors()


def test_the_published_vectors_hold_for_other_libraries() -> None:
    vectors = json.loads(FILE.read_text(encoding="utf-8"))
    key = load_der_public_key(data(vectors["public_key"]))
    assert isinstance(key, EllipticCurvePublicKey)
    for case in vectors["operations"]:
        assert rfc8785.dumps(case["details"]).decode() == case["canonical"]
        key.verify(data(case["p256_signature"]), bytes.fromhex(case["challenge_hex"]), ECDSA(SHA256()))
    key.verify(
        data(vectors["registration"]["signature"]),
        bytes.fromhex(vectors["registration"]["message_hex"]),
        ECDSA(SHA256()),
    )
