"""Lines of approvers: a person may have several, one for each account."""

from uuid import UUID

import pytest

from aval.domain.approver_sheet import judge_approvers
from aval.domain.money import Brl
from aval.domain.sheet import Fault, Line

KEY = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
ANA = {"document_number": "52998224725", "name": "Ana Lima"}
BANK = {"account_branch": "0001", "account_number": "12345", "account_digit": "0", "powers": "ted"}


def judged(*lines: dict[str, str]):
    return judge_approvers(Line(number, cells) for number, cells in enumerate(lines, 2))


def test_lines_of_one_person_are_gathered():
    contacts = {"phone": "+5511987654321", "email": "ana@Example.com", "active": "VERDADEIRO"}
    powers = {"account_key": KEY, "powers": "ted|pix_transfer, ted", "max_amount": "1580.50"}
    (ana,), faults = judged(ANA | contacts | BANK, ANA | powers)
    assert faults == [] and ana.contacts == {"sms": "+5511987654321", "email": "ana@example.com"}
    assert ana.active is True
    first, second = ana.grants
    assert (first.account, first.powers, first.max_amount) == (("0001", "12345", "0"), ("ted",), None)
    assert (second.account, second.powers) == (UUID(KEY), ("pix_transfer", "ted"))
    assert second.max_amount == Brl(158_050)


BAD = [
    ({"document_number": "52998224724"}, "document_number", "is no CPF"),
    ({"document_number": "11222333000181"}, "document_number", "is no CPF"),
    ({"document_number": "191"}, "document_number", "has lost its leading zeros"),
    ({"phone": "5511987654321"}, "phone", "has lost its leading +"),
    ({"phone": "+551132654321"}, "phone", "is no Brazilian mobile number"),
    ({"email": "ana@@example.com"}, "email", "is no plain address"),
    ({"active": "perhaps"}, "active", "is not true or false"),
    (BANK | {"powers": "everything"}, "powers", "must be some of"),
    (BANK | {"max_amount": "1.580,50"}, "max_amount", "is no amount"),
    (BANK | {"max_amount": "0"}, "max_amount", "is no amount"),
    ({"powers": "ted"}, "powers", "names no account"),
    ({"account_key": KEY}, "powers", "is missing beside the account"),
    (BANK | {"account_key": KEY}, "account_key", "stands beside bank data"),
    ({"account_branch": "0001", "account_digit": "0", "powers": "ted"}, "account_number", "is missing beside"),
]


@pytest.mark.parametrize(("change", "column", "reason"), BAD)
def test_a_bad_cell_is_told_without_its_value(change: dict[str, str], column: str, reason: str):
    people, (fault,) = judged(ANA | change)
    assert people == [] and (fault.line, fault.column) == (2, column)
    assert fault.reason.startswith(reason)
    assert not any(len(value) > 8 and value in fault.reason for value in change.values())


def test_a_person_may_come_without_contacts_and_powers():
    (ana,), faults = judged(ANA)
    assert (faults, ana.contacts, ana.grants, ana.active) == ([], {}, [], None)


def test_lines_of_one_person_agree():
    same = "which is the same person"
    people, faults = judged(ANA | BANK, ANA | BANK, ANA, ANA | {"name": "Bia", "account_key": KEY, "powers": "ted"})
    assert len(people) == 1 and len(people[0].grants) == 1
    assert faults == [
        Fault(3, "powers", "is for the account of line 2 again"),
        Fault(4, "document_number", "is that of line 2 again"),
        Fault(5, "name", f"differs from line 2, {same}"),
    ]
