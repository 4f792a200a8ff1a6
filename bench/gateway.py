"""A message gateway on loopback: takes what the worker sends and hands each token to whoever waits for it."""

import asyncio
import re
from typing import Any

import msgspec

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
_NUMBER = re.compile(r" p/ P(\d+) ")


class Gateway:
    """Tokens by the number in the payee's name, which the load puts there."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._server: asyncio.Server | None = None
        self.messages = 0

    async def start(self) -> int:
        """Listen on a free port; answers it."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Intake(self), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    def token_of(self, number: int) -> "asyncio.Future[str]":
        """The token that will arrive for a payee."""
        return self._waiting.setdefault(number, asyncio.get_running_loop().create_future())

    def take(self, body: bytes) -> None:
        """Read one message."""
        self.messages += 1
        text: str = msgspec.json.decode(body)["text"]
        found = _NUMBER.search(text)
        if found is None:
            return
        waiting = self.token_of(int(found[1]))
        if not waiting.done():
            waiting.set_result(text[-6:])


class _Intake(asyncio.Protocol):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's own class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        match = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        length = int(match[1]) if match else 0
        if len(rest) >= length:
            self._buffer = rest[length:]
            self._gateway.take(rest[:length])
            self._transport.write(_ANSWER)
