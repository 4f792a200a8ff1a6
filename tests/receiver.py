"""A webhook receiver on this machine, which answers as its paths say and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`url` with a status as its path answers that; `/hang` answers nothing before it is told to let go."""

    url: str
    requests: list[Received] = field(default_factory=list)
    answers: dict[str, list[web.Response]] = field(default_factory=dict)  # taken before the path's own
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def on(self, path: str) -> list[Received]:
        return [request for request in self.requests if request.path == path]

    async def take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): text for name, text in request.headers.items()}
        self.requests.append(Received(request.path, headers, await request.read()))
        prepared = self.answers.get(request.path)
        if prepared:
            return prepared.pop(0)
        if request.path.startswith("/hang"):
            await self.let_go.wait()
            return web.Response(status=204)
        return web.Response(status=int(request.path[1:4]))


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Listen on a free port of the loopback."""
    receiver = Receiver("")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address: Any = runner.addresses[0]
    receiver.url = f"http://127.0.0.1:{address[1]}"
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        await runner.cleanup()
