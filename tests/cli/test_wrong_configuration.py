"""A wrong setting is told in one sentence – the variable and the fix, never the value – and exit code 2."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aval.settings import every_setting
from aval.settings.kinds import Setting, SettingsError
from aval.storage.keys_file import KeysFile

COMMANDS = ("run", "serve", "worker", "migrate", "doctor", "demo")
# No word, number, address, date or network; what takes any text is left out below.
NONSENSE = "~n0nsense-4711~"  # as a path, it is the home of an account nobody has
TIMEOUT_S = 30

_SENTENCE = re.compile(r"[A-Z]\w+ must [^\n]+\.")


def is_free(setting: Setting) -> bool:
    """Whether any text is a value."""
    try:
        setting.value({setting.variable: NONSENSE}, {})
    except SettingsError:
        return False
    return True


JUDGED = [setting for setting in every_setting() if not is_free(setting)]


def test_nearly_every_setting_is_judged() -> None:
    free = {setting.variable for setting in every_setting()} - {setting.variable for setting in JUDGED}
    assert free == {
        *("AVAL_HOST", "AVAL_SMS_URL", "AVAL_SMS_GATEWAY_KEY", "AVAL_EMAIL_FROM"),
        *("AVAL_ITEM_VALIDATOR_KEY", "AVAL_RISK_KEY"),
        *("AVAL_DOCUMENTS_REGION", "AVAL_DOCUMENTS_KEY_ID", "AVAL_DOCUMENTS_SECRET"),  # judged by the store
        "AVAL_ADMIN_KEY",  # judged by the commands that use it
    }


def test_nonsense_is_told_by_its_variable(command, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in JUDGED:
        with monkeypatch.context() as patched:
            patched.setenv(setting.variable, NONSENSE)
            ended = command("serve")
        assert (ended.exit_code, ended.stdout) == (2, "")
        lines = [line for line in ended.stderr.splitlines() if line.startswith(f"{setting.variable} must ")]
        assert lines == [f"{setting.variable} must {setting.must}."]
        assert NONSENSE not in ended.output


# What is set, and the start of the sentence that says so.
TOGETHER: dict[str, tuple[dict[str, str], str]] = {
    "local targets in production": (
        {"AVAL_ENV": "production", "AVAL_LOCAL_TARGETS": "on"},
        "AVAL_LOCAL_TARGETS must be off",
    ),
    "no database in production": ({"AVAL_ENV": "production", "AVAL_DATABASE_URL": ""}, "AVAL_DATABASE_URL must be set"),
    "open to the world without a proxy": (
        {"AVAL_ENV": "production", "AVAL_HOST": "0.0.0.0"},
        "AVAL_TRUSTED_PROXIES must name",
    ),
    "numbers beside the API": (
        {"AVAL_ENV": "production", "AVAL_PORT": "8321", "AVAL_OPS_PORT": "8321"},
        "AVAL_OPS_PORT must differ",
    ),
    "two ways to send an SMS": (
        {"AVAL_SMS_URL": "twilio://a:b@c/d", "AVAL_SMS_GATEWAY_URL": "https://sms.example.com"},
        "AVAL_SMS_GATEWAY_URL must be unset",
    ),
    "another database": ({"AVAL_DATABASE_URL": "mysql://root:hidden@localhost/aval"}, "AVAL_DATABASE_URL must be an"),
    "a secret's file that is not there": ({"AVAL_SMTP_URL_FILE": "/nowhere/smtp"}, "AVAL_SMTP_URL must"),
}


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_settings_that_do_not_go_together_are_told(name: str, command, monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, sentence in TOGETHER.values():
        with monkeypatch.context() as patched:
            for variable, value in variables.items():
                patched.setenv(variable, value)
            ended = command(name)
        assert (ended.exit_code, ended.stdout) == (2, "")
        assert any(line.startswith(sentence) for line in ended.stderr.splitlines()), ended.stderr
        assert all(_SENTENCE.fullmatch(line) for line in ended.stderr.splitlines())
        assert "hidden" not in ended.output


def ended(name: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`aval` as a program of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AVAL_")}
    environment = clean | {"AVAL_DATA_DIR": str(directory), "COLUMNS": "200", **variables}
    return subprocess.run(
        [sys.executable, "-m", "aval", name], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_the_program_ends_with_a_sentence_and_exit_code_2(name: str, tmp_path: Path) -> None:
    wrong = {"AVAL_PORT": "eighty", "AVAL_SMTP_URL": "ftp://user:hidden@mail.example.com"}
    said = ended(name, tmp_path, AVAL_ENV="development", **wrong)
    assert said.returncode == 2
    told = said.stdout if name == "doctor" else said.stderr  # its report is what it was asked for
    assert "AVAL_PORT must be a whole number from 1 to 65535." in told
    assert "AVAL_SMTP_URL must be an address that starts with smtp:// or smtps:// or starttls://." in told
    assert "hidden" not in said.stdout + said.stderr
    assert "Traceback" not in said.stderr


def test_the_program_tells_a_database_that_is_away(tmp_path: Path) -> None:
    KeysFile(tmp_path / "keys.json").create()
    said = ended("serve", tmp_path, AVAL_DATABASE_URL="postgresql://aval:hidden@127.0.0.1:9/aval")
    assert said.returncode == 2
    assert said.stderr.splitlines()[-1].startswith("AVAL_DATABASE_URL must lead to a PostgreSQL that answers")
    assert "hidden" not in said.stderr + said.stdout
    assert "Traceback" not in said.stderr
