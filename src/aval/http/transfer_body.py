"""Bodies of transfer calls, and what a type alone cannot judge of them (transfers.md §2.3, §2.6, §3.1)."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import msgspec

from aval.domain.documents import is_cpf, is_ispb, normalized_document
from aval.domain.errors import SCHEMA_ERRORS_MAX, Refusal, schema_refusal
from aval.domain.ids import parse_uuid
from aval.domain.keyring import Keyring
from aval.domain.money import Brl
from aval.domain.text import clean
from aval.domain.transfer import Kind, Method, Payee
from aval.http.strict_json import amount_or_reason

ContactType = Literal["sms", "email", "device"]

_BRANCH = {"pix": re.compile(r"[0-9]{1,6}"), "ted": re.compile(r"[0-9]{1,4}")}
_NUMBER = re.compile(r"[0-9]{1,20}")
_DIGIT = re.compile(r"[0-9A-Za-z]")
_OWNER_CHARACTERS_MAX = {"pix": 150, "ted": 50}
_NO_AMOUNT = Brl(0)


class TfaInfo(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Who approves, and over what."""

    approver_document_number: str
    contact_type: ContactType
    session_id: str | None = None


class TargetAccount(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the money goes."""

    account_branch: str
    account_number: str
    account_digit: str
    owner_document_number: str
    owner_name: str
    ispb: str
    account_type: str


class ValidateBody(msgspec.Struct, forbid_unknown_fields=True):
    """The token of an operation approved by SMS or e-mail; nothing for a device."""

    token: str | None = None


class ResendBody(msgspec.Struct, forbid_unknown_fields=True):
    """The channel for this and later sends; absent = the current one."""

    contact_type: Literal["sms", "email"] | None = None


class Errors:
    """Collects what is wrong with a body, to tell it all at once; `place` is the part of the body being looked at."""

    def __init__(self) -> None:
        self.place = ""
        self._found: list[tuple[str, str]] = []

    @property
    def is_full(self) -> bool:
        """Whether more than is found already would not be told."""
        return len(self._found) >= SCHEMA_ERRORS_MAX

    def add(self, field: str, reason: str = "invalid_value") -> None:
        """Note one field; its value is never told."""
        self._found.append((self.place + field, reason))

    def raise_any(self) -> None:
        """Refuse the body if anything was noted."""
        if self._found:
            raise schema_refusal(*self._found)

    def amount(self, raw: msgspec.Raw, field: str) -> Brl:
        """An amount, from the exact text of its number."""
        amount = amount_or_reason(raw)
        if isinstance(amount, Brl):
            return amount
        self.add(field, amount)
        return _NO_AMOUNT

    def text(self, value: str, field: str, *, characters_max: int) -> str:
        """A line of text: trimmed, not empty, nothing invisible in it."""
        trimmed = clean(value)
        if not trimmed or len(trimmed) > characters_max:
            self.add(field)
        return trimmed or ""

    def uuid(self, value: str, field: str) -> UUID:
        """A version 4 UUID."""
        key = parse_uuid(value.strip(" "))
        if key is None:
            self.add(field)
        return key or UUID(int=0)

    def shaped(self, value: str, field: str, pattern: re.Pattern[str]) -> str:
        """A text of a certain form."""
        trimmed = value.strip(" ")
        if not pattern.fullmatch(trimmed):
            self.add(field)
        return trimmed


@dataclass(frozen=True, slots=True)
class Approver:
    """Who is to approve: the blind index of their CPF, the method, and of a device the session it is to open."""

    index: bytes
    method: Method
    session_id: UUID | None = None


def read_tfa_info(errors: Errors, info: TfaInfo | None, keyring: Keyring) -> Approver | None:
    """Check `tfa_info`; None if it is absent, which has its own code later in the order of checks."""
    if info is None:
        return None
    document = info.approver_document_number.strip(" ")
    if not is_cpf(document):
        errors.add("tfa_info.approver_document_number")
    session_id = None
    if info.contact_type == "device":
        if info.session_id is None:
            errors.add("tfa_info.session_id", "missing")
        else:
            session_id = errors.uuid(info.session_id, "tfa_info.session_id")
            info.session_id = str(session_id)
    elif info.session_id is not None:
        errors.add("tfa_info.session_id", "not_allowed")
    info.approver_document_number = document
    return Approver(keyring.index_of(f"cpf:{document}"), Method(info.contact_type), session_id)


def read_target(errors: Errors, account: TargetAccount, family: str, types: frozenset[str]) -> dict[str, str]:
    """Check and normalise `target_account`."""
    place = "target_account"
    document = normalized_document(account.owner_document_number.strip(" "))
    if document is None:
        errors.add(f"{place}.owner_document_number")
    if not is_ispb(account.ispb.strip(" ")):
        errors.add(f"{place}.ispb")
    if account.account_type not in types:
        errors.add(f"{place}.account_type")
    characters_max = _OWNER_CHARACTERS_MAX[family]
    account.account_branch = errors.shaped(account.account_branch, f"{place}.account_branch", _BRANCH[family])
    account.account_number = errors.shaped(account.account_number, f"{place}.account_number", _NUMBER)
    account.account_digit = errors.shaped(account.account_digit, f"{place}.account_digit", _DIGIT)
    account.owner_name = errors.text(account.owner_name, f"{place}.owner_name", characters_max=characters_max)
    account.owner_document_number = document or ""
    account.ispb = account.ispb.strip(" ")
    return msgspec.structs.asdict(account)


def payee_of_account(target: dict[str, str]) -> Payee:
    """The payee whom a request names by bank data."""
    return Payee(name=target["owner_name"], document=target["owner_document_number"], target_account=target)


def fingerprint_of(keyring: Keyring, *parts: bytes) -> bytes:
    """What tells one body from another; keyed, because a short token or a CPF could be found from a plain hash."""
    return keyring.index_of("body:" + hashlib.sha256(b"\0".join(parts)).hexdigest())


def canonical(body: msgspec.Struct) -> bytes:
    """A checked body without what does not matter: order of keys, spaces, `10` or `10.0`, null or absent.

    A check leaves every member in its one spelling, amounts as `one_spelling` writes them.
    """
    return msgspec.json.encode(body)


def one_spelling(amount: Brl) -> msgspec.Raw:
    """An amount's text in a canonical body."""
    return msgspec.Raw(amount.wire().encode())


def missing_tfa_info(kind: Kind) -> Refusal:
    """`tfa_info` is absent: told only after the account and idempotency were checked."""
    return Refusal(f"{kind.family}.tfa_info_required")
