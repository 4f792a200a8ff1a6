"""The command line in this process, over a database and a keys file of the test's own."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from aval.bootstrap import open_deployment
from aval.cli.main import build_cli
from aval.storage.keys_file import KeysFile

Command = Callable[..., Result]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@pytest.fixture
def environ(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A development deployment, set in this process's environment."""
    for variable in [name for name in os.environ if name.startswith("AVAL_")]:
        monkeypatch.delenv(variable)
    variables = {
        "AVAL_ENV": "development",
        "AVAL_DATABASE_URL": dsn,
        "AVAL_DATA_DIR": str(tmp_path),
        "AVAL_PORT": str(free_port()),
        "COLUMNS": "200",
    }
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    return variables


@pytest.fixture
def keys(tmp_path: Path) -> KeysFile:
    """The keys file of that deployment; not made yet."""
    return KeysFile(tmp_path / "keys.json")


@pytest.fixture
def command(environ: dict[str, str]) -> Command:
    """Run `aval` with these words."""

    def run(*words: str) -> Result:
        ended = CliRunner().invoke(build_cli(open_deployment), list(words))
        if ended.exception is not None and not isinstance(ended.exception, SystemExit):
            raise ended.exception
        return ended

    return run
