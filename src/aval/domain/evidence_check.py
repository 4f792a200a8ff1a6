"""Check a file of evidence with nothing but the file and, if at hand, the deployment's public keys."""

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from aval.domain.device import CredentialType, DeviceCredential, DeviceDecision, RelyingParty
from aval.domain.device_proof import DeviceSignature, device_challenge, from_base64url, verified
from aval.domain.evidence import ALGORITHM, FORMAT, fingerprint_of, message_of
from aval.domain.transfer import canonical

FILE_BYTES_MAX = 16_777_216  # a thousand items and their names are below two million

MEMBERS = {"format", "record", "seal"}
RECORD_MEMBERS = {
    *("operation", "shown", "approver", "factor", "policy", "comparisons", "signatures", "approved_at", "audit"),
    *("is_intact", "context"),
}
OBJECTS = ("operation", "shown", "approver", "factor", "policy", "context")

Record = Mapping[str, Any]


class Check(StrEnum):
    """What is checked, in this order."""

    FORM = "form"
    SEAL = "seal"
    KEY = "key"
    DETAILS = "details"
    ITEMS = "items"
    TIMES = "times"
    AUDIT = "audit"
    INTACT = "intact"
    TOKEN = "token"
    SIGNATURE = "signature"


class EvidenceNotReadable(Exception):
    """The file is not one of evidence at all."""


class EvidenceReport:
    """What a check came to: `holds` and `fails` name checks, `is_key_known` is None where no keys were given."""

    def __init__(self, file: Mapping[str, Any], is_key_known: bool | None) -> None:
        self.record: Record = file["record"]
        self.seal: Record = file["seal"]
        self.is_key_known = is_key_known
        self.holds: list[Check] = []
        self.fails: list[Check] = []

    @property
    def is_genuine(self) -> bool:
        """Whether nothing that was checked failed."""
        return not self.fails

    def note(self, check: Check, judge: Callable[[], bool]) -> None:
        """Run a check; one that cannot be run over what the file says has failed."""
        try:
            is_held = judge()
        except Exception:  # noqa: BLE001 – whatever is missing or misshapen in a changed file is one answer
            is_held = False
        (self.holds if is_held else self.fails).append(check)


def read_file(text: bytes) -> dict[str, Any]:
    """The file as a value; raises EvidenceNotReadable."""
    try:
        file = json.loads(text.decode(), object_pairs_hook=_without_repetition, parse_float=_no_float)
    except (ValueError, RecursionError):
        raise EvidenceNotReadable from None
    is_one = isinstance(file, dict) and isinstance(file.get("record"), dict) and isinstance(file.get("seal"), dict)
    if not is_one or len(text) > FILE_BYTES_MAX:
        raise EvidenceNotReadable
    made: dict[str, Any] = file
    return made


def check_evidence(text: bytes, public_keys: Collection[bytes]) -> EvidenceReport:
    """Check everything that can be checked offline; without public keys nobody says whose seal it is.

    Raises EvidenceNotReadable.
    """
    file = read_file(text)
    key = _key_of(file)
    report = EvidenceReport(file, key in public_keys if public_keys else None)
    record = report.record
    report.note(Check.FORM, lambda: file["format"] == FORMAT and set(file) == MEMBERS and _is_record(record))
    report.note(Check.SEAL, lambda: _is_sealed(file, key))
    if public_keys:
        report.note(Check.KEY, lambda: key in public_keys)
    report.note(Check.DETAILS, lambda: _are_details_whole(record))
    report.note(Check.ITEMS, lambda: _are_items_whole(record["shown"]))
    report.note(Check.TIMES, lambda: _are_times_in_order(record, report.seal))
    report.note(Check.AUDIT, lambda: _is_audited(record))
    report.note(Check.INTACT, lambda: record["is_intact"] is True)
    if _method_of(record) == "device":
        report.note(Check.SIGNATURE, lambda: _is_signed(record))
    else:
        report.note(Check.TOKEN, lambda: _is_token_judged(record))
    return report


def _is_record(record: Record) -> bool:
    return set(record) == RECORD_MEMBERS and all(isinstance(record[name], dict) for name in OBJECTS)


def _key_of(file: Mapping[str, Any]) -> bytes:
    text = file["seal"].get("public_key")
    return (from_base64url(text) if isinstance(text, str) else None) or b""


def _is_sealed(file: Mapping[str, Any], key: bytes) -> bool:
    seal = file["seal"]
    signature = from_base64url(seal["signature"])
    if seal["algorithm"] != ALGORITHM or seal["fingerprint"] != fingerprint_of(key) or signature is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message_of(file))
    except InvalidSignature:
        return False
    return True


def _are_details_whole(record: Record) -> bool:
    operation, details = record["operation"], record["shown"]["details"]
    same = ("operation", "operation_key", "account_key")
    digest = hashlib.sha256(canonical(details)).hexdigest()
    return digest == operation["details_digest"] and all(details[name] == operation[name] for name in same)


def _are_items_whole(shown: Record) -> bool:
    details, items = shown["details"], shown["items"]
    if items is None:
        return details.get("items_digest") is None
    total = sum((_centavos(item["amount"]) for item in items), 0)
    is_whole = details["items_digest"] == hashlib.sha256(canonical(items)).hexdigest()
    return is_whole and details["item_count"] == len(items) and total == _centavos(details["amount"])


def _centavos(amount: str) -> int:
    return int(amount.replace(".", ""))  # two decimals always, and a total may be above what one transfer may be


def _are_times_in_order(record: Record, seal: Record) -> bool:
    approved_at, deadline = _time(record["approved_at"]), _time(record["policy"]["approval_deadline"])
    noted = [_time(each["at"]) for each in record["audit"]]
    noted += [_time(each["decided_at"]) for each in record["signatures"]]
    noted += [_time(each["judged_at"]) for each in record["comparisons"]]
    requested_at = _time(record["operation"]["requested_at"])
    are_between = all(requested_at <= at <= approved_at for at in noted)
    return are_between and requested_at <= approved_at <= _time(seal["sealed_at"]) and approved_at < deadline


def _is_audited(record: Record) -> bool:
    """The approval has its one row of audit, of the same moment and of the same details."""
    (row,) = [
        each
        for each in record["audit"]
        if each["action"] == "operation.judged" and each["details"]["status"] in ("pending", "approved")
    ]
    details = row["details"]
    told = (details["details_digest"], details["method"], row["at"])
    return told == (record["operation"]["details_digest"], record["factor"]["method"], record["approved_at"])


def _is_token_judged(record: Record) -> bool:
    """Comparisons in their order, the last one right, of the token that lived then, within the attempts."""
    factor, policy, comparisons = record["factor"], record["policy"], record["comparisons"]
    numbers = [each["comparison_no"] for each in comparisons]
    verdicts = [each["verdict"] for each in comparisons]
    last, generation = comparisons[-1], factor["generation"]
    are_counted = numbers == list(range(1, len(numbers) + 1)) and len(numbers) <= policy["attempts_max"]
    is_right = verdicts[-1] == "right" and "right" not in verdicts[:-1]
    is_live = (
        last["generation"] == generation == len(policy["alphabets"]) and last["judged_at"] == record["approved_at"]
    )
    is_of_alphabet = last["alphabet"] == policy["alphabets"][-1]
    issued_at, expires_at = _time(factor["issued_at"]), _time(factor["expires_at"])
    is_lifetime = (expires_at - issued_at).total_seconds() == policy["token_lifetime_seconds"]
    is_in_time = issued_at <= _time(last["judged_at"]) < expires_at and is_lifetime
    has_no_device = record["signatures"] == [] and factor["method"] in ("sms", "email")
    return all((are_counted, is_right, is_live, is_of_alphabet, is_in_time, has_no_device))


def _is_signed(record: Record) -> bool:
    """Every signature is over what was shown; the last one approves, and is the factor's."""
    signatures: Sequence[Record] = record["signatures"]
    factor, last = record["factor"], signatures[-1]
    is_last = (last["device_key"], last["nonce"]) == (factor["device_key"], factor["nonce"])
    has_no_token = record["comparisons"] == []
    is_each = all([_is_signature(each, record["shown"]["details"]) for each in signatures])
    return is_each and is_last and has_no_token and all(each["decision"] == "approve" for each in signatures)


def _is_signature(signature: Record, details: Record) -> bool:
    """Raises ProofRefused for a signature that is not the key's, over these details, where it was accepted."""
    challenge = device_challenge(DeviceDecision(signature["decision"]), signature["nonce"], details)
    device, told = signature["device"], signature["proof"]
    kind = CredentialType(device["type"])
    credential = DeviceCredential(
        type=kind,
        public_key=_bytes(device["public_key"]),
        credential_id=None if device["credential_id"] is None else _bytes(device["credential_id"]),
        is_backup_eligible=device["is_backup_eligible"],
    )
    proof = DeviceSignature(
        kind,
        _bytes(told["signature"]),
        *(
            _bytes(told[name]) if name in told else None
            for name in ("credential_id", "authenticator_data", "client_data_json")
        ),
    )
    party = RelyingParty(signature["rp_id"], signature["origins"])
    verified(credential, proof, challenge=challenge, party=party)
    is_registered = _time(device["registered_at"]) <= _time(signature["decided_at"])
    return challenge == _bytes(signature["challenge"]) and is_registered


def _bytes(text: str) -> bytes:
    data = from_base64url(text)
    assert data is not None
    return data


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _no_float(_: str) -> NoReturn:
    """No file of ours holds one: amounts are texts, all other numbers are whole."""
    raise ValueError


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise EvidenceNotReadable
    return members


def _method_of(record: Record) -> object:
    factor = record.get("factor")
    return factor.get("method") if isinstance(factor, dict) else None
