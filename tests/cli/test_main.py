import importlib
from pathlib import Path

import pytest

from aval import __version__
from aval.cli import main
from aval.cli.refusal import SENTENCES


def test_the_version_is_told(command) -> None:
    assert command("--version").stdout == f"aval {__version__}\n"


def test_every_file_with_commands_is_in_the_tree() -> None:
    folder = Path(main.__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if "\ndef register(" in path.read_text()}
    assert modules <= set(main.COMMANDS)
    for name in modules:
        assert callable(importlib.import_module(f"aval.cli.{name}").register)


def test_wrong_settings_are_told_in_a_sentence_each(command, monkeypatch) -> None:
    monkeypatch.setenv("AVAL_PORT", "eighty")
    monkeypatch.setenv("AVAL_LOG_LEVEL", "loud")
    ended = command("serve")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "AVAL_LOG_LEVEL must be one of debug, info, warning, error.",
        "AVAL_PORT must be a whole number from 1 to 65535.",
    ]


@pytest.mark.parametrize("cause", SENTENCES)
def test_every_refusal_is_a_sentence(cause: str) -> None:
    assert SENTENCES[cause][0].isupper() or SENTENCES[cause].startswith(("{path}", "{variable}"))
    assert SENTENCES[cause].endswith((".", "{statements}"))
