"""Bounds on the head of a request, which ends before any application code sees it.

uvicorn reads heads of any length for any time; promises.md §4.2 cuts them: 16 KiB of headers, 2 KiB of URL, 10 s.
What is within these bounds, or arrives as a whole, is judged by `limits.check_head`.
"""

import asyncio
import json
import uuid
from typing import Any, ClassVar, cast
from weakref import ref

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from aval.domain.errors import problem_body
from aval.http.answers import SECURITY_HEADERS
from aval.http.limits import DIRECT, HEADERS_BYTES_MAX, URL_BYTES_MAX

REQUEST_LINE_EXTRA = 64  # method, version and line ends
HEAD_BYTES_MAX = HEADERS_BYTES_MAX + URL_BYTES_MAX + REQUEST_LINE_EXTRA

LINGER_S = 1.0  # closing at once would reset the connection, and the client could lose the answer

VERSIONS = ("1.0", "1.1")

_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_MALFORMED = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class UnknownVersion(Exception):
    """The request is no HTTP/1; uvicorn ends the connection as after any other parser error."""


class DirectLine:
    """What the application may do on a connection without a message for each step (docs/adr/0026).

    Both halves answer that they did nothing where the case is not the plain one; then the messages of ASGI do it.
    """

    __slots__ = ("_cycle_of",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        # Weak, for it lies in the scope that the cycle holds: garbage that only the collector would ever find.
        self._cycle_of = ref(cycle)

    def take_body(self) -> bytes | None:
        """The whole body, if it arrived with its head; None if it has to be waited for."""
        cycle = self._cycle_of()
        if (
            cycle is None
            or cycle.more_body
            or cycle.disconnected
            or cycle.response_complete
            or cycle.waiting_for_100_continue
        ):
            return None
        body = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.flow.resume_reading()
        cycle.message_event.clear()
        return body

    def answer(self, status: int, headers: bytes, body: bytes) -> bool:
        """Write a whole answer at once; `headers` are lines that end with the empty one."""
        cycle = self._cycle_of()
        if (
            cycle is None
            or cycle.disconnected
            or cycle.response_started
            or not cycle.keep_alive
            or cycle.flow.write_paused
        ):
            return False
        standing = [b"%b: %b\r\n" % line for line in cycle.default_headers]
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(b"".join((STATUS_LINE[status], *standing, headers, body)))
        cycle.message_event.set()
        cycle.on_response()
        return True


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with an end to the patience; `guarded` makes one with its own time."""

    headers_timeout_s: ClassVar[float] = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_head = True  # a connection that stays silent has to end as well
        self._head_bytes = 0
        self._is_draining = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and look at what it has not finished."""
        if self._is_draining:
            return
        was_in_head = self._is_in_head
        super().data_received(data)
        if self._is_in_head:
            # How much of a chunk belongs to a head that begins within it is not known; one chunk more does no harm.
            self._head_bytes += len(data) if was_in_head else 1
        self._look_at_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head ends; what follows is judged by the application."""
        self._is_in_head = False
        self._stop_waiting()
        if self.parser.get_http_version() not in VERSIONS:
            raise UnknownVersion
        super().on_headers_complete()
        scope: dict[str, Any] = cast(Any, self.cycle.scope)
        if scope["method"] != "HEAD":
            scope[DIRECT] = DirectLine(self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no valid HTTP (transfers.md §2.1): bare, and the connection ends."""
        self._end(_MALFORMED)

    def _look_at_head(self) -> None:
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._end(_too_large())
        elif self._patience is None and (self._is_in_head or self._is_idle()):
            self._wait_for_head()

    def _is_idle(self) -> bool:
        """Bytes that begin no request, such as empty lines, end uvicorn's wait for one without starting another."""
        return self.timeout_keep_alive_task is None and not self._is_answering()

    def _wait_for_head(self) -> None:
        self._patience = self.loop.call_later(self.headers_timeout_s, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        if self._is_answering():
            self._wait_for_head()  # the head of a later request, while an earlier one is still at work
        else:
            self._end(_TIMED_OUT if self._head_bytes else b"")

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _end(self, answer: bytes) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if not answer or self._is_answering():  # never into another answer
            self.transport.close()
            return
        self._is_draining = True
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


def guarded(headers_timeout_s: float) -> type[GuardedProtocol]:
    """The protocol with this patience."""
    return type("GuardedProtocol", (GuardedProtocol,), {"headers_timeout_s": headers_timeout_s})


def _too_large() -> bytes:
    body = json.dumps(problem_body("qit.bad_request")).encode()
    lines = [
        b"HTTP/1.1 400 Bad Request",
        b"content-type: application/json; charset=utf-8",
        *(name + b": " + text for name, text in SECURITY_HEADERS),
        b"x-correlation-id: %b" % str(uuid.uuid4()).encode(),
        b"content-length: %d" % len(body),
        b"connection: close",
    ]
    return b"\r\n".join([*lines, b"", body])
