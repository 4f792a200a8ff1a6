"""Lines of accounts."""

import pytest

from aval.domain.account_sheet import PUNCTUATION, ZEROS_LOST, judge_accounts
from aval.domain.sheet import Fault, Line

GOOD = {
    "account_branch": "0001",
    "account_number": "0012345",
    "account_digit": "X",
    "owner_document_number": "52998224725",
    "owner_name": "Ana Lima",
}
KEY = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"


def test_a_good_line_becomes_an_account_with_its_leading_zeros():
    (account,), faults = judge_accounts([Line(2, GOOD | {"owner_document_number": "12abc34501de35"})])
    assert faults == [] and account.bank_data == ("0001", "0012345", "X")
    assert account.owner_document_number == "12ABC34501DE35"
    assert (account.account_key, account.account_status) == (None, None)


BAD = [
    ("account_branch", "1", f"has fewer than 4 digits: perhaps it {ZEROS_LOST}"),
    ("account_branch", "1234567", "is not 4 to 6 digits"),
    ("account_number", "12-3", "is not 1 to 20 digits"),
    ("account_digit", "10", "is not one digit or letter"),
    ("owner_document_number", "52998224724", "is no CPF or CNPJ with the right check digits"),
    ("owner_document_number", "529.982.247-25", PUNCTUATION),
    ("owner_document_number", "11.222.333/0001-81", PUNCTUATION),
    ("owner_document_number", "191", ZEROS_LOST),
    ("owner_document_number", "1191", "is no CPF or CNPJ with the right check digits"),
    ("owner_name", "Ana\u202e", "has invisible characters"),
    ("owner_name", "x" * 151, "is longer than 150 characters"),
    ("account_key", "7", "is no version 4 UUID"),
    ("account_status", "aberta", "is not open, blocked or closed"),
]


@pytest.mark.parametrize(("column", "value", "reason"), BAD)
def test_a_bad_cell_is_told_without_its_value(column: str, value: str, reason: str):
    accounts, faults = judge_accounts([Line(2, GOOD | {column: value})])
    assert (accounts, faults) == ([], [Fault(2, column, reason)])
    assert len(value) < 8 or value not in reason


def test_an_account_comes_once():
    other = GOOD | {"account_number": "2", "account_key": KEY}
    lines = [GOOD, other, GOOD, other | {"account_number": "3"}]
    accounts, faults = judge_accounts(Line(number, cells) for number, cells in enumerate(lines, 2))
    assert [account.number for account in accounts] == [2, 3]
    told = [Fault(4, "account_number", "is that of line 2 again"), Fault(5, "account_key", "is that of line 3 again")]
    assert faults == told
