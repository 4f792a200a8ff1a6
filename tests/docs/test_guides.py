"""The shell lines of README.md and of the guides do what the text says, run against a real Aval."""

import http.client
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import pytest

from aval.storage.embedded_binaries import installations
from tests.cli.conftest import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180
WEBHOOK_PORT = re.compile(r"(127\.0\.0\.1(?::|\", ))9000")  # of the guides; the test takes a free one


@pytest.fixture
def environ(dsn: str, empty_dsn: str, tmp_path: Path) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AVAL_")}
    programs = [tmp_path / ".venv" / "bin", Path(installations()[0].program("psql")).parent]
    port = str(free_port())
    return {
        **bare,
        "PATH": os.pathsep.join([*map(str, programs), bare["PATH"]]),
        "AVAL_DATABASE_URL": dsn,
        "RESTORED_URL": empty_dsn,
        "AVAL_ENV": "development",
        "AVAL_PORT": port,
        "AVAL_OPS_PORT": port,
        "AVAL_KEYS_FILE": ".aval/keys.json",
        "COLUMNS": "200",
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


def run_page(page: str, checkout: Path, environ: dict[str, str], *, before: str = "") -> str:
    """Run the page's lines in one shell, after `before`; what it printed."""
    script = f"trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{before}\n{shell_lines(page)}"
    ended = subprocess.run(
        ["bash", "-eu", "-c", WEBHOOK_PORT.sub(rf"\g<1>{free_port()}", script)],
        cwd=checkout,
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def shell_lines(page: str) -> str:
    return "\n".join(fence.code for fence in fences(page) if fence.language == "sh")


@dataclass(frozen=True)
class Fence:
    """A block of code, and the line of text in front of it."""

    language: str
    code: str
    before: str


def fences(page: str) -> list[Fence]:
    found, before, lines = [], "", iter((ROOT / page).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.lstrip().startswith("```"):
            code = takewhile(lambda each: each.strip() != "```", lines)
            found.append(Fence(line.strip("` "), textwrap.dedent("\n".join(code)), before))
        elif line.strip():
            before = line
    return found


# The pages whose lines are run, what is run first, and what has to be among the words they print.
FIRST = "\n".join(fence.code for fence in fences("docs/guides/integrate.md")[1:2])
NAMES = f"{FIRST}\nINTEGRATOR=$(value integrator_key)"
RUN = {
    "README.md": (
        "",
        ['"ted_status":"pending_2fa_approval"', '"ted_status":"sent"', '"event_type":"baas.ted.outgoing_ted"'],
    ),
    "docs/guides/integrate.md": (
        "",
        [
            '"code":"PXT000173"',
            "\nbaas.pix_transfer.outgoing_pix ",
            "'pix_transfer_status': 'sent'",
            '"balance":999797.99',
            "pending_2fa_approval 5\nPXT000173 Incorrect Token\npending\nsent 998217.49\n",
        ],
    ),
    "docs/guides/batches.md": (
        "",
        [
            '"ted_batch_status":"approved"',
            '"items_pending":0,"items_sent":1,"items_rejected":1',
            '"balance":998500',
        ],
    ),
    "docs/guides/sandbox.md": (
        FIRST,
        [
            *(f"ispb 999999{row}\n" for row in ("91 sent", "92 rejected", "93 rejected", "94 sent", "95 rejected")),
            *(f"ispb 999999{row}\n" for row in ("96 sent", "97 pending", "98 sent", "99 rejected")),
            *(f"pix .{row}\n" for row in ("91 sent", "92 rejected", "93 rejected", "94 sent", "95 sent")),
            *(f"pix .{row}\n" for row in ("96 sent", "97 pending", "98 sent", "99 rejected")),
            '"items_pending":1,"items_sent":4,"items_rejected":4',
            '"transaction_amount":30.5,"fee_amount":0,"ted_status":"sent"',
            '"transaction_amount":30.91,"fee_amount":0,"ted_status":"pending"',
            '"code":"TED000006"',
            '"code":"PXT000916","extra_fields":{"reason":"not_found"}',
            "sem resposta@example com",
            '"delivery_status":"failed"',
            '"event_type":"aval.token_delivery.failed"',
            '"code":"TED000083"',
            '"method":"email"',
            '"enumerator":"approval_window_expired"',
        ],
    ),
    "docs/guides/webhooks.md": (
        FIRST,
        [
            '\n1 baas.ted.outgoing_ted {"request_control_key"',
            '\n2 baas.ted.outgoing_ted {"request_control_key"',
            '"callback_status":"pending"',
            "replayed      2",
            "\n2 2\n",
            '"POST / HTTP/1.1" 204',
        ],
    ),
    "docs/guides/redemptions.md": (
        "",
        [
            '"status":"not_started","missing":["device","identity","selfie"]',
            '"status":"complete","missing":[]',
            '"code":"RDM000084"',
            '"status":"confirmed"',
            '"points_value":11500,"points_value_onhold":0',
            '"kind":"total","points":8000,"shipping_points":500,"total":8500',
            '"available_after":20000',
            "202 pending_2fa_approval +55 11 *****-1234\n400 RDM000084 4\n201 confirmed 18500\n",
        ],
    ),
    "docs/guides/redemption-desk.md": ("", ["document", "Every key is still needed."]),
    "docs/guides/operating.md": (FIRST, ["Every key is still needed.", "aval_parked", "No settlement is parked."]),
    "docs/guides/backup.md": (FIRST, ["Aval would start.", "0 applied now", "count | max", "is_asked_first"]),
    "docs/guides/going-live.md": (
        f"{NAMES}\npg_dump --dbname $AVAL_DATABASE_URL --role=aval_backup --format=custom --file=aval.dump",
        [
            "Aval would start.",
            "0 applied now",
            "600 .aval/keys.json",
            "\naval_app_api|f|f|f\n",
            "\n200\n",
            "aval_database_up 1",
        ],
    ),
}


@pytest.mark.parametrize("page", RUN)
def test_the_lines_of_a_page_do_what_it_says(page: str, checkout: Path, environ: dict[str, str]) -> None:
    before, told = RUN[page]
    printed = run_page(page, checkout, environ, before=before)
    assert [words for words in told if words not in printed] == [], printed


def test_a_block_of_code_is_run_or_says_why_not() -> None:
    pages = ["README.md", *(f"docs/guides/{path.name}" for path in (ROOT / "docs" / "guides").glob("*.md"))]
    assert {page for page in pages if shell_lines(page)} == set(RUN)
    assert [
        (page, fence.code)
        for page in pages
        for fence in fences(page)
        if fence.language in ("", "bash", "console", "shell", "text") and not fence.before.startswith("<!-- not run: ")
    ] == []
