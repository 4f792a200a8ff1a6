"""A small HTTP client for load: prepared requests over kept connections, as little work per call as possible."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
CALL_TIMEOUT_S = 60.0


def request_bytes(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: Any = None  # uvloop's own class

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to the API on this machine."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Gather an answer and hand it over once it is whole."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        place = head.lower().find(b"content-length:")
        length = int(head[place + 15 : head.find(b"\r\n", place) if b"\r\n" in head[place:] else None])
        if len(rest) >= length and self._answer is not None:
            self._buffer = b""
            self._answer.set_result((int(head[9:12]), rest[:length]))

    def connection_lost(self, failure: Exception | None) -> None:
        """Tell whoever waits."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(failure or ConnectionResetError())

    async def call(self, request: bytes) -> tuple[int, bytes]:
        """Send one request and wait for its answer: status and body."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


@dataclass
class Load:
    """What a stretch of load came to."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many were answered."""
        return self.statuses.total()

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds if self.seconds else 0.0


async def closed_loop(
    port: int, requests: Iterator[bytes], *, clients: int, seconds: float, keeps_bodies: bool = False
) -> Load:
    """Clients that each send their next request as soon as the last was answered, for a while."""
    load = Load()
    connections = [await Connection.open(port) for _ in range(clients)]
    started = time.perf_counter()
    until = started + seconds

    async def client(connection: Connection) -> None:
        for request in requests:
            sent = time.perf_counter()
            status, body = await connection.call(request)
            now = time.perf_counter()
            load.statuses[status] += 1
            load.latencies_s.append(now - sent)
            if keeps_bodies:
                load.bodies.append(body)
            if now >= until:
                return

    await asyncio.gather(*map(client, connections))
    load.seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return load


async def open_loop(port: int, requests: Sequence[bytes], *, per_second: float, clients: int) -> Load:
    """Requests at a fixed rate whatever the answers do; latency counts from when a request was due."""
    load = Load()
    idle = asyncio.Queue[Connection]()
    for _ in range(clients):
        idle.put_nowait(await Connection.open(port))
    started = time.perf_counter()

    async def one(due: float, request: bytes) -> None:
        connection = await idle.get()
        status, _ = await connection.call(request)
        load.latencies_s.append(time.perf_counter() - due)
        load.statuses[status] += 1
        idle.put_nowait(connection)

    tasks = []
    for number, request in enumerate(requests):
        due = started + number / per_second
        delay = due - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.create_task(one(due, request)))
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - started
    while not idle.empty():
        idle.get_nowait().close()
    return load


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all values lies; 0 for none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
