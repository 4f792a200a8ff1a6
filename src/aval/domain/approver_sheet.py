"""Lines of a file of approvers: one for each account a person may approve on, contacts beside the name."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from aval.domain.account_sheet import CHECKS as ACCOUNT_CHECKS
from aval.domain.account_sheet import BankData, Check, bank_data_of, cell_faults, cpf_reason, name_reason
from aval.domain.contact import normalized_email, normalized_phone
from aval.domain.ids import parse_uuid
from aval.domain.money import AmountError, Brl
from aval.domain.sheet import Fault, Line

REQUIRED = ("document_number", "name")
BANK_COLUMNS = ("account_branch", "account_number", "account_digit")
OPTIONAL = ("active", "phone", "email", "account_key", *BANK_COLUMNS, "powers", "max_amount")
POWERS = ("pix_transfer", "pix_transfer_batch", "ted", "ted_batch")
PERSONAL = ("name", "active", "phone", "email")  # the same on every line of a person

_TRUTH = {"true": True, "verdadeiro": True, "false": False, "falso": False}
_BETWEEN = re.compile(r"[\s|,;]+")


@dataclass(frozen=True, slots=True)
class GrantLine:
    """Powers on one account, named by key or bank data."""

    number: int
    account: UUID | BankData
    powers: tuple[str, ...]
    max_amount: Brl | None


@dataclass(frozen=True, slots=True)
class ApproverLines:
    """One person of a file, and the accounts of all their lines."""

    number: int
    document_number: str = field(repr=False)
    name: str = field(repr=False)
    active: bool | None
    contacts: dict[Literal["sms", "email"], str] = field(repr=False)
    grants: list[GrantLine]


def judge_approvers(lines: Iterable[Line]) -> tuple[list[ApproverLines], list[Fault]]:
    """Gather good lines by person, and tell faults; lines of a person must agree on name and contacts."""
    people: dict[str, ApproverLines] = {}
    first: dict[str, Line] = {}
    granted: dict[tuple[str, UUID | BankData], int] = {}  # the line of a person's powers on an account
    faults: list[Fault] = []
    for line in lines:
        found = [*cell_faults(line, CHECKS), *_account_faults(line)]
        document = line.cells["document_number"]
        if not found and document in people:
            found = list(_disagreements(line, first[document], granted))
        if found:
            faults += found
        elif document in people:
            people[document].grants.extend(_grants_of(line))
        else:
            first[document] = line
            people[document] = _person_of(line)
        if not found and "powers" in line.cells:
            granted[document, _account_of(line)] = line.number
    return list(people.values()), faults


def _person_of(line: Line) -> ApproverLines:
    cells = line.cells
    contacts: dict[Literal["sms", "email"], str] = {}
    if "phone" in cells:
        contacts["sms"] = cells["phone"]
    if "email" in cells:
        contacts["email"] = normalized_email(cells["email"]) or ""
    return ApproverLines(
        number=line.number,
        document_number=cells["document_number"],
        name=cells["name"],
        active=_TRUTH[cells["active"].lower()] if "active" in cells else None,
        contacts=contacts,
        grants=_grants_of(line),
    )


def _grants_of(line: Line) -> list[GrantLine]:
    if "powers" not in line.cells:
        return []
    amount = line.cells.get("max_amount")
    return [
        GrantLine(
            number=line.number,
            account=_account_of(line),
            powers=tuple(sorted(set(_BETWEEN.split(line.cells["powers"])))),
            max_amount=None if amount is None else Brl.parse(amount),
        )
    ]


def _account_of(line: Line) -> UUID | BankData:
    key = parse_uuid(line.cells.get("account_key", ""))
    return bank_data_of(line) if key is None else key


def _account_faults(line: Line) -> Iterator[Fault]:
    bank = [name for name in BANK_COLUMNS if name in line.cells]
    if bank and "account_key" in line.cells:
        yield Fault(line.number, "account_key", "stands beside bank data; one of both names the account")
    if bank and len(bank) < len(BANK_COLUMNS):
        absent = next(name for name in BANK_COLUMNS if name not in line.cells)
        yield Fault(line.number, absent, "is missing beside the other bank data")
    has_account = bool(bank) or "account_key" in line.cells
    if has_account and "powers" not in line.cells:
        yield Fault(line.number, "powers", "is missing beside the account")
    for name in ("powers", "max_amount"):
        if name in line.cells and not has_account:
            yield Fault(line.number, name, "names no account")


def _disagreements(line: Line, first: Line, granted: Mapping[tuple[str, UUID | BankData], int]) -> Iterator[Fault]:
    for name in PERSONAL:
        if line.cells.get(name, first.cells.get(name)) != first.cells.get(name):
            yield Fault(line.number, name, f"differs from line {first.number}, which is the same person")
    if "powers" not in line.cells:
        yield Fault(line.number, "document_number", f"is that of line {first.number} again")
    else:
        same = granted.get((line.cells["document_number"], _account_of(line)))
        if same is not None:
            yield Fault(line.number, "powers", f"is for the account of line {same} again")


def _phone_reason(text: str) -> str | None:
    if normalized_phone(text):
        return None
    if normalized_phone(f"+{text}"):
        return "has lost its leading +; format the column as text and fill it in again"
    return "is no Brazilian mobile number such as +5511987654321"


def _powers_reason(text: str) -> str | None:
    is_known = all(power in POWERS for power in _BETWEEN.split(text))
    return None if is_known else f"must be some of {', '.join(POWERS)}, with spaces between"


def _amount_reason(text: str) -> str | None:
    try:
        Brl.parse(text)
    except AmountError:
        return "is no amount above zero such as 1580.50, with a point and no separator of thousands"
    return None


CHECKS: dict[str, Check] = {
    "document_number": cpf_reason,
    "name": name_reason,
    "active": lambda text: None if text.lower() in _TRUTH else "is not true or false",
    "phone": _phone_reason,
    "email": lambda text: None if normalized_email(text) else "is no plain address such as ana@example.com",
    **{name: ACCOUNT_CHECKS[name] for name in ("account_key", *BANK_COLUMNS)},
    "powers": _powers_reason,
    "max_amount": _amount_reason,
}
