"""Several processes under one command: sockets they share, and a parent that starts a killed one again."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aval.cli.refusal import because

EXIT_REFUSED = 2
BACKLOG = 2_048
PAUSE_S = 0.1  # before a process that ended is started again; doubles while it keeps ending
PAUSE_MAX_S = 5.0
SETTLED_S = 5.0  # a process that lived this long was well: whatever ended it, it is started again
PARENT_LOOK_S = 1.0

_CAUSES = {
    errno.EADDRINUSE: "port_taken",
    errno.EACCES: "port_forbidden",
    errno.EPERM: "port_forbidden",
    errno.EADDRNOTAVAIL: "host_unknown",
}


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep alive: `aval` with these arguments, and the sockets it inherits by number."""

    name: str
    arguments: Sequence[str]
    inherited: Sequence[int] = ()


def bound(host: str, port: int, variable: str) -> socket.socket:
    """A listening socket; raises CommandRefused that names the variable."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror:
        raise because("host_unknown", host=host) from None
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0)
        if cause is None:
            raise
        raise because(cause, variable=variable, host=host, port=port) from None


def stop_on_signals() -> asyncio.Event:
    """An event that Ctrl-C and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def stop_with_parent(parent: int | None, stop: asyncio.Event) -> None:
    """Set the event once the parent is gone, even killed: orphans would keep its port."""
    while parent is not None and not stop.is_set():
        if os.getppid() != parent:
            stop.set()
        await asyncio.sleep(PARENT_LOOK_S)


async def keep_alive(
    children: Iterable[Child],
    environment: dict[str, str],
    stop: asyncio.Event,
    *,
    grace_s: float,
    tell: Callable[[str], None],
) -> int:
    """Run the children until `stop`, then end them; the exit code is 2 if one of them refused to start."""
    keepers = [_Keeper(child, environment, stop, grace_s, tell) for child in children]
    codes = await asyncio.gather(*(keeper.keep() for keeper in keepers))
    return max(codes)


class _Keeper:
    def __init__(
        self,
        child: Child,
        environment: dict[str, str],
        stop: asyncio.Event,
        grace_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._child = child
        self._environment = environment
        self._stop = stop
        self._grace_s = grace_s
        self._tell = tell
        self._has_settled = False

    async def keep(self) -> int:
        pause = PAUSE_S
        while not self._stop.is_set():
            started = asyncio.get_running_loop().time()
            code = await self._run()
            if self._stop.is_set():
                break
            lived_s = asyncio.get_running_loop().time() - started
            self._has_settled = self._has_settled or lived_s > SETTLED_S
            if code == EXIT_REFUSED and not self._has_settled:
                self._stop.set()
                return EXIT_REFUSED
            pause = PAUSE_S if lived_s > SETTLED_S else min(pause * 2, PAUSE_MAX_S)
            self._tell(f"The {self._child.name} process ended ({_how(code)}); it is started again.")
            await _wait(self._stop, pause)
        return 0

    async def _run(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # what lies in the working directory is not Aval
            "-m",
            "aval",
            *self._child.arguments,
            "--parent",
            str(os.getpid()),
            env=self._environment,
            pass_fds=self._child.inherited,
            process_group=0,  # Ctrl-C reaches the parent alone, which ends its children in order
        )
        ended, stopping = asyncio.ensure_future(process.wait()), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(process)
            return await ended
        finally:
            stopping.cancel()

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._grace_s)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
