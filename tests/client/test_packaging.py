"""The client alone: what `pip install aval` brings without the server."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0].lower() for line in requirements}


def python_without_the_server(*lines: str) -> subprocess.CompletedProcess[str]:
    """Run Python with every package of the server made impossible to import."""
    server = names(PROJECT["optional-dependencies"]["server"])
    modules = sorted(
        module
        for module, distributions in packages_distributions().items()
        if server & {name.lower().replace("_", "-") for name in distributions}
    )
    assert {"asyncpg", "starlette", "typer", "uvicorn"} <= set(modules)
    blocked = f"import sys; sys.modules.update(dict.fromkeys({modules!r}))"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join((blocked, *lines))],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
        check=False,
    )


def test_the_client_works_without_the_servers_packages() -> None:
    ended = python_without_the_server(
        "from aval.client import *",
        "client = SyncAvalClient('http://127.0.0.1:1', ApiKey('aval_test_x'), retry=Retry(tries_max=1))",
        "try: client.get_account('7e2a4c19-53b6-4f0d-8a7c-91d0e5b3f264')",
        "except NoAnswer as error: print(error.cause)",
    )
    assert (ended.stdout, ended.stderr) == ("ConnectionRefusedError\n", "")


def test_the_command_says_in_one_sentence_how_to_install_the_server() -> None:
    ended = python_without_the_server("from aval.__main__ import main", "main()")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(
        r"The parts of the server are not installed \(\w+ is missing\): pip install 'aval\[server\]'\n", ended.stderr
    )


def test_a_module_of_avals_own_that_is_missing_is_a_bug_and_no_advice() -> None:
    ended = python_without_the_server(
        "sys.modules['aval.bootstrap'] = None", "from aval.__main__ import main", "main()"
    )
    assert ended.returncode == 1 and "ModuleNotFoundError" in ended.stderr


def test_the_client_depends_on_four_packages() -> None:
    assert names(PROJECT["dependencies"]) == {"aiohttp", "cryptography", "msgspec", "standardwebhooks"}
