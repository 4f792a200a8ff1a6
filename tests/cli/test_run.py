"""The processes themselves: real ones, killed for real."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aval.storage.keys_file import KeysFile
from tests.cli.conftest import free_port

SOURCE = str(Path(__file__).parents[2] / "src")
PATIENCE_S = 60  # generous: the machine may be busy


@contextmanager
def _started(environ: dict[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    full = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE, **environ}
    process = subprocess.Popen([sys.executable, "-m", "aval", *words], env=full, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE_S)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _status(port: str | int, path: str = "/readyz") -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def _children(parent: int) -> dict[str, int]:
    """Pids of the parent's processes, by their command."""
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines() if line.endswith(f"--parent {parent}"))
    return {words[words.index("aval") + 1]: int(words[0]) for words in rows}


def _is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_a_killed_process_comes_back_and_a_stop_is_clean(environ: dict[str, str]) -> None:
    with _started(environ, "run") as run:
        _until(lambda: _status(environ["AVAL_PORT"]) == 200)
        _until(lambda: set(_children(run.pid)) == {"serve", "worker"})
        killed = _children(run.pid)
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)
        _until(lambda: _status(environ["AVAL_PORT"]) == 200)
        _until(lambda: len(_children(run.pid)) == 2 and not set(killed.values()) & set(_children(run.pid).values()))
        left = _children(run.pid)
        run.send_signal(signal.SIGINT)
        _, told = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0
    assert "Traceback" not in told
    assert "SIGKILL" in told and told.rstrip().endswith("goes on with it.")
    assert not any(_is_alive(pid) for pid in left.values())
    assert _status(environ["AVAL_PORT"]) is None


def test_processes_end_with_their_killed_parent(environ: dict[str, str]) -> None:
    with _started(environ, "run") as run:
        _until(lambda: len(_children(run.pid)) == 2 and _status(environ["AVAL_PORT"]) == 200)
        children = _children(run.pid)
        run.kill()
        _until(lambda: not any(_is_alive(pid) for pid in children.values()))


def _free_pair() -> int:
    """A port that is free, and the next one too."""
    while True:
        port = free_port()
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                return port
        except OSError:
            continue


def test_production_tells_its_numbers_on_ports_of_their_own(
    environ: dict[str, str], keys: KeysFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create()
    ops_port = _free_pair()
    production = environ | {"AVAL_ENV": "production", "AVAL_API_PROCESSES": "2", "AVAL_OPS_PORT": str(ops_port)}
    with _started(production, "serve") as serve:
        _until(lambda: _status(ops_port) == 200 and _status(ops_port + 1) == 200)
        assert _status(environ["AVAL_PORT"], "/metrics") == 404
        assert _status(ops_port, "/metrics") == 200
        assert _status(environ["AVAL_PORT"], "/approve/any") == 200
        assert _status(ops_port, "/approve/any") == 404
        serve.terminate()
        _, told = serve.communicate(timeout=PATIENCE_S)
    assert serve.returncode == 0
    assert "Traceback" not in told
