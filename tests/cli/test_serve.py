import socket

import pytest

from aval.storage.keys_file import KeysFile


@pytest.mark.parametrize("name", ["serve", "run"])
def test_a_taken_port_is_named(name: str, command, environ, keys: KeysFile) -> None:
    keys.create()
    with socket.create_server(("127.0.0.1", int(environ["AVAL_PORT"]))):
        ended = command(name)
    assert ended.exit_code == 2
    assert f"AVAL_PORT must name a free port: {environ['AVAL_PORT']} on 127.0.0.1 is taken" in ended.stderr


def test_an_address_of_another_machine_is_named(command, keys: KeysFile, monkeypatch) -> None:
    monkeypatch.setenv("AVAL_HOST", "192.0.2.1")
    ended = command("serve")
    assert (ended.exit_code, "AVAL_HOST must be an address of this machine" in ended.stderr) == (2, True)


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_nothing_starts_without_keys(name: str, command) -> None:
    ended = command(name)
    assert ended.exit_code == 2
    assert "aval admin keyring create" in ended.stderr


@pytest.mark.parametrize("name", ["serve", "worker", "migrate", "doctor", "run"])
def test_an_unreachable_database_is_told_without_its_password(name: str, command, keys: KeysFile, monkeypatch) -> None:
    keys.create()
    monkeypatch.setenv("AVAL_DATABASE_URL", "postgresql://aval:hidden@127.0.0.1:9/aval")
    ended = command(name)
    assert ended.exit_code == 2
    assert "AVAL_DATABASE_URL must lead to a PostgreSQL that answers: nothing listens there." in ended.output
    assert "hidden" not in ended.output


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_an_empty_database_is_told_to_migrate(name: str, command, keys: KeysFile, empty_dsn: str, monkeypatch) -> None:
    keys.create()
    monkeypatch.setenv("AVAL_DATABASE_URL", empty_dsn)
    ended = command(name)
    assert (ended.exit_code, "run `aval migrate` first" in ended.stderr) == (2, True)


def test_an_unusable_data_directory_is_named(command, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVAL_DATABASE_URL", "")
    monkeypatch.setenv("AVAL_KEYS_FILE", str(tmp_path / "keys.json"))
    monkeypatch.setenv("AVAL_DATA_DIR", str(tmp_path / "file"))
    ended = command("run")
    assert ended.exit_code == 2
    assert ended.stderr.splitlines()[-1].startswith("AVAL_DATA_DIR must")
