"""A real HTTP server that stands before an API and fails as told: once for each fault, in order, then not at all."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit


class Fault(Enum):
    """What goes wrong with one request."""

    NONE = "it is passed on, and so is the answer"
    LOST_BEFORE = "the connection ends, the API hears nothing"
    LOST_AFTER = "the API has answered, so it has committed; the connection ends without a byte"
    CUT = "the API has answered; the connection ends within the body"
    SILENT = "the API has answered; nothing more happens on the connection"
    ENDED = "the answer is passed on; then the connection ends without a word"


@dataclass(frozen=True)
class Told:
    """An answer of this server's own; the API hears nothing."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class FaultyServer:
    """Counts and keeps the requests it gets."""

    def __init__(self, upstream: str, *faults: Fault | Told) -> None:
        parts = urlsplit(upstream)
        self._upstream = parts.hostname, parts.port
        self.faults = deque(faults)
        self.requests: list[Request] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head, headers, body = await _message(reader)
        self.requests.append(Request(head.split(b"\r\n", 1)[0].decode(), headers, body))
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if isinstance(fault, Told):
            lines = "".join(f"{name}: {value}\r\n" for name, value in fault.headers.items())
            length = len(fault.body)
            writer.write(f"HTTP/1.1 {fault.status} X\r\nContent-Length: {length}\r\n{lines}\r\n".encode() + fault.body)
        elif fault is not Fault.LOST_BEFORE:
            answer_head, _, answer = await self._asked(head, body)
            if fault is Fault.SILENT:
                await reader.read()
            elif fault is not Fault.LOST_AFTER:
                writer.write(answer_head + (answer[: len(answer) // 2] if fault is Fault.CUT else answer))
        await writer.drain()
        return fault is Fault.NONE or isinstance(fault, Told)

    async def _asked(self, head: bytes, body: bytes) -> tuple[bytes, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            writer.write(head + body)
            return await _message(reader)
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str], bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head[:-4].decode("latin-1").split("\r\n")[1:]
    headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
    return head, headers, await reader.readexactly(int(headers.get("content-length", 0)))


@asynccontextmanager
async def running_faulty_server(upstream: str, *faults: Fault | Told) -> AsyncIterator[FaultyServer]:
    """Listen on loopback."""
    faulty = FaultyServer(upstream, *faults)
    server = await asyncio.start_server(faulty.serve, "127.0.0.1", 0)
    faulty.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield faulty
    finally:
        server.close()
