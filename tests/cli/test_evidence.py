"""`aval evidence`: hand out, check, and say in words what was checked."""

import asyncio
import json
import os
from pathlib import Path
from uuid import uuid4

import pytest

from aval.storage.keys_file import KeysFile
from tests.conftest import run as run_sql
from tests.evidence import approve_one


@pytest.fixture
def approved(dsn: str, command, keys: KeysFile) -> str:
    """The key of a Pix that was approved by token."""
    return str(asyncio.run(approve_one(dsn, keys.create())))


def test_evidence_is_handed_out_and_verifies_offline(
    command, approved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pem = tmp_path / "evidence.json", tmp_path / "keys.pem"
    written = command("evidence", approved, "--output", str(file))
    assert (written.exit_code, written.stdout) == (0, "")
    printed = command("evidence", approved)
    assert (printed.exit_code, printed.stdout) == (0, file.read_text())
    pem.write_text(command("evidence", "keys").stdout)
    for variable in [name for name in os.environ if name.startswith("AVAL_")]:
        monkeypatch.delenv(variable)  # the auditor has nothing of the deployment

    alone = command("evidence", "verify", str(file))
    assert alone.exit_code == 0
    fingerprint = json.loads(file.read_text())["seal"]["fingerprint"]
    assert f"fingerprint {fingerprint}." in alone.stdout
    assert "as far as the file alone can show" in alone.stdout and "whose seal it is" in alone.stdout

    known = command("evidence", "verify", str(file), "--keys", str(pem))
    assert known.exit_code == 0
    lines = known.stdout.splitlines()
    assert lines[0] == "Genuine."
    assert any("BRL" in line for line in lines) and sum(line.startswith("  ok ") for line in lines) == 9
    assert "that the person who typed the token is the approver" in known.stdout
    assert "whose seal it is" not in known.stdout and fingerprint in pem.read_text()


def test_a_changed_file_and_a_strangers_are_not_genuine(
    command, approved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, pem = tmp_path / "evidence.json", tmp_path / "keys.pem"
    honest = command("evidence", approved).stdout
    file.write_text(honest.replace('"fee_amount":"', '"fee_amount":"9'))
    found = command("evidence", "verify", str(file))
    assert (found.exit_code, found.stdout.splitlines()[0]) == (
        1,
        "NOT GENUINE. Nothing this file says is to be relied on.",
    )
    assert "The seal is broken" in found.stdout

    file.write_text(honest)
    stranger = KeysFile(tmp_path / "other.json")
    stranger.create()
    monkeypatch.setenv("AVAL_KEYS_FILE", str(stranger.path))
    pem.write_text(command("evidence", "keys").stdout)
    found = command("evidence", "verify", str(file), "--keys", str(pem))
    assert (found.exit_code, "none of those you gave" in found.stdout) == (1, True)


def test_an_old_seal_verifies_after_a_rotation(command, approved: str, keys: KeysFile, tmp_path: Path) -> None:
    file, pem = tmp_path / "evidence.json", tmp_path / "keys.pem"
    assert command("evidence", approved, "--output", str(file)).exit_code == 0
    assert command("admin", "keyring", "rotate", "evidence").exit_code == 0
    assert command("admin", "keyring", "prune").exit_code == 0
    pem.write_text(command("evidence", "keys").stdout)
    assert pem.read_text().count("BEGIN PUBLIC KEY") == 2
    assert command("evidence", "verify", str(file), "--keys", str(pem)).exit_code == 0


def test_a_row_changed_behind_it_is_told(command, approved: str, dsn: str) -> None:
    assert command("evidence", approved).exit_code == 0
    change = f"update aval.audit set actor = 'nobody' where operation_id = '{approved}'"
    asyncio.run(run_sql(dsn, "set session_replication_role = replica", change))
    found = command("evidence", approved)
    assert (found.exit_code, "audit, is_intact changed since" in found.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("evidence", str(uuid4())), "there is none"),
        (("evidence", "export", str(uuid4())), "there is none"),
        (("evidence", "verify", "missing.json"), "must be a file this account can read"),
        (("evidence", "verify", __file__), "no evidence at all"),
        (("evidence", "verify", __file__, "--keys", __file__), "--keys must name"),
        (("evidence", "not-a-key"), "valid UUID"),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_2(
    command, keys: KeysFile, words: tuple[str, ...], told: str
) -> None:
    keys.create()
    found = command(*words)
    assert (found.exit_code, told in found.stderr) == (2, True)


def test_evidence_that_cannot_be_written_is_told(command, approved: str, tmp_path: Path) -> None:
    found = command("evidence", approved, "--output", str(tmp_path / "no" / "where.json"))
    assert (found.exit_code, "--output must be" in found.stderr) == (2, True)


def test_hostile_text_moves_no_cursor(command, tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps({"record": {"factor": {"masked_destination": "\x1b[2J"}}, "seal": {"kid": "\x1b]0;x"}}))
    found = command("evidence", "verify", str(file))
    assert (found.exit_code, "\x1b" in found.stdout) == (1, False)
