"""Proof of OP1: on every unsafe setting of promises.md D19, `serve` and `worker` refuse to start and `doctor` says why.

Each row is planted in a real PostgreSQL of its own, a real keys file or the process, one at a time, in production.
D17's timeouts cannot be planted from outside: every session of Aval sets its own (tests/storage/test_safety.py).
"""

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from typer.testing import CliRunner

from aval.bootstrap import open_deployment
from aval.cli.deployment import Deployment
from aval.cli.main import build_cli
from aval.storage.embedded import EmbeddedServer
from aval.storage.embedded_binaries import make_directory
from aval.storage.keys_file import KeysFile
from aval.storage.migrations import migrate

pytestmark = pytest.mark.proof

LIVE_INTEGRATOR = f"""
insert into aval.integrators
    (integrator_id, name, ispb, mode, budgets, requests_per_second, rail_url, created_at, updated_at)
values ('{uuid4()}', 'Loja', '12345678', 'live', false, 50, 'https://core.example.com', now(), now())
"""  # noqa: S608 - a constant
RESET = ("alter system reset all", "alter database aval reset all", "select pg_reload_conf()")

# What is planted, how it is undone, and a word of the sentence that has to be told.
SQL_ROWS: dict[str, tuple[str, str, str]] = {
    "fsync off": ("alter system set fsync = off", "", "fsync = on"),
    "full_page_writes off": ("alter system set full_page_writes = off", "", "full_page_writes = on"),
    "synchronous_commit off": ("alter database aval set synchronous_commit = off", "", "synchronous_commit = on"),
    "synchronous_commit local before a standby": (
        "alter system set synchronous_standby_names = 's1'; alter database aval set synchronous_commit = local",
        "",
        "standby",
    ),
    "zero_damaged_pages on": ("alter database aval set zero_damaged_pages = on", "", "zero_damaged_pages"),
    "ignore_checksum_failure on": (
        "alter database aval set ignore_checksum_failure = on",
        "",
        "ignore_checksum_failure",
    ),
    "session_replication_role replica": (
        "alter database aval set session_replication_role = replica",
        "",
        "session_replication_role",
    ),
    "log_statement all": ("alter database aval set log_statement = 'all'", "", "log_statement"),
    "log_statement mod": ("alter database aval set log_statement = 'mod'", "", "log_statement"),
    "parameter logging": (
        "alter database aval set log_parameter_max_length_on_error = -1",
        "",
        "log_parameter_max_length_on_error",
    ),
    "an unlogged table": ("alter table aval.audit set unlogged", "alter table aval.audit set logged", "audit"),
    "a missing constraint": (
        "alter table aval.challenges drop constraint challenges_generation_check",
        "alter table aval.challenges add constraint challenges_generation_check check (generation >= 1)",
        "challenges_generation_check",
    ),
    "a missing index": (
        "drop index aval.outbox_due",
        "create index outbox_due on aval.outbox (due_at) where state = 'ready'",
        "outbox_due",
    ),
    "a missing trigger": (
        "drop trigger audit_is_fixed on aval.audit",
        "create trigger audit_is_fixed before update or delete on aval.audit "
        "for each row execute function aval.refuse_change()",
        "audit_is_fixed",
    ),
    "a missing grant": (
        "revoke insert on aval.audit from aval_audit_writer",
        "grant insert on aval.audit to aval_audit_writer",
        "aval_audit_writer",
    ),
    "a superuser's role": (
        "alter role aval_app_api superuser; alter role aval_app_settle superuser",
        "alter role aval_app_api nosuperuser; alter role aval_app_settle nosuperuser",
        "superuser",
    ),
    "the owner's role": (
        "grant aval_owner to aval_app_api; grant aval_owner to aval_app_settle",
        "revoke aval_owner from aval_app_api; revoke aval_owner from aval_app_settle",
        "owns",
    ),
    "a role that bypasses row security": (
        "alter role aval_app_api bypassrls; alter role aval_app_settle bypassrls",
        "alter role aval_app_api nobypassrls; alter role aval_app_settle nobypassrls",
        "bypassrls",
    ),
    "a live integrator without budgets": (LIVE_INTEGRATOR, "delete from aval.integrators", "budgets"),
    "a migration that is missing": (
        "delete from aval.schema_migrations where version = '0001'",
        "insert into aval.schema_migrations select '0001', 'x', repeat('0', 64)",
        "aval migrate",
    ),
}


@dataclass(frozen=True)
class Place:
    """A migrated database and a keys file of the harness's own."""

    dsn: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AVAL_ENV": "production",
            "AVAL_DATABASE_URL": self.dsn,
            "AVAL_KEYS_FILE": str(self.folder / "keys.json"),
            "AVAL_DATA_DIR": str(self.folder),
            "AVAL_PORT": str(_free_port()),
            "AVAL_OPS_PORT": str(_free_port()),
        }

    def run(self, *statements: str) -> None:
        asyncio.run(_run(self.dsn, statements))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


async def _run(dsn: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        make_directory(folder / "server")
        server = EmbeddedServer(folder / "server")
        dsn = asyncio.run(server.start())
        try:
            asyncio.run(migrate(dsn))
            KeysFile(folder / "keys.json").create()
            yield Place(dsn, folder)
        finally:
            asyncio.run(server.stop())


async def _ready(*_: Any) -> None:
    """In place of serving: the gate let the process pass."""


def _open(default_environment: str | None = None) -> Deployment:
    return replace(open_deployment(default_environment), serve_api=_ready, run_worker=_ready)


def _outcomes(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """Exit code and words of each command under this environment."""
    for variable in [name for name in os.environ if name.startswith("AVAL_")]:
        monkeypatch.delenv(variable)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    outcomes = {}
    for command in (["doctor", "--json"], ["serve"], ["worker"]):
        ended = CliRunner().invoke(build_cli(_open), command)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        outcomes[command[0]] = ended.exit_code, ended.output
    return outcomes


def _check_refused(outcomes: dict[str, tuple[int, str]], word: str) -> None:
    assert {command: code for command, (code, _) in outcomes.items()} == dict.fromkeys(outcomes, 2)
    for command, (_, words) in outcomes.items():
        assert word in words, (command, words)


def test_a_safe_deployment_passes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = _outcomes(place.environ, monkeypatch)
    assert {command: code for command, (code, _) in outcomes.items()} == dict.fromkeys(outcomes, 0), outcomes


@pytest.mark.parametrize("row", SQL_ROWS)
def test_an_unsafe_database_is_refused(row: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, undo, word = SQL_ROWS[row]
    try:
        place.run(*plant.split("; "), "select pg_reload_conf()", "select pg_sleep(0.2)")
        _check_refused(_outcomes(place.environ, monkeypatch), word)
    finally:
        place.run(*filter(None, undo.split("; ")), *RESET, "select pg_sleep(0.2)")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"AVAL_LOCAL_TARGETS": "on"}, "AVAL_LOCAL_TARGETS"),
        ({"AVAL_STANDBY_REQUIRED": "on"}, "AVAL_STANDBY_REQUIRED"),
        ({"AVAL_HOST": "0.0.0.0"}, "AVAL_TRUSTED_PROXIES"),
        ({"AVAL_DATABASE_URL": ""}, "AVAL_DATABASE_URL"),
        ({"AVAL_DATABASE_URL": "postgresql://aval@127.0.0.1:9/aval"}, "AVAL_DATABASE_URL"),
    ],
)
def test_unsafe_variables_are_refused(
    changes: dict[str, str], word: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _check_refused(_outcomes(place.environ | changes, monkeypatch), word)


def test_a_remote_database_without_verified_tls_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    host = place.dsn.partition("host=")[2].partition("&")[0]
    remote = place.dsn.replace(host, f"{host},db.example.com")
    _check_refused(_outcomes(place.environ | {"AVAL_DATABASE_URL": remote}, monkeypatch), "verify-full")


def _without_tokens(keys: list[dict[str, str]]) -> None:
    keys[:] = [key for key in keys if key["purpose"] != "token"]


def _short(keys: list[dict[str, str]]) -> None:
    keys[0]["key"] = base64.b64encode(os.urandom(31)).decode()


def _default(keys: list[dict[str, str]]) -> None:
    keys[0]["key"] = base64.b64encode(b"changeme" * 4).decode()


def _twice(keys: list[dict[str, str]]) -> None:
    keys[0]["key"] = keys[1]["key"]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(_without_tokens, "for each purpose"), (_short, "32 bytes"), (_default, "random"), (_twice, "twice")],
)
def test_unsafe_keys_are_refused(
    spoil: Callable[[list[dict[str, str]]], object],
    word: str,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = json.loads((place.folder / "keys.json").read_text())
    spoil(content["keys"])
    path = tmp_path / "keys.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    _check_refused(_outcomes(place.environ | {"AVAL_KEYS_FILE": str(path)}, monkeypatch), word)


def test_missing_and_readable_keys_are_refused(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys.json"
    environ = place.environ | {"AVAL_KEYS_FILE": str(path)}
    _check_refused(_outcomes(environ, monkeypatch), "missing")
    KeysFile(path).create()
    path.chmod(0o640)
    _check_refused(_outcomes(environ, monkeypatch), "chmod 600")


@pytest.mark.parametrize("command", ["doctor", "serve", "worker"])
@pytest.mark.parametrize(("option", "word"), [(["-O"], "without -O"), (["-X", "dev", "-W", "ignore"], "PYTHONDEVMODE")])
def test_a_process_without_its_assertions_or_in_debug_is_refused(
    command: str, option: list[str], word: str, place: Place
) -> None:
    source = str(Path(__file__).parents[2] / "src")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": source, "COLUMNS": "200", **place.environ}
    ended = subprocess.run(
        [sys.executable, *option, "-m", "aval", command], env=environ, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2, ended.stderr
    assert word in ended.stdout + ended.stderr
