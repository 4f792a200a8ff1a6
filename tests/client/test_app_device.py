"""A device in Python: it signs what the page of signatures says, and nothing that contradicts itself."""

import json
import shutil
import subprocess
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from aval.client import (
    AppDevice,
    Approver,
    ArgumentNotValid,
    DeviceChallenge,
    DeviceSession,
    NoCredential,
    PixItem,
    PixKey,
    Refused,
    ShownNotValid,
)
from aval.client.app_device import items_digest
from tests.client.flows import TARGET, rows_of, token_of

ROOT = Path(__file__).parents[2]
VECTORS_FILE = ROOT / "docs" / "reference" / "device-vectors.json"
VECTORS = json.loads(VECTORS_FILE.read_text())


def bytes_of(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def session_of(vector: dict[str, Any], **change: Any) -> DeviceSession:
    told = {"session_id": UUID(int=1), "status": "pending", "details": vector["details"], "nonce": vector["nonce"]}
    return DeviceSession(**told | {"items": vector.get("items")} | change)


@pytest.mark.parametrize("vector", VECTORS["operations"], ids=lambda vector: vector["name"])
def test_the_challenge_is_the_published_one_and_the_signature_is_over_it(vector: dict[str, Any]) -> None:
    device, session = AppDevice.new(), session_of(vector)
    assert session.challenge(vector["decision"]).hex() == vector["challenge_hex"]
    body = device.approval(session) if vector["decision"] == "approve" else device.denial(session, "not_me")
    assert body.pop("reason", "not_me") == "not_me"
    assert (body["device_key"], body["nonce"], body["type"]) == (str(device.key), vector["nonce"], "p256")
    public_key: Any = load_der_public_key(device.public_key)
    public_key.verify(bytes_of(body["signature"]), bytes_of(vector["challenge"]), ECDSA(SHA256()))


def test_a_registration_signs_the_published_message() -> None:
    told = VECTORS["registration"]
    device = AppDevice.new(UUID(told["device_key"]))
    challenge = DeviceChallenge(
        session_id=uuid4(), challenge=told["challenge"], rp_id=None, expires_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    credential = device.credential(challenge)
    public_key: Any = load_der_public_key(bytes_of(credential["public_key"]))
    public_key.verify(bytes_of(credential["signature"]), bytes.fromhex(told["message_hex"]), ECDSA(SHA256()))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_another_language_finds_the_vectors_right() -> None:
    script = ROOT / "tests" / "devices" / "check_vectors.mjs"
    ended = subprocess.run(["node", script, VECTORS_FILE], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ended.stdout) == {"checked": len(VECTORS["operations"]), "faults": []}


ITEMS = [{"request_control_key": str(UUID(int=i)), "payee_name": "Ana", "amount": "10.50"} for i in range(2)]
BATCH = {"version": 1, "item_count": 2, "amount": "21.00", "items_digest": items_digest(ITEMS)}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"items": ITEMS[:1]}, "items_digest"),
        ({"items": None}, "items"),
        ({"items": [*ITEMS[:1], ITEMS[1] | {"payee_name": "Eva"}]}, "items_digest"),
        ({"details": BATCH | {"item_count": 3}}, "item_count"),
        ({"details": BATCH | {"amount": "20.00"}}, "amount"),
        ({"details": BATCH | {"version": 2}}, "version"),
        ({"details": {}}, "version"),
        ({"nonce": None}, "nonce"),
    ],
)
def test_what_contradicts_itself_is_not_signed(change: dict[str, Any], name: str) -> None:
    vector = {"details": BATCH, "nonce": "A" * 43, "items": ITEMS}
    assert AppDevice.new().approval(session_of(vector))
    for answer in (AppDevice.new().approval, AppDevice.new().denial):
        with pytest.raises(ShownNotValid) as refused:
            answer(session_of(vector, **change))
        assert refused.value.name == name


def test_a_device_is_kept_in_a_file_of_its_owner(tmp_path: Path) -> None:
    device, path = AppDevice.new(), tmp_path / "device.json"
    device.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = AppDevice.load(path)
    assert (loaded.key, loaded.public_key) == (device.key, device.public_key)
    with pytest.raises(FileExistsError):
        device.save(path)
    path.chmod(0o640)
    with pytest.raises(ArgumentNotValid, match="readable_by_others"):
        AppDevice.load(path)


def test_a_file_that_is_no_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    with pytest.raises(ArgumentNotValid, match="not_readable"):
        AppDevice.load(path)
    AppDevice(uuid4(), generate_private_key(SECP384R1())).save(path)
    with pytest.raises(ArgumentNotValid, match="not_p256"):
        AppDevice.load(path)
    for text in ("", "{}", json.dumps({"device_key": str(uuid4()), "private_key": "x"})):
        path.write_text(text)
        with pytest.raises(ArgumentNotValid, match="not_a_device"):
            AppDevice.load(path)


def test_neither_key_nor_details_print() -> None:
    device = AppDevice.new()
    vector = VECTORS["operations"][0]
    assert "private_key" not in repr(device)
    assert vector["nonce"] not in repr(session_of(vector)) and "Padaria" not in repr(session_of(vector))


async def registered(aval: Any, account_key: UUID, approver: Approver) -> AppDevice:
    """A device the approver's token made active."""
    device = AppDevice.new()
    challenge = await aval.challenge_device(account_key, approver)
    made = await aval.register_device(account_key, device, challenge, approver, name="Servidor")
    assert (made.key, made.status, made.approval.method) == (device.key, "pending_2fa_approval", "sms")
    made = await aval.validate_device(account_key, device.key, await token_of(aval, device.key))
    assert made.status == "created"
    return device


async def test_a_device_approves_a_ted_and_denies_a_batch(api, aval, client_of, party, approver) -> None:
    device = await registered(aval, party.account.key, approver)
    phone = client_of(api.url, NoCredential())  # the device holds no key of the integrator
    by_device = Approver(party.document_number, "device", uuid4())
    ted = await aval.create_ted(party.account.key, amount=Decimal("202.01"), target=TARGET, approver=by_device)
    with pytest.raises(Refused, match="TED000905"):
        await aval.validate_ted(party.account.key, ted.key)

    session = await phone.open_session(by_device.session_id)
    assert (session.status, session.details["amount"], session.items) == ("pending", "202.01", None)
    told = await phone.approve_session(session, device)
    assert (told.session_id, told.status) == (by_device.session_id, "approved")
    with pytest.raises(Refused, match="OBD000921"):
        await phone.approve_session(session, device)
    assert (await aval.validate_ted(party.account.key, ted.key)).status == "pending"

    by_device = Approver(party.document_number, "device", uuid4())
    items = [
        PixItem(amount=Decimal(10), target=PixKey("52998224725", f"E12345678202611231430{uuid4().hex[:11]}"))
        for _ in range(2)
    ]
    batch = await aval.create_pix_batch(party.account.key, items=items, approver=by_device)
    session = await phone.open_session(by_device.session_id)
    assert (len(session.items), session.details["amount"]) == (2, "20.00")
    assert (await phone.deny_session(session, device, reason="not_me")).status == "denied"
    assert (await aval.get_pix_batch(party.account.key, batch.key)).status == "rejected"


async def test_a_device_is_read_listed_and_disabled(aval, party, approver) -> None:
    device = await registered(aval, party.account.key, approver)
    read = await aval.get_device(party.account.key, device.key)
    assert (read.key, read.status, read.name) == (device.key, "active", "Servidor")
    assert [row.key for row in await rows_of(aval.each_device(party.account.key))] == [device.key]
    assert (await aval.list_devices(party.account.key)).rows == [read]
    assert (await aval.disable_device(party.account.key, device.key)).status == "disabled"


async def test_a_new_token_of_a_registration_is_sent(aval, party, approver) -> None:
    device = AppDevice.new()
    challenge = await aval.challenge_device(party.account.key, approver)
    await aval.register_device(party.account.key, device, challenge, approver, name="Servidor")
    await token_of(aval, device.key)
    await aval.advance(device.key, seconds=30)
    resent = await aval.resend_device(party.account.key, device.key, "email")
    assert (resent.approval.method, resent.approval.generation) == ("email", 2)
