"""Listens: uvicorn with uvloop and httptools, without a word about itself."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn

from aval.http.protocol import guarded

BACKLOG = 2_048
# Young objects before the collector looks: a call leaves no cycles, so looking often only costs (docs/adr/0020).
COLLECT_THRESHOLDS = (20_000, 50, 100)
KEEP_ALIVE_S = 75  # longer than common clients keep theirs, so that they end idle connections and not we


@dataclass(frozen=True, slots=True)
class Listener:
    """An ASGI application and the bound socket it answers on."""

    app: Any
    socket: socket.socket


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the server needs to know of the deployment; proxies are networks whose X-Forwarded headers count."""

    trusted_proxies: Sequence[str] = ()
    headers_timeout_s: float = 10.0
    shutdown_grace_s: float = 25.0


class _Server(uvicorn.Server):
    """Signals belong to the command, which may run several servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(listeners: Sequence[Listener], settings: ServerSettings, stop: asyncio.Event) -> None:
    """Answer until `stop` is set; then finish the calls in progress, as long as the grace lasts."""
    _settle_memory()
    servers = [_Server(_config(listener.app, settings)) for listener in listeners]
    running = [
        asyncio.create_task(server.serve(sockets=[listener.socket]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*running)


def _settle_memory() -> None:
    """Take what is loaded for good out of the garbage collector's sight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_THRESHOLDS)


def _config(app: Any, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=guarded(settings.headers_timeout_s),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
    )
