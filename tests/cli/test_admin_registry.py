"""`aval admin` for integrators and what belongs to them, against a real database."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from aval.storage.database import DatabaseUnavailable, LockNotWon
from aval.storage.keys_file import KeysFile
from tests.cli.conftest import Command

CPF = "11144477735"
PHONE = "+5511987654321"
UNKNOWN = "7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264"
Do = Callable[..., Any]


@pytest.fixture
def admin(command: Command, keys: KeysFile):
    """Run `aval admin … --json` and read its document."""
    keys.create()

    def run(*words: str) -> Any:
        ended = command("admin", *words, "--json")
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    return run


@pytest.fixture
def integrator(admin: Do) -> str:
    return admin("integrators", "create", "--name", "Loja", "--ispb", "12345678", "--mode", "sandbox")["integrator_key"]


def rows(dsn: str, query: str) -> list[Any]:
    async def fetch() -> list[Any]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def account_of(admin: Do, integrator: str, number: str = "0012345") -> str:
    bank = ["--account-branch", "0001", "--account-number", number, "--account-digit", "0"]
    owner = ["--owner-document-number", "11222333000181", "--owner-name", "Padaria"]
    return admin("accounts", "create", "--integrator", integrator, *bank, *owner)["account_key"]


def approver_of(admin: Do, integrator: str) -> str:
    person = ["--document-number", CPF, "--name", "Ana Lima"]
    return admin("approvers", "create", "--integrator", integrator, *person)["approver_key"]


def test_an_integrator_is_made_changed_and_listed(admin: Do, integrator: str):
    changed = admin(
        *("integrators", "change", "--integrator", integrator, "--max-resends", "2", "--token-alphabet", "ted=digits"),
        *("--requests-per-second", "10", "--fixed-token", "ABC123", "--budgets", "--origin", "https://a.example.com"),
    )
    assert (changed["max_resends"], changed["requests_per_second"], changed["budgets"]) == (2, 10, True)
    assert (changed["token_alphabets"], changed["fixed_token"]) == ({"ted": "digits"}, "ABC123")
    cleared = admin("integrators", "change", "--integrator", integrator, "--fixed-token", "none", "--inactive")
    assert (cleared["fixed_token"], cleared["active"], cleared["max_resends"]) == (None, False, 2)
    assert admin("integrators", "show", "--integrator", integrator) == cleared
    assert admin("integrators", "list") == [cleared]


def test_the_secret_of_a_rail_is_shown_once(command: Command, admin: Do):
    live = ["--name", "Loja", "--ispb", "12345678", "--mode", "live", "--rail-url", "https://core.example.com"]
    made = command("admin", "integrators", "create", *live)
    assert "whsec_" in made.stdout and "rail_secret is shown this once" in made.stderr
    assert "whsec_" not in command("admin", "integrators", "list", "--json").stdout


def test_a_credential_is_shown_once_and_works_until_it_is_revoked(
    command: Command, admin: Do, integrator: str, dsn: str
):
    made = command("admin", "credentials", "create", "--integrator", integrator, "--scope", "transfers:read")
    (listed,) = admin("credentials", "list", "--integrator", integrator)
    assert "aval_test_" in made.stdout and "api_key is shown this once" in made.stderr
    assert "api_key" not in listed and listed["scopes"] == ["transfers:read"]
    assert admin("credentials", "revoke", "--integrator", integrator, "--credential", listed["credential_key"]) == {}
    assert admin("credentials", "list", "--integrator", integrator)[0]["active"] is False
    secret = next(word for word in made.stdout.split() if word.startswith("aval_test_"))
    assert secret not in str(rows(dsn, "select details::text from audit"))


def test_a_third_active_credential_of_a_type_is_refused_with_what_to_do(command: Command, admin: Do, integrator: str):
    for _ in range(2):
        admin("credentials", "create", "--integrator", integrator)
    third = command("admin", "credentials", "create", "--integrator", integrator, "--json")
    assert (third.exit_code, third.stdout) == (2, "")
    assert "Revoke one first" in third.stderr


def test_a_signing_credential_takes_its_public_key_from_a_file(command: Command, integrator: str, tmp_path, admin: Do):
    from aval.operations.fresh import new_signing_key

    file = tmp_path / "public.pem"
    file.write_text(new_signing_key()[1])
    made = admin("credentials", "create", "--integrator", integrator, "--type", "signed", "--public-key", str(file))
    assert "api_client_key" in made and "api_key" not in made
    for wrong in ("no-such-file", __file__):
        refused = command(
            *("admin", "credentials", "create", "--integrator", integrator, "--type", "signed", "--public-key", wrong)
        )
        assert refused.exit_code == 2 and "--public-key must be a file with one P-521 public key" in refused.stderr
    assert command("admin", "credentials", "create", "--integrator", integrator, "--type", "signed").exit_code == 2


def test_money_is_booked_exactly_and_once_under_a_key(command: Command, admin: Do, integrator: str):
    place = ["--integrator", integrator, "--account", account_of(admin, integrator)]
    credit = ["entries", "post", *place, "--type", "credit", "--amount", "202.01", "--request-control-key", UNKNOWN]
    assert admin(*credit) == admin(*credit)
    assert command("admin", "accounts", "show", *place, "--json").stdout.count('"balance":202.01') == 1
    assert len(admin("entries", "list", *place)) == 1
    refused = command("admin", "entries", "post", *place, "--type", "debit", "--amount", "500")
    assert refused.exit_code == 2 and "must not take the balance below zero" in refused.stderr


def test_an_account_is_changed_and_a_closed_one_stays_closed(command: Command, admin: Do, integrator: str):
    place = ["--integrator", integrator, "--account", account_of(admin, integrator)]
    assert admin("accounts", "change", *place, "--account-status", "closed")["account_status"] == "closed"
    opened = command("admin", "accounts", "change", *place, "--account-status", "open")
    assert opened.exit_code == 2 and "closed account stays closed" in opened.stderr
    assert len(admin("accounts", "list", "--integrator", integrator)) == 1


def test_fees_and_limits_are_set_shown_and_cleared(admin: Do, integrator: str):
    place = ["--integrator", integrator, "--account", account_of(admin, integrator)]
    assert admin("fees", "set", "--integrator", integrator, "--ted", "10") == {"pix_transfer": 0, "ted": 10}
    assert admin("fees", "set", *place, "--pix-transfer", "0.5") == {"pix_transfer": 0.5, "ted": None}
    assert admin("fees", "clear", *place) == {}
    assert admin("fees", "show", *place) == {"pix_transfer": None, "ted": None}
    limits = {"pix": {"daily_amount_limit": 20000}, "ted": {"sms_amount_limit": 10.5}}
    given = ["--pix-daily-amount-limit", "20000", "--ted-sms-amount-limit", "10.5"]
    assert admin("limits", "set", *place, *given) == admin("limits", "show", *place) == limits


def test_an_approver_gets_contacts_and_powers(command: Command, admin: Do, integrator: str, dsn: str):
    account, approver = account_of(admin, integrator), approver_of(admin, integrator)
    person = ["--integrator", integrator, "--approver", approver]
    contact = admin("contacts", "register", *person, "--type", "sms", "--destination", PHONE)
    assert contact["masked_destination"] == "+55 11 *****-4321"
    assert admin("contacts", "list", *person) == [contact]
    powers = ["--integrator", integrator, "--account", account, "--approver", approver]
    granted = admin("powers", "grant", *powers, "--power", "ted", "--power", "pix_transfer", "--max-amount", "99.9")
    assert granted == {"approver_key": approver, "powers": ["pix_transfer", "ted"], "max_amount": 99.9}
    assert admin("powers", "list", "--integrator", integrator, "--account", account) == [granted]
    assert admin("powers", "revoke", *powers) == admin(
        "contacts", "remove", *person, "--contact", contact["contact_key"]
    )
    assert admin("approvers", "change", *person, "--inactive")["active"] is False
    assert admin("approvers", "list", "--integrator", integrator) == [admin("approvers", "show", *person)]
    assert rows(dsn, "select from outbox where topic = 'notice'") != []
    written = str(rows(dsn, "select audit::text from audit"))
    assert CPF not in written and PHONE not in written


def test_what_is_personal_may_come_from_stdin(admin: Do, integrator: str, monkeypatch: pytest.MonkeyPatch):
    from typer.testing import CliRunner

    from aval.bootstrap import open_deployment
    from aval.cli.main import build_cli

    words = ["admin", "approvers", "create", "--integrator", integrator, "--name", "Ana", "--document-number", "-"]
    ended = CliRunner().invoke(build_cli(open_deployment), words, input=f"{CPF}\n")
    assert ended.exit_code == 0 and "***444777**" in ended.stdout


WRONG = [
    (["integrators", "change", "--max-resends", "99"], "--max-resends must be 0 to 20."),
    (["integrators", "change", "--rail-url", "http://core"], "--rail-url must be an https address"),
    (["integrators", "change", "--fixed-token", "12"], "--fixed-token must be 6 letters or digits"),
    (["integrators", "change"], "Give at least one option"),
    (["integrators", "change", "--requests-per-second", "many"], "must be 1 to 10000"),
    (["integrators", "change", "--token-alphabet", "ted"], "must be KIND=ALPHABET"),
    (["integrators", "change", "--token-alphabet", "ted=runes"], "--token-alphabets must be KIND=ALPHABET"),
    (["approvers", "create", "--name", "Ana", "--document-number", "11144477734"], "--document-number must be a CPF"),
    (["approvers", "show", "--approver", UNKNOWN], "Nothing was found under the given keys"),
    (["approvers", "show", "--approver", "ana"], "must be a key such as"),
    (["entries", "post", "--account", UNKNOWN, "--type", "credit", "--amount", "1e3"], "must be an amount such as"),
    (["entries", "post", "--account", UNKNOWN, "--type", "gift", "--amount", "1"], "Invalid value for"),
    (["accounts", "list", "--everything"], "No such option"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_wrong_use_is_a_sentence_and_exit_code_2(command: Command, integrator: str, words: list[str], sentence: str):
    ended = command("admin", *words, "--integrator", integrator)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert sentence in " ".join(ended.stderr.replace("│", " ").split())
    assert "11144477734" not in ended.stderr


def test_a_table_shows_what_a_program_would_read_and_takes_no_markup(command: Command, admin: Do):
    assert "No integrator yet" in command("admin", "integrators", "list").stdout
    admin("integrators", "create", "--name", "[red]Loja", "--ispb", "12345678", "--mode", "sandbox")
    table = command("admin", "integrators", "list").stdout
    assert "[red]Loja" in table and "integrator key" in table


def test_a_list_goes_on_beyond_the_first_page(admin: Do, integrator: str):
    made = [account_of(admin, integrator, str(number)) for number in range(31)]
    listed = admin("accounts", "list", "--integrator", integrator)
    assert [account["account_key"] for account in listed] == made


def test_the_audit_names_who_holds_the_admin_key(
    command: Command, admin: Do, dsn: str, monkeypatch: pytest.MonkeyPatch
):
    new = ["integrators", "create", "--name", "Loja", "--ispb", "12345678", "--mode", "sandbox"]
    admin(*new)
    monkeypatch.setenv("AVAL_ADMIN_KEY", command("admin", "key", "create", "ana").stdout.strip())
    admin(*new)
    assert command("admin", "key", "revoke", "ana").exit_code == 0
    refused = command("admin", *new)
    assert refused.exit_code == 2 and "AVAL_ADMIN_KEY must be an active admin key" in refused.stderr
    acts = rows(dsn, "select actor from audit order by at")
    assert [actor for (actor,) in acts] == ["admin:command-line", "admin:command-line", "admin:ana", "admin:ana"]


def test_a_database_that_is_away_is_a_sentence(command: Command, keys: KeysFile, monkeypatch: pytest.MonkeyPatch):
    keys.create()
    monkeypatch.setenv("AVAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/aval")
    away = command("admin", "integrators", "list")
    assert away.exit_code == 2 and "AVAL_DATABASE_URL must lead to a PostgreSQL that answers" in away.stderr


def test_without_keys_nothing_is_tried(command: Command):
    refused = command("admin", "integrators", "list")
    assert refused.exit_code == 2 and "aval admin keyring create" in refused.stderr


FAILURES = [
    (DatabaseUnavailable(), "did not answer in time"),
    (LockNotWon(), "did not answer in time"),
    (RuntimeError(), "Something went wrong inside Aval"),
]


@pytest.mark.parametrize(("error", "sentence"), FAILURES, ids=lambda value: type(value).__name__)
def test_a_failure_on_the_way_is_a_sentence_and_exit_code_1(
    command: Command, integrator: str, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
):
    async def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("aval.http.admin_accounts.list_accounts", fails)
    ended = command("admin", "accounts", "list", "--integrator", integrator, "--json")
    assert (ended.exit_code, ended.stdout) == (1, "") and sentence in ended.stderr
