"""`aval demo` as a person runs it: real processes, nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aval.bootstrap import open_deployment
from aval.cli import demo_story
from aval.cli.main import build_cli
from aval.cli.processes import bound
from aval.domain.money import Brl
from tests.cli.conftest import free_port


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One for all demos of this file; reachable for the account that runs PostgreSQL."""
    directory = Path(tempfile.mkdtemp(prefix="aval-demo-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a deployment that could not show the demo, and that it must not touch."""
    for name in [name for name in os.environ if name.startswith("AVAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AVAL_DATA_DIR", str(data_dir))
    monkeypatch.setenv("AVAL_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("AVAL_KEYS_FILE", str(data_dir / "keys-of-another.json"))
    monkeypatch.setenv("AVAL_CHANNELS_OFF", "sms, email")
    monkeypatch.setenv("AVAL_PORT", str(free_port()))


def is_database_gone(data_dir: Path) -> bool:
    return not (data_dir / "demo" / "postgresql" / "data" / "postmaster.pid").exists()


def test_the_demo_shows_every_way_to_approve_beside_a_taken_port(data_dir: Path, environment: None) -> None:
    with bound("127.0.0.1", int(os.environ["AVAL_PORT"]), "AVAL_PORT"):
        shown = CliRunner().invoke(build_cli(open_deployment), ["demo"], env={"COLUMNS": "100"})
    assert (shown.exit_code, shown.exception) == (0, None), shown.output
    story = shown.stdout
    for told in (
        "pending_2fa_approval; token on its way to +55 11 *****-1234, 5 attempts",
        "TED000084 Incorrect Token: 4 attempts left",
        "generation 2, 5:00 begin anew, still 4 attempts",
        "TED000084 Incorrect Token (superseded_token): 3 attempts left",
        "pending: BRL 25,000.00 before, BRL 23,741.50 after",
        "baas.ted.outgoing_ted",
        "is genuine; with one word changed it is refused",
        "Subject BRL 349.90 to Favorecido Teste: code 1",
        "approved, all of it debited: BRL 23,391.60 before, BRL 18,960.11 after",
        "rejected: BRL 310.99 to Eva Lins",
        "Then came aval.pix_transfer_batch.finished: 2 sent, 1 rejected",
        "active; its private key never left it",
        "TED000905",
        "OBD000924",
        "approved: signed over amount, payee, account and a nonce",
        "pending: BRL 19,271.10 before, BRL 14,462.60 after",
        "signed by the key of Beatriz' phone: exactly these details, to approve them",
        "nothing was changed",
        "Rebuilt from 8 entries BRL 14,462.60, stored BRL 14,462.60: equal.",
        "active: the only phone that tokens of Helena Prado Martins travel to",
        "pending_2fa_approval; token on its way to +55 11 *****-9876, 5 attempts",
        "11,500 points available, 8,500 reserved.",
        "RDM000084 Incorrect Token: 4 attempts left",
        "confirmed: judged and debited in one transaction",
        "8,500 points: Changed her mind",
        "credit 20,000 · reserve 8,500 · debit 8,500 · reversal 8,500",
    ):
        assert told in story, told
    assert is_database_gone(data_dir)
    assert not (data_dir / "keys-of-another.json").exists()


def test_a_demo_that_sees_something_else_fails(
    data_dir: Path, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_story, "TED_AMOUNT", Brl(25_000_01))
    shown = CliRunner().invoke(build_cli(open_deployment), ["demo"], env={"COLUMNS": "200"})
    assert shown.exit_code == 1
    assert "Insufficient Funds" in shown.stdout
    assert is_database_gone(data_dir)


def test_ctrl_c_ends_every_process_of_the_demo(data_dir: Path, environment: None) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "aval", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    assert demo.stdout is not None
    while "The API answers" not in demo.stdout.readline():
        assert demo.poll() is None
    demo.send_signal(signal.SIGINT)
    told, _ = demo.communicate(timeout=60)  # the pipe ends when the last process that holds it has ended
    assert demo.returncode == 130, told
    assert "nothing of it is left running" in told
    assert is_database_gone(data_dir)
