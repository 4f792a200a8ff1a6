"""The shell lines of README.md and of the guide do what the text says, run against a real Aval."""

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
WEBHOOK_PORT = "9000"  # of the guide; the test takes a free one


@pytest.fixture
def environ(dsn: str) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AVAL_")}
    return {
        **bare,
        "AVAL_DATABASE_URL": dsn,
        "AVAL_ENV": "development",
        "AVAL_PORT": str(free_port()),
        "AVAL_LOG_LEVEL": "error",
        "PYTHONPATH": str(ROOT / "src"),
    }


@pytest.fixture
def checkout(tmp_path: Path, environ: dict[str, str]) -> Iterator[Path]:
    """A folder that looks as a checkout does while `make run` runs in it."""
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, words in (("python", ""), ("aval", "-m aval")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (programs / name).chmod(0o755)
    running = subprocess.Popen([programs / "aval", "run"], cwd=tmp_path, env=environ)
    try:
        wait_for(int(environ["AVAL_PORT"]))
        yield tmp_path
    finally:
        running.terminate()
        running.wait(PATIENCE_S)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        finally:
            connection.close()


def run_page(page: str, checkout: Path, environ: dict[str, str]) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + lines.replace(WEBHOOK_PORT, str(free_port()))
    ended = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=checkout, env=environ, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_ted_of_the_readme_is_sent(checkout: Path, environ: dict[str, str]) -> None:
    told = run_page("README.md", checkout, environ)
    assert '"ted_status":"pending_2fa_approval"' in told
    assert '"ted_status":"sent"' in told
    assert '"event_type":"baas.ted.outgoing_ted"' in told


def test_the_guide_leads_to_a_sent_pix_and_a_verified_webhook(checkout: Path, environ: dict[str, str]) -> None:
    told = run_page("docs/guides/integrate.md", checkout, environ)
    assert '"code":"PXT000173"' in told
    assert "\nbaas.pix_transfer.outgoing_pix " in told and "'pix_transfer_status': 'sent'" in told
    assert '"balance":999797.99' in told


def test_the_guide_to_batches_settles_one_and_refunds_one(checkout: Path, environ: dict[str, str]) -> None:
    told = run_page("docs/guides/batches.md", checkout, environ)
    assert '"ted_batch_status":"approved"' in told
    assert '"items_pending":0,"items_sent":1,"items_rejected":1' in told
    assert '"balance":998500' in told
