"""Starts the PostgreSQL that comes with Aval, and shares it between all Aval processes of one data directory.

Below the data directory lies `postgresql/`: `data` (the cluster), `socket`, three configuration files and two lock
files. `start.lock` is held while somebody starts or stops the server; `users.lock` is shared by everybody who uses it,
so that the last to leave stops it. A killed process loses its locks, and the next start adopts the server it left.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from aval.storage.embedded_binaries import (
    Account,
    EmbeddedServerFailed,
    Notice,
    installation_for,
    make_directory,
    may_enter,
    server_account,
)
from aval.storage.embedded_cluster import Place, bring_up, listens, mark, shut_down

SYSTEM_DIRECTORY = Path("/var/lib/aval")
LOCK_TIMEOUT_S = 180.0


class EmbeddedServer:
    """One use of the server of a data directory; `start` attaches when it runs already."""

    def __init__(
        self, data_dir: Path, *, notice: Notice | None = None, system_directory: Path = SYSTEM_DIRECTORY
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._notice = notice or (lambda _sentence: None)
        self._system_directory = system_directory
        self._place: Place | None = None
        self._users: int | None = None

    @property
    def place(self) -> Place:
        """Where the server lives; known once it was started."""
        assert self._place is not None, "the embedded server was not started"
        return self._place

    async def start(self) -> str:
        """Start the server or attach to it, and return its DSN; calling it again revives a server that died."""
        joins = self._users is None
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(EmbeddedServerFailed, OSError):
                await starting
            if joins:
                await self.stop()
            raise

    async def stop(self) -> None:
        """Leave the server; the last to leave stops it."""
        await asyncio.shield(asyncio.to_thread(self._stop))

    async def keep_running(self, *, every_s: float = 1.0) -> None:
        """Look after the server until cancelled, and start it again whenever its process is gone."""
        while True:
            await asyncio.sleep(every_s)
            if not await asyncio.to_thread(listens, self.place):
                with suppress(EmbeddedServerFailed):  # the next round tries again
                    await self.start()

    def _start(self) -> str:
        try:
            place = self._place = self._place or _find_place(self._data_dir, self._system_directory, self._notice)
            with _exclusive(place):
                joins = self._users is None
                self._join(place)
                try:
                    bring_up(place, is_alone=self._is_alone)
                except BaseException:
                    if joins:
                        self._leave()
                    raise
        except PermissionError as error:
            raise EmbeddedServerFailed("data_of_another_user", str(error)) from error
        return place.dsn

    def _stop(self) -> None:
        if self._place is None:
            return
        with _exclusive(self._place):
            if self._users is not None and self._is_alone():
                shut_down(self._place)
            self._leave()

    def _is_alone(self) -> bool:
        """Nobody else uses the server; only asked under start.lock, so nobody can join meanwhile."""
        assert self._users is not None
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self._users, fcntl.LOCK_SH)
            return False
        fcntl.flock(self._users, fcntl.LOCK_SH)
        return True

    def _join(self, place: Place) -> None:
        if self._users is None:
            self._users = _opened(place.base / "users.lock")
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def _leave(self) -> None:
        if self._users is not None:
            os.close(self._users)
            self._users = None


@asynccontextmanager
async def embedded_server(data_dir: Path, *, notice: Notice | None = None) -> AsyncIterator[str]:
    """Lend the DSN of a running server under `data_dir`."""
    server = EmbeddedServer(data_dir, notice=notice)
    dsn = await server.start()
    try:
        yield dsn
    finally:
        await server.stop()


def _find_place(data_dir: Path, system_directory: Path, notice: Notice) -> Place:
    own, relocated = data_dir / "postgresql", system_directory / mark(data_dir)
    account = server_account([own / "data", relocated / "data"])
    base = own if account is None else _base_for(account, own, relocated, notice)
    make_directory(base)
    return Place(base, account, installation_for(base / "data", account, system_directory, notice))


def _base_for(account: Account, own: Path, relocated: Path, notice: Notice) -> Path:
    """Root's choice: beside Aval's other data if `account` gets there, else under the system directory."""
    if not (relocated / "data").exists():
        make_directory(own.parent)
        if may_enter(account, own.parent):
            return own
        if (own / "data").exists():
            raise EmbeddedServerFailed("data_unreachable")
        make_directory(relocated)
        if not may_enter(account, relocated):
            raise EmbeddedServerFailed("system_directory_unreachable")
    notice(f"The database lies in {relocated}, because {account.name}, who runs PostgreSQL, cannot reach {own.parent}.")
    return relocated


@contextmanager
def _exclusive(place: Place) -> Iterator[None]:
    lock = _opened(place.base / "start.lock")
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedServerFailed("busy") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
