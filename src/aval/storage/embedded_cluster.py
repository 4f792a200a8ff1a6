"""One PostgreSQL cluster of the embedded server: made, configured, started, stopped and asked whether it answers.

The callers hold start.lock (see `embedded.py`), so none of this runs twice at once.
"""

import hashlib
import os
import pwd
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from aval.storage.embedded_binaries import Account, EmbeddedServerFailed, Installation, run_as

USER = DATABASE = "aval"
PORT = 5432  # of the socket's name; no network port is opened
SOCKET_PATH_MAX = 100  # the kernel takes 107 bytes on Linux, 103 on macOS
READY_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
STALE_TIMEOUT_S = 20.0  # how long orphans of a killed server may take to notice

CONFIGURATION = """\
# Written by Aval at every start; put settings of your own into local.conf beside this file.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
hba_file = '{base}/pg_hba.conf'
ident_file = '{base}/pg_ident.conf'
max_connections = 200
shared_buffers = 128MB
fsync = on
synchronous_commit = on
full_page_writes = on
min_wal_size = 128MB
max_wal_size = 1GB
random_page_cost = 1.1
jit = off
autovacuum_naptime = 10s
autovacuum_vacuum_scale_factor = 0.02
autovacuum_vacuum_insert_scale_factor = 0.02
autovacuum_analyze_scale_factor = 0.02
timezone = 'UTC'
log_timezone = 'UTC'
# Neither statements nor their values reach the log.
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_statement = 'none'
log_min_duration_statement = -1
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
include_if_exists = 'local.conf'
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server lives and as whom it runs."""

    base: Path
    account: Account | None
    installation: Installation

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.base / "data"

    @property
    def sockets(self) -> Path:
        """The private directory of the socket, beside the data or, where that path is too long, under /tmp."""
        beside = self.base / "socket"
        if len(str(beside)) + len(f"/.s.PGSQL.{PORT}") <= SOCKET_PATH_MAX and re.fullmatch(r"[\w./-]+", str(beside)):
            return beside
        return Path("/tmp") / f"aval-{mark(self.base)}"  # noqa: S108 - made with mode 700, ownership checked

    @property
    def dsn(self) -> str:
        """Connection string of the superuser over the private socket."""
        return f"postgresql://{USER}@/{DATABASE}?host={quote(str(self.sockets))}&port={PORT}"


def bring_up(place: Place, *, is_alone: Callable[[], bool]) -> None:
    """Return when the server accepts connections: attach to it, or make and start it."""
    state = _readiness(place)
    if state == 0:
        return
    if state != 1:  # 1: it is starting or stopping right now
        if not place.cluster.exists():
            _initialise(place)
        _configure(place)
        if is_alone():
            _discard_stale_locks(place)
        _run_server(place)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (state := _readiness(place)) == 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    if state == 2:  # it was stopping
        _run_server(place)


def _initialise(place: Place) -> None:
    """Make the cluster aside and rename it, so that a kill in between leaves nothing half made."""
    draft = place.base / "data.draft"
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    _give_to(place.account, draft)
    options = ("--username", USER, "--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions")
    made = run_as(
        place.account,
        place.installation.program("initdb"),
        *("--pgdata", str(draft), "--auth-local=peer", "--auth-host=reject", *options),
    )
    if made.returncode:
        raise EmbeddedServerFailed("did_not_start", made.stderr)
    created = run_as(
        place.account,
        place.installation.program("postgres"),
        *("--single", "-D", str(draft), "postgres"),
        stdin=f"create database {DATABASE}\n",
    )
    if created.returncode or "ERROR" in created.stderr:
        raise EmbeddedServerFailed("did_not_start", created.stderr)
    draft.rename(place.cluster)


def _configure(place: Place) -> None:
    """The kernel says who is at the other end of the socket: only root, the starter and the server's account pass."""
    names = {"root", pwd.getpwuid(os.geteuid()).pw_name, place.account.name if place.account else "root"}
    if not place.sockets.exists():
        place.sockets.mkdir(mode=0o700)
        _give_to(place.account, place.sockets)
    owner = place.account.uid if place.account else os.geteuid()
    if place.sockets.is_symlink() or place.sockets.stat().st_uid != owner:
        raise EmbeddedServerFailed("socket_directory_taken")
    base = str(place.base).replace("'", "''")
    _write(place, "postgresql.conf", CONFIGURATION.format(port=PORT, sockets=place.sockets, base=base))
    _write(place, "pg_hba.conf", "local all all peer map=aval\nlocal replication all peer map=aval\n")
    _write(place, "pg_ident.conf", "".join(f'aval "{name}" all\n' for name in sorted(names)))


def _write(place: Place, name: str, text: str) -> None:
    draft = place.base / f"{name}.draft"
    draft.write_text(text)
    draft.chmod(0o644 if place.account else 0o600)
    draft.replace(place.base / name)


def _run_server(place: Place) -> None:
    """Start it; where a killed server's orphans still hold its memory, wait for them to notice."""
    log = place.cluster / "start.log"
    settings = str(place.base / "postgresql.conf").replace("'", "'\\''")
    deadline = time.monotonic() + STALE_TIMEOUT_S
    while True:
        seen = log.stat().st_size if log.exists() else 0
        started = run_as(
            place.account,
            place.installation.program("pg_ctl"),
            *("start", "--pgdata", str(place.cluster), "--log", str(log), "--wait", "-t", str(READY_TIMEOUT_S)),
            *("--options", f"-c config_file='{settings}'"),
        )
        if started.returncode == 0:
            return
        said = log.read_text(errors="replace")[seen:] if log.exists() else started.stderr
        is_passing = "shared memory block" in said or "lock file" in said
        if not is_passing or time.monotonic() > deadline:
            raise EmbeddedServerFailed("did_not_start", said[-2000:])
        time.sleep(0.2)


def _discard_stale_locks(place: Place) -> None:
    """PostgreSQL trusts the process number in its lock files; in a container a number is soon somebody else's."""
    lock_file = place.cluster / "postmaster.pid"
    with suppress(FileNotFoundError, ValueError, IndexError):
        command = Path(f"/proc/{int(lock_file.read_text().split()[0])}/cmdline")
        if command.exists() and os.fsencode(place.cluster) not in command.read_bytes():
            lock_file.unlink()
            (place.sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def shut_down(place: Place) -> None:
    """Stop the server; sessions still open are ended."""
    for mode in ("fast", "immediate"):
        stopped = run_as(
            place.account,
            place.installation.program("pg_ctl"),
            *("stop", "--pgdata", str(place.cluster), "--mode", mode, "--wait", "-t", str(STOP_TIMEOUT_S)),
        )
        if stopped.returncode == 0 or not listens(place):
            return


def _readiness(place: Place) -> int:
    """0 accepts connections, 1 is starting or stopping, 2 does not answer."""
    if not listens(place):
        return 2
    at = ("--host", str(place.sockets), "--port", str(PORT))
    return run_as(place.account, place.installation.program("pg_isready"), *at, "--timeout=3", "--quiet").returncode


def listens(place: Place) -> bool:
    """Tell whether a server process holds the socket, however busy it is."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(place.sockets / f".s.PGSQL.{PORT}"))
        except TimeoutError:
            return True  # it is too busy to take the call, so it is there
        except OSError:
            return False
    return True


def _give_to(account: Account | None, path: Path) -> None:
    if account:
        os.chown(path, account.uid, account.gid)


def mark(path: Path) -> str:
    """A short name for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
