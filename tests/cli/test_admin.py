"""`aval admin key` and `aval sandbox seed`, against a real database and a real keys file."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from aval.bootstrap import open_deployment
from aval.cli.main import build_cli
from aval.cli.seed import base_url, local_passkeys
from aval.storage.keys_file import KeysFile


@pytest.fixture
def aval(dsn, tmp_path, monkeypatch):
    keys = tmp_path / "keys.json"
    KeysFile(keys).create()
    for name, value in {"AVAL_DATABASE_URL": dsn, "AVAL_KEYS_FILE": str(keys), "AVAL_ENV": "development"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        return CliRunner().invoke(build_cli(open_deployment), list(arguments))

    return run


def test_an_admin_key_is_made_listed_and_revoked(aval):
    made = aval("admin", "key", "create", "ana")
    assert made.exit_code == 0 and made.stdout.startswith("aval_admin_"), made.output
    secret = made.stdout.strip()
    listed = aval("admin", "key", "list").stdout
    assert "ana" in listed and "transfers.admin" in listed and secret not in listed
    told = json.loads(aval("admin", "key", "list", "--json").stdout)
    assert [(key["name"], key["scopes"], key["revoked_at"]) for key in told] == [("ana", ["transfers.admin"], None)]
    taken = aval("admin", "key", "create", "ana")
    assert (taken.exit_code, "NAME must be new" in taken.stderr) == (2, True)
    assert aval("admin", "key", "revoke", "ana").exit_code == 0
    gone = aval("admin", "key", "revoke", "ana")
    assert (gone.exit_code, "NAME must be the one of an active admin key" in gone.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [["ana", "--scope", "everything"], ["a" * 81], [" "], ["ana\u202e"]],
    ids=["scope", "long", "empty", "bidi"],
)
def test_an_admin_key_has_a_readable_name_and_known_scopes(aval, arguments):
    assert aval("admin", "key", "create", *arguments).exit_code == 2


@pytest.mark.parametrize("scopes", [["transfers.admin"], ["points.write", "policy.write"]])
def test_scopes_may_be_named(aval, scopes):
    named = [word for scope in scopes for word in ("--scope", scope)]
    assert aval("admin", "key", "create", "ana", *named).exit_code == 0
    (key,) = json.loads(aval("admin", "key", "list", "--json").stdout)
    assert key["scopes"] == scopes


def test_a_seed_is_one_json_object_and_a_second_run_another(aval):
    first, second = (json.loads(aval("sandbox", "seed", "--json").stdout) for _ in range(2))
    assert list(first)[0] == "base_url" and first["base_url"] == "http://127.0.0.1:8321"
    assert set(first) == {
        "base_url",
        "admin_key",
        "api_key",
        "api_client_key",
        "private_key_pem",
        "integrator_key",
        "account_key",
        "approver_document_number",
        "approver_phone",
        "approver_email",
    }
    assert first["integrator_key"] != second["integrator_key"]


def test_passkeys_without_tls_are_for_this_machine_and_never_for_production(aval):
    deployment = open_deployment()
    assert local_passkeys(deployment) == {"rp_id": "localhost", "origins": ("http://localhost:8321",)}
    assert local_passkeys(replace(deployment, is_production=True)) is None


def test_a_seed_for_people_is_lines(aval):
    lines = aval("sandbox", "seed").stdout
    assert "\napi_key: aval_test_" in lines and lines.startswith("base_url: http://")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8321"),
        ("0.0.0.0", "http://127.0.0.1:8321"),
        ("::", "http://127.0.0.1:8321"),
        ("::1", "http://[::1]:8321"),
        ("localhost", "http://localhost:8321"),
    ],
)
def test_a_caller_on_this_machine_is_told_an_address_that_answers(host, url):
    assert base_url(host, 8321) == url
