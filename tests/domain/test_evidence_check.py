"""A file of evidence is checked with nothing but itself: whatever is changed in it is found (AU5)."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import cbor2
import pytest
import rfc8785
from msgspec.structs import replace

from aval.domain.challenge import Challenge
from aval.domain.device import DeviceDecision
from aval.domain.device_proof import base64url, device_challenge, from_base64url
from aval.domain.evidence import Approval, evidence_time, fingerprint_of, message_of, public_key_of, record_of, sealed
from aval.domain.evidence_check import Check, EvidenceNotReadable, EvidenceReport, check_evidence
from aval.domain.keyring import Key, Purpose
from aval.domain.money import Brl
from aval.domain.transfer import Kind, Method, Payee, Status, Transfer, canonical, details_digest_of, details_of
from tests.devices.authenticator import ORIGIN, RP_ID, AppKey, Passkey

KEY = Key(Purpose.EVIDENCE, "evidence-1", bytes(range(32)), datetime(2026, 1, 1, tzinfo=UTC))
OTHER = Key(Purpose.EVIDENCE, "evidence-1", bytes(range(1, 33)), datetime(2026, 1, 1, tzinfo=UTC))
PUBLIC_KEY = public_key_of(KEY)
AT = datetime(2026, 11, 23, 13, 0, 0, 123456, tzinfo=UTC)
NONCE = base64url(bytes(32))
DEVICE_KEY = UUID(int=77)
PASSKEY, APP = Passkey(), AppKey()
ITEMS = [
    {"request_control_key": str(UUID(int=i)), "payee_name": "Ana", "payee_document_masked": None, "target": "a@b.c"}
    | {"amount": "6000000.00"}
    for i in range(2)
]


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def transfer_of(kind: Kind) -> Transfer:
    batch = {"item_count": 2, "items_digest": hashlib.sha256(canonical(ITEMS)).hexdigest(), "largest": Brl(600000000)}
    made = Transfer(
        integrator_key=UUID(int=1),
        key=UUID(int=2),
        kind=kind,
        account_key=UUID(int=3),
        approver_key=UUID(int=4),
        credential_key=UUID(int=5),
        request_control_key=UUID(int=6),
        request_fingerprint=bytes(32),
        end_to_end_id="E1234567820261123130012345678901" if kind is Kind.PIX_TRANSFER else None,
        amount=Brl(1200000000) if kind.is_batch else Brl(20201),
        fee=Brl(100),
        payee=Payee("João “Zé” Ltda", "11222333000181", target_pix_key="a@b.c"),
        pix_transfer_type=None,
        pix_message=None,
        receiver_conciliation_id=None,
        nonce=bytes(16),
        correlation_id="a:1",
        created_at=AT,
        device_name="Celular" if kind is Kind.DEVICE else None,
        **(batch if kind.is_batch else {}),
    )
    return replace(made, details_digest=details_digest_of(made))


def challenge_of(method: Method) -> Challenge:
    is_device = method is Method.DEVICE
    return Challenge(
        status=Status.PENDING,
        method=method,
        contact_key=None if is_device else UUID(int=8),
        masked_destination=None if is_device else "+55 11 *****-1234",
        generation=1 if is_device else 2,
        attempts_used=0 if is_device else 1,
        kid="token-1",
        alphabets="c" if is_device else "cd",
        issued_at=after(40),
        expires_at=after(340),
        can_resend_at=after(70),
        resends_left=2,
        resend_cooldown=timedelta(seconds=30),
        approval_deadline=after(3600),
    )


def approval_of(kind: Kind, signer: Passkey | AppKey | None) -> Approval:
    transfer, approved_at = transfer_of(kind), after(100.5)
    method = Method.SMS if signer is None else Method.DEVICE
    judged = {"details_digest": transfer.details_digest.hex(), "method": method.value, "status": "pending"}
    tokens = [(1, 1, "wrong", "crockford32", after(20)), (2, 2, "right", "digits", approved_at)]
    names = ("comparison_no", "generation", "verdict", "alphabet", "judged_at")
    return Approval(
        transfer=transfer,
        challenge=challenge_of(method),
        approved_at=approved_at,
        items=ITEMS if kind.is_batch else None,
        comparisons=[] if signer else [dict(zip(names, row, strict=True)) for row in tokens],
        signatures=[signature_of(transfer, signer)] if signer else [],
        audit=[
            audit_row(1, after(20), judged | {"status": "pending_2fa_approval"}),
            audit_row(2, approved_at, judged),
        ],
        context={"powers": ["approve"], "messages": []},
        is_intact=True,
    )


def audit_row(number: int, at: datetime, details: dict[str, Any]) -> dict[str, Any]:
    told = {"audit_id": UUID(int=number), "at": at, "actor": "credential:x", "action": "operation.judged"}
    return told | {"details": details, "correlation_id": "a:1"}


def signature_of(transfer: Transfer, signer: Passkey | AppKey, decision: str = "approve") -> dict[str, Any]:
    challenge = device_challenge(DeviceDecision(decision), NONCE, details_of(transfer))
    is_passkey = isinstance(signer, Passkey)
    device = {
        "device_name": "Celular",
        "type": signer.type,
        "public_key": cbor2.dumps(signer.cose_key()) if isinstance(signer, Passkey) else signer.public_key,
        "credential_id": signer.credential_id if isinstance(signer, Passkey) else None,
        "is_backup_eligible": False if is_passkey else None,
        "registered_at": after(-1000),
    }
    return {
        "decision": decision,
        "reason": None,
        "nonce": NONCE,
        "challenge": challenge,
        "proof": signer.get_assertion(challenge),
        "rp_id": RP_ID,
        "origins": [ORIGIN],
        "session_id": UUID(int=9),
        "decided_at": after(60),
        "device_key": DEVICE_KEY,
        "device": device,
    }


CASES = {
    "a Pix by token": (Kind.PIX_TRANSFER, None),
    "a TED by token": (Kind.TED, None),
    "a batch by token": (Kind.TED_BATCH, None),
    "a device by token": (Kind.DEVICE, None),
    "a Pix by passkey": (Kind.PIX_TRANSFER, PASSKEY),
    "a TED by app key": (Kind.TED, APP),
    "a batch by passkey": (Kind.PIX_TRANSFER_BATCH, PASSKEY),
}


def file_of(case: str) -> dict[str, Any]:
    return sealed(record_of(approval_of(*CASES[case])), KEY, at=after(102))


def checked(file: Any, *keys: bytes) -> EvidenceReport:
    return check_evidence(json.dumps(file).encode(), keys or [PUBLIC_KEY])


@pytest.mark.parametrize("case", CASES)
def test_honest_evidence_holds_in_everything(case: str) -> None:
    report = checked(file_of(case))
    assert (report.fails, len(report.holds)) == ([], 9)


def test_what_is_signed_is_the_canonical_json_of_rfc_8785() -> None:
    for case in CASES:
        file = file_of(case)
        seal = {name: text for name, text in file["seal"].items() if name != "signature"}
        assert message_of(file) == b"aval-evidence-v1\n" + rfc8785.dumps({**file, "seal": seal})


Path = tuple[Any, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in a file that holds no other, and every list and object."""
    yield path, value
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from leaves(member, (*path, place))


def other_than(value: Any) -> list[Any]:
    """Values near to one, all of another meaning."""
    match value:
        case bool():
            return [not value, None, int(value)]
        case int():
            return [value + 1, -value - 1, str(value), None, float(value) + 0.5]
        case str():
            flipped = value[:-1] + ("A" if value[-1:] != "A" else "B")
            return [flipped, value + " ", value.swapcase() if value.swapcase() != value else "", None]
        case dict():
            return [value | {"more": 1}, dict(list(value.items())[1:]) if value else None, None]
        case list():
            return [[*value, None], value[::-1] if value[::-1] != value else None]
        case _:
            return ["", 0, False]


def changed(file: Any, path: Path, value: Any) -> Any:
    made = copy.deepcopy(file)
    place = made
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return made


@pytest.mark.parametrize("case", CASES)
def test_every_change_anywhere_is_found(case: str) -> None:
    file = file_of(case)
    missed, count = [], 0
    for path, value in leaves(file):
        for other in other_than(value) if path else []:
            count += 1
            try:
                report = checked(changed(file, path, other))
            except EvidenceNotReadable:
                continue
            if report.is_genuine or (path[0] == "record" and Check.SEAL not in report.fails):
                missed.append((path, other))
    assert missed == []
    assert count > 200


def resealed(case: str, change: Callable[[Any], None], key: Key = KEY) -> dict[str, Any]:
    record = copy.deepcopy(file_of(case)["record"])
    change(record)
    return sealed(record, key, at=after(102))


def put(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(record: Any) -> None:
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


def take(*path: Any) -> Callable[[Any], None]:
    def change(record: Any) -> None:
        for name in path[:-1]:
            record = record[name]
        del record[path[-1]]

    return change


@dataclass(frozen=True)
class Forgery:
    """A change by somebody who holds the deployment's key: what contradicts itself is still found."""

    case: str
    change: Callable[[Any], None]
    found: Check


TOKEN, PASS, BATCH = "a Pix by token", "a Pix by passkey", "a batch by token"
FORGERIES = {
    "another amount": Forgery(TOKEN, put("shown", "details", "amount", value="999.00"), Check.DETAILS),
    "another operation": Forgery(TOKEN, put("operation", "operation_key", value=str(UUID(int=7))), Check.DETAILS),
    "another digest": Forgery(TOKEN, put("operation", "details_digest", value="0" * 64), Check.DETAILS),
    "an item less": Forgery(BATCH, take("shown", "items", 0), Check.ITEMS),
    "no items": Forgery(BATCH, put("shown", "items", value=None), Check.ITEMS),
    "items of a single": Forgery(TOKEN, put("shown", "items", value=ITEMS), Check.ITEMS),
    "another item": Forgery(BATCH, put("shown", "items", 0, "amount", value="6000000.01"), Check.ITEMS),
    "approved before asked": Forgery(TOKEN, put("approved_at", value=evidence_time(after(-1))), Check.TIMES),
    "approved too late": Forgery(
        TOKEN, put("policy", "approval_deadline", value=evidence_time(after(100))), Check.TIMES
    ),
    "approved after the seal": Forgery(TOKEN, put("approved_at", value=evidence_time(after(103))), Check.TIMES),
    "a comparison after it": Forgery(
        TOKEN, put("comparisons", 0, "judged_at", value=evidence_time(after(101))), Check.TIMES
    ),
    "no audit": Forgery(TOKEN, put("audit", value=[]), Check.AUDIT),
    "audited twice": Forgery(TOKEN, put("audit", 0, "details", "status", value="pending"), Check.AUDIT),
    "audited of another digest": Forgery(TOKEN, put("audit", 1, "details", "details_digest", value="0"), Check.AUDIT),
    "audited at another time": Forgery(TOKEN, put("audit", 1, "at", value=evidence_time(after(90))), Check.AUDIT),
    "rows changed before the seal": Forgery(TOKEN, put("is_intact", value=False), Check.INTACT),
    "intact in a word": Forgery(TOKEN, put("is_intact", value="true"), Check.INTACT),
    "a wrong token": Forgery(TOKEN, put("comparisons", 1, "verdict", value="wrong"), Check.TOKEN),
    "right twice": Forgery(TOKEN, put("comparisons", 0, "verdict", value="right"), Check.TOKEN),
    "a superseded token": Forgery(TOKEN, put("comparisons", 1, "generation", value=1), Check.TOKEN),
    "a comparison missing": Forgery(TOKEN, take("comparisons", 0), Check.TOKEN),
    "no comparison": Forgery(TOKEN, put("comparisons", value=[]), Check.TOKEN),
    "an expired token": Forgery(TOKEN, put("factor", "expires_at", value=evidence_time(after(100))), Check.TOKEN),
    "a token of another alphabet": Forgery(TOKEN, put("comparisons", 1, "alphabet", value="crockford32"), Check.TOKEN),
    "fewer attempts": Forgery(TOKEN, put("policy", "attempts_max", value=1), Check.TOKEN),
    "no signature": Forgery(PASS, put("signatures", value=[]), Check.SIGNATURE),
    "a denial": Forgery(PASS, put("signatures", 0, "decision", value="deny"), Check.SIGNATURE),
    "another nonce": Forgery(PASS, put("signatures", 0, "nonce", value=base64url(bytes(31) + b"1")), Check.SIGNATURE),
    "another challenge": Forgery(PASS, put("signatures", 0, "challenge", value=base64url(bytes(32))), Check.SIGNATURE),
    "another device": Forgery(PASS, put("factor", "device_key", value=str(UUID(int=7))), Check.SIGNATURE),
    "another rp_id": Forgery(PASS, put("signatures", 0, "rp_id", value="evil.example"), Check.SIGNATURE),
    "another origin": Forgery(PASS, put("signatures", 0, "origins", value=["https://evil.example"]), Check.SIGNATURE),
    "backup eligible": Forgery(PASS, put("signatures", 0, "device", "is_backup_eligible", value=True), Check.SIGNATURE),
    "a device registered later": Forgery(
        PASS, put("signatures", 0, "device", "registered_at", value=evidence_time(after(61))), Check.SIGNATURE
    ),
    "a device that took a token": Forgery(
        PASS, put("comparisons", value=[{"judged_at": evidence_time(AT)}]), Check.SIGNATURE
    ),
    "a factor of none": Forgery(PASS, put("factor", "method", value="none"), Check.TOKEN),
    "a part missing": Forgery(TOKEN, take("policy"), Check.FORM),
    "a context that tells nothing": Forgery(TOKEN, put("context", value=None), Check.FORM),
    "an approver that is text": Forgery(TOKEN, put("approver", value="x"), Check.FORM),
    "a part more": Forgery(TOKEN, put("more", value=1), Check.FORM),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_under_the_right_seal_contradicts_itself(name: str) -> None:
    forgery = FORGERIES[name]
    report = checked(resealed(forgery.case, forgery.change))
    assert forgery.found in report.fails
    assert Check.SEAL in report.holds


@pytest.mark.parametrize("name", ["signature", "authenticator_data", "client_data_json", "credential_id"])
def test_every_part_of_a_passkeys_proof_counts(name: str) -> None:
    told = from_base64url(file_of(PASS)["record"]["signatures"][0]["proof"][name]) or b""
    for place in (0, len(told) // 2, len(told) - 1):
        flipped = told[:place] + bytes([told[place] ^ 1]) + told[place + 1 :]
        forged = resealed(PASS, put("signatures", 0, "proof", name, value=base64url(flipped)))
        assert Check.SIGNATURE in checked(forged).fails


def test_a_strangers_seal_is_told_only_with_the_deployments_keys() -> None:
    stranger = resealed(TOKEN, lambda record: None, OTHER)
    assert checked(stranger).fails == [Check.KEY]
    alone = check_evidence(json.dumps(stranger).encode(), [])
    assert (alone.fails, alone.is_key_known) == ([], None)
    assert alone.seal["fingerprint"] == fingerprint_of(public_key_of(OTHER))
    assert checked(stranger, PUBLIC_KEY, public_key_of(OTHER)).is_genuine


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"record": 1, "seal": {}}',
        b"[" * 100_000,
        b'{"record": {}, "record": {}, "seal": {}}',
    ],
)
def test_what_is_no_evidence_is_told_apart(text: bytes) -> None:
    with pytest.raises(EvidenceNotReadable):
        check_evidence(text, [])


def test_an_empty_record_holds_in_nothing_but_its_own_seal() -> None:
    report = checked(sealed({}, KEY, at=AT))
    assert report.holds == [Check.SEAL, Check.KEY]


def test_nothing_of_an_approval_prints() -> None:
    assert repr(approval_of(Kind.TED, None)) == "Approval"
