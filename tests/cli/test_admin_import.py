"""`aval admin import`: every line judged, all or nothing, and the same file twice changes nothing."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from aval.cli import admin_import
from aval.domain.errors import Refusal
from aval.storage.keys_file import KeysFile
from tests.cli.conftest import Command

ACCOUNTS = "account_branch;account_number;account_digit;owner_document_number;owner_name\r\n"
APPROVERS = "document_number,name,phone,email,account_branch,account_number,account_digit,powers,max_amount\n"
TWO = ACCOUNTS + "0001;0012345;0;52998224725;Ana Lima\r\n0001;0012346;X;11222333000181;Padaria\r\n"
ANA = "52998224725,Ana Lima,+5511987654321,ana@example.com,0001,0012345,0,pix_transfer ted,1580.50\n"
ANA_TOO = "52998224725,Ana Lima,,,0001,0012346,X,ted,\n"
Import = Callable[..., dict[str, Any]]


@pytest.fixture
def integrator(command: Command, keys: KeysFile) -> str:
    keys.create()
    new = ["--name", "Loja", "--ispb", "12345678", "--mode", "live"]
    made = command("admin", "integrators", "create", *new, "--json")
    return json.loads(made.stdout)["integrator_key"]


@pytest.fixture
def imported(command: Command, integrator: str, tmp_path: Path) -> Import:
    """Import a text and read the report."""

    def run(kind: str, content: str | bytes, *options: str, code: int = 0) -> dict[str, Any]:
        file = tmp_path / "file.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8-sig"))
        ended = command("admin", "import", kind, str(file), "--integrator", integrator, *options, "--json")
        assert ended.exit_code == code, ended.output
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def fetch(dsn: str) -> Callable[[str], list[tuple[Any, ...]]]:
    async def rows(query: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(dsn)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return lambda query: asyncio.run(rows(query))


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in ("new", "unchanged", "imported", "bad_lines"))


def test_accounts_are_made_once_and_audited(imported: Import, fetch):
    assert counts(imported("accounts", TWO, "--dry-run")) == (2, 0, 0, 0)
    assert fetch("select from accounts") == []
    assert counts(imported("accounts", TWO)) == (2, 0, 2, 0)
    assert fetch("select actor from audit where action = 'account.created'") == [("admin:command-line",)] * 2
    assert counts(imported("accounts", TWO)) == (0, 2, 0, 0)
    stored = "select account_number, account_digit, owner_document_number from accounts order by 1"
    assert fetch(stored) == [("0012345", "0", "52998224725"), ("0012346", "X", "11222333000181")]


def test_nothing_is_imported_while_a_line_is_bad_unless_told_to(imported: Import, fetch):
    mixed = TWO + "0001;0012347;0;52998224724;Eva\r\n"
    refused = imported("accounts", mixed, code=2)
    assert counts(refused) == (2, 0, 0, 1) and fetch("select from accounts") == []
    reason = "is no CPF or CNPJ with the right check digits"
    assert refused["bad"] == [{"line": 4, "column": "owner_document_number", "reason": reason}]
    assert counts(imported("accounts", mixed, "--dry-run", code=2)) == (2, 0, 0, 1)
    assert counts(imported("accounts", mixed, "--skip-bad")) == (2, 0, 2, 1)
    assert counts(imported("accounts", mixed, "--skip-bad")) == (0, 2, 0, 1)


def test_a_file_that_cannot_be_read_to_its_end_is_not_skipped_over(imported: Import, fetch):
    broken = TWO.encode() + b'0001;0012347;0;52998224725;"Eva\r\n'
    assert imported("accounts", broken, "--skip-bad", code=2)["bad"][0]["line"] == 4
    latin = imported("accounts", TWO.replace("Padaria", "José").encode("latin-1"), "--skip-bad", code=2)
    assert "is not UTF-8" in latin["bad"][0]["reason"]
    assert fetch("select from accounts") == []


def test_a_line_that_contradicts_what_exists_is_bad_and_changes_nothing(imported: Import, fetch):
    imported("accounts", TWO)
    key = str(fetch("select account_id from accounts where account_digit = '0'")[0][0])
    head = ACCOUNTS.strip() + ";account_key;account_status\r\n"
    other = head + f"0001;0012345;0;52998224725;Ana Maria;;blocked\r\n0009;1;0;52998224725;Ana;{key};\r\n"
    found = imported("accounts", other, code=2)["bad"]
    assert [(fault["line"], fault["column"]) for fault in found] == [
        (2, "account_status"),
        (2, "owner_name"),
        (3, "account_key"),
    ]
    same = head + f"0001;0012345;0;52998224725;Ana Lima;{key};open\r\n"
    assert counts(imported("accounts", same)) == (0, 1, 0, 0)


def test_approvers_come_with_contacts_and_powers_and_only_once(imported: Import, fetch):
    imported("accounts", TWO)
    assert counts(imported("approvers", APPROVERS + ANA + ANA_TOO)) == (1, 0, 1, 0)
    assert counts(imported("approvers", APPROVERS + ANA + ANA_TOO)) == (0, 1, 0, 0)
    assert fetch("select contact_type, masked_destination from contacts order by 1") == [
        ("email", "a***@example.com"),
        ("sms", "+55 11 *****-4321"),
    ]
    granted = fetch("select powers, max_amount_centavos from account_approvers order by 2")
    assert granted == [(["pix_transfer", "ted"], 158_050), (["ted"], None)]
    acts = (
        "select action, count(*) from audit where action like any('{approver%,contact%,powers%}') group by 1 order by 1"
    )
    assert fetch(acts) == [("approver.created", 1), ("contact.registered", 2), ("powers.granted", 2)]
    written = str(fetch("select audit::text from audit"))
    assert "52998224725" not in written and "987654321" not in written


def test_one_account_named_in_two_ways_is_one_account(imported: Import, fetch):
    """Else the last line would silently decide what the approver may do."""
    key = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
    imported("accounts", f"account_key;{ACCOUNTS}{key};0001;0012345;0;11222333000181;Oficina\r\n")
    header = APPROVERS.strip().replace("account_branch", "account_key,account_branch")
    by_bank = ANA.replace("0001,0012345", ",0001,0012345")
    by_key = f"52998224725,Ana Lima,,,{key},,,,ted,9999999.99\n"
    found = imported("approvers", f"{header}\n{by_bank}{by_key}", code=2)["bad"]
    assert [(fault["line"], fault["column"]) for fault in found] == [(3, "powers")]
    assert fetch("select count(*) from account_approvers") == [(0,)]


def test_an_import_of_approvers_goes_on_where_it_ended(imported: Import, fetch, command: Command, integrator: str):
    imported("accounts", TWO)
    person = ["--document-number", "52998224725", "--name", "Ana Lima"]
    command("admin", "approvers", "create", "--integrator", integrator, *person)
    assert counts(imported("approvers", APPROVERS + ANA)) == (1, 0, 1, 0)
    assert fetch("select count(*) from approvers") == [(1,)]
    assert fetch("select count(*) from contacts where removed_at is null") == [(2,)]
    assert counts(imported("approvers", APPROVERS + ANA + ANA_TOO)) == (1, 0, 1, 0)
    assert fetch("select count(*) from account_approvers") == [(2,)]


def test_approvers_that_contradict_the_registry_are_bad(imported: Import, fetch):
    imported("accounts", TWO)
    imported("approvers", APPROVERS + ANA)
    other = ANA.replace("Ana Lima", "Eva").replace("54321", "54322").replace("ana@", "eva@")
    found = imported("approvers", APPROVERS + other, code=2)["bad"]
    assert {fault["column"] for fault in found} == {"name", "phone", "email"}
    powers = ANA.replace("pix_transfer ted", "ted")
    unknown = ANA_TOO.replace("0012346", "99")
    found = imported("approvers", APPROVERS + powers + unknown, code=2)["bad"]
    assert [(fault["line"], fault["column"]) for fault in found] == [(2, "powers"), (3, "account_number")]
    switched = "document_number,name,active\n52998224725,Ana Lima,FALSE\n"
    assert [fault["column"] for fault in imported("approvers", switched, code=2)["bad"]] == ["active"]
    assert fetch("select count(*) from audit where action like 'contact%'") == [(2,)]
    assert "98765" not in json.dumps(found)


def test_what_another_hand_changed_meanwhile_is_told_and_the_rest_goes_on(
    imported: Import, monkeypatch: pytest.MonkeyPatch
):
    real = admin_import.create_account

    async def raced(db: Any, **given: Any) -> Any:
        if given["data"].account_digit == "0":
            raise Refusal("qit.conflict")
        return await real(db, **given)

    monkeypatch.setattr(admin_import, "create_account", raced)
    report = imported("accounts", TWO, code=1)
    assert counts(report) == (2, 0, 1, 1) and "run it again" in report["bad"][0]["reason"]


def test_people_see_a_table_and_programs_all_of_it(command: Command, integrator: str, tmp_path: Path):
    file = tmp_path / "bad.csv"
    file.write_text(
        ACCOUNTS + "".join(f"1;{n};0;52998224725;Ana\r\n" for n in range(admin_import.FAULTS_SHOWN_MAX + 3))
    )
    ended = command("admin", "import", "accounts", str(file), "--integrator", integrator)
    assert ended.exit_code == 2 and "fewer than 4 digits" in ended.stdout
    assert "3 more are shown with --json." in ended.stderr and "Nothing was imported" in ended.stderr
    assert "52998224725" not in ended.output


def test_a_file_or_an_integrator_that_is_none_is_a_sentence(command: Command, integrator: str, tmp_path: Path):
    nobody = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
    missing = command("admin", "import", "accounts", str(tmp_path / "none.csv"), "--integrator", integrator)
    file = tmp_path / "file.csv"
    file.write_text("nonsense")
    nonsense = command("admin", "import", "accounts", str(file), "--integrator", integrator)
    assert nonsense.exit_code == 2 and "Nothing was imported: mend the lines above.\n" in nonsense.stderr
    assert (missing.exit_code, "FILE must be a file" in missing.stderr) == (2, True)
    file.write_text(TWO)
    unknown = command("admin", "import", "accounts", str(file), "--integrator", nobody)
    assert (unknown.exit_code, "Nothing was found" in unknown.stderr) == (2, True)
