"""Lines of a file of accounts, judged as the administration judges an account (transfers.md §8)."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

from aval.domain.documents import is_cpf, normalized_document
from aval.domain.ids import parse_uuid
from aval.domain.sheet import Fault, Line
from aval.domain.text import clean

REQUIRED = ("account_branch", "account_number", "account_digit", "owner_document_number", "owner_name")
OPTIONAL = ("account_key", "account_status")
NAME_CHARACTERS_MAX = 150
BRANCH_DIGITS = 4  # of every bank in Brazil; a shorter one has gone through a spreadsheet

ZEROS_LOST = "has lost its leading zeros; format the column as text and fill it in again"
PUNCTUATION = "has punctuation; digits alone are taken"

BankData = tuple[str, str, str]  # branch, number, digit
Check = Callable[[str], str | None]  # the reason against a value


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account of a file; what is None was not given."""

    number: int
    bank_data: BankData
    owner_document_number: str = field(repr=False)
    owner_name: str = field(repr=False)
    account_key: UUID | None
    account_status: str | None


def judge_accounts(lines: Iterable[Line]) -> tuple[list[AccountLine], list[Fault]]:
    """Tell good lines from faults; a second line of the same account is one."""
    good: list[AccountLine] = []
    faults: list[Fault] = []
    seen: dict[object, int] = {}
    for line in lines:
        found = list(cell_faults(line, CHECKS))
        if not found:
            account = _account_of(line)
            found = list(_repeated(account, seen))
            good += [] if found else [account]
        faults += found
    return good, faults


def cell_faults(line: Line, checks: dict[str, Check]) -> Iterator[Fault]:
    """What single cells of a line are wrong."""
    for name, cell in line.cells.items():
        reason = checks[name](cell)
        if reason is not None:
            yield Fault(line.number, name, reason)


def bank_data_of(line: Line) -> BankData:
    """The bank data of a line that has them all."""
    return line.cells["account_branch"], line.cells["account_number"], line.cells["account_digit"]


def _account_of(line: Line) -> AccountLine:
    document = normalized_document(line.cells["owner_document_number"])
    assert document is not None
    return AccountLine(
        number=line.number,
        bank_data=bank_data_of(line),
        owner_document_number=document,
        owner_name=line.cells["owner_name"],
        account_key=parse_uuid(line.cells["account_key"]) if "account_key" in line.cells else None,
        account_status=line.cells.get("account_status"),
    )


def _repeated(account: AccountLine, seen: dict[object, int]) -> Iterator[Fault]:
    for name, value in (("account_number", account.bank_data), ("account_key", account.account_key)):
        if value is not None and seen.setdefault(value, account.number) != account.number:
            yield Fault(account.number, name, f"is that of line {seen[value]} again")


def branch_reason(text: str) -> str | None:
    """Judge a branch."""
    if re.fullmatch("[0-9]{1,3}", text):
        return f"has fewer than {BRANCH_DIGITS} digits: perhaps it {ZEROS_LOST}"
    return None if re.fullmatch("[0-9]{4,6}", text) else "is not 4 to 6 digits"


def name_reason(text: str) -> str | None:
    """Judge a name."""
    if clean(text) != text:
        return "has invisible characters"
    return None if len(text) <= NAME_CHARACTERS_MAX else f"is longer than {NAME_CHARACTERS_MAX} characters"


def cpf_reason(text: str) -> str | None:
    """Judge a CPF."""
    if is_cpf(text):
        return None
    return _document_reason(text, 11) or "is no CPF: 11 digits with the right check digits"


def owner_reason(text: str) -> str | None:
    """Judge a CPF or CNPJ."""
    if normalized_document(text):
        return None
    return _document_reason(text, 11, 14) or "is no CPF or CNPJ with the right check digits"


def key_reason(text: str) -> str | None:
    """Judge a key."""
    return None if parse_uuid(text) else "is no version 4 UUID"


def _document_reason(text: str, *lengths: int) -> str | None:
    bare = re.sub("[./ -]", "", text)
    if bare != text and len(bare) in lengths:
        return PUNCTUATION
    longer = [length for length in lengths if length > len(text)]
    if text.isascii() and text.isdigit() and any(normalized_document(text.zfill(length)) for length in longer):
        return ZEROS_LOST
    return None


CHECKS: dict[str, Check] = {
    "account_branch": branch_reason,
    "account_number": lambda text: None if re.fullmatch("[0-9]{1,20}", text) else "is not 1 to 20 digits",
    "account_digit": lambda text: None if re.fullmatch("[0-9A-Za-z]", text) else "is not one digit or letter",
    "owner_document_number": owner_reason,
    "owner_name": name_reason,
    "account_key": key_reason,
    "account_status": lambda text: None if text in {"open", "blocked", "closed"} else "is not open, blocked or closed",
}
