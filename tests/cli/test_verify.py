"""`aval verify` tells whether the audit is as it was sealed, from the database or from a file."""

import asyncio
import os
from pathlib import Path

import pytest

from aval.operations.seal_audit import seal_audit
from aval.storage.database import Database
from aval.storage.keys_file import KeysFile
from tests.conftest import run as run_sql
from tests.operations.test_seal_audit import write

CHANGE = "update aval.audit set actor = 'nobody' where action = 'b'"


async def fill(dsn: str, keys: KeysFile, *, is_sealed: bool = True) -> None:
    db = await Database.open(dsn)
    sealer = await Database.open(dsn, role="aval_sealer")
    try:
        await write(db, "a")
        await write(db, "b")
        if is_sealed:
            await seal_audit(sealer, keyring=keys.load())
    finally:
        await db.close()
        await sealer.close()


@pytest.fixture
def made_keys(keys: KeysFile) -> KeysFile:
    keys.create()
    return keys


def as_superuser(dsn: str, statement: str) -> None:
    asyncio.run(run_sql(dsn, "set session_replication_role = replica", statement))


def test_an_empty_audit_and_a_whole_one_hold(command, dsn: str, made_keys: KeysFile) -> None:
    assert "0 rows in 0 links" in command("verify").stdout
    asyncio.run(fill(dsn, made_keys))
    told = command("verify")
    assert (told.exit_code, told.stderr) == (0, "")
    assert "as it was sealed: 2 rows in 1 links" in told.stdout and "The chain ends with " in told.stdout


def test_the_first_bad_row_is_named(command, dsn: str, made_keys: KeysFile) -> None:
    asyncio.run(fill(dsn, made_keys))
    as_superuser(dsn, CHANGE)
    told = command("verify")
    assert told.exit_code == 1
    assert told.stdout.startswith("THE AUDIT WAS CHANGED.\nFirst bad row: number 2 (")
    assert "of link 1: it is not what was sealed." in told.stdout


def test_rows_that_wait_too_long_for_their_seal_are_told(command, dsn: str, made_keys: KeysFile) -> None:
    asyncio.run(fill(dsn, made_keys, is_sealed=False))
    assert "not sealed" not in command("verify").stderr
    as_superuser(dsn, "update aval.audit set at = at - interval '11 s'")
    told = command("verify")
    assert (told.exit_code, "2 rows are not sealed, the oldest for 1" in told.stderr) == (0, True)
    many = "insert into aval.audit select i.integrator_id, gen_random_uuid(), i.at, '', '', null, '{}', ''"
    as_superuser(dsn, f"{many} from aval.audit i, generate_series(1, 5000)")
    assert "10000 or more rows are not sealed" in command("verify").stderr


def test_a_file_is_verified_without_the_database(
    command, dsn: str, made_keys: KeysFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "audit.jsonl"
    asyncio.run(fill(dsn, made_keys))
    written = command("verify", "--export", str(file))
    assert (written.exit_code, written.stdout) == (0, "") and "Wrote " in written.stderr
    for variable in [name for name in os.environ if name.startswith("AVAL_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AVAL_KEYS_FILE", str(made_keys.path))
    told = command("verify", str(file))
    assert (told.exit_code, "2 rows in 1 links" in told.stdout) == (0, True), told.stderr
    file.write_bytes(file.read_bytes().replace(b'"b"', b'"c"'))
    told = command("verify", str(file))
    assert (told.exit_code, "First bad row: number 2 (" in told.stdout) == (1, True)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:1]))
    told = command("verify", str(file))
    assert (told.exit_code, "First bad row: number 1, of link 1: the file ends here" in told.stdout) == (1, True)


def test_a_chain_holds_after_a_rotation_and_not_without_its_keys(
    command, dsn: str, made_keys: KeysFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(fill(dsn, made_keys))
    assert command("admin", "keyring", "rotate", "evidence").exit_code == 0
    assert command("admin", "keyring", "prune").exit_code == 0
    asyncio.run(fill(dsn, made_keys))
    assert "4 rows in 2 links" in command("verify").stdout
    stranger = KeysFile(tmp_path / "other.json")
    stranger.create()
    monkeypatch.setenv("AVAL_KEYS_FILE", str(stranger.path))
    told = command("verify")
    assert (told.exit_code, "of link 1" in told.stdout) == (1, True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("{file}", "--export", "{file}"), "exclude each other"),
        (("{file}",), "line 1 is no part of it"),
        (("{file}.none",), "must be a file this account can read"),
        (("--export", "{file}/none"), "must be a file this account can write"),
    ],
)
def test_what_cannot_be_read_or_written_is_refused(
    command, made_keys: KeysFile, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "something"
    file.write_text("nothing of ours\n")
    told = command("verify", *(word.format(file=file) for word in words))
    assert (told.exit_code, sentence in told.stderr) == (2, True)
