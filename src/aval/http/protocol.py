"""What uvicorn leaves out: a time limit and a size limit for the head of a request."""

import asyncio
import uuid
from datetime import timedelta
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from aval.domain.errors import Refusal
from aval.http.answers import header_lines
from aval.http.edge import Answer, encoded
from aval.http.limits import HEADERS_BYTES_MAX, URL_BYTES_MAX

HEAD_BYTES_MAX = HEADERS_BYTES_MAX + URL_BYTES_MAX + 1024  # what is a little above is told apart when it is complete
LINGER_S = 1.0
KEEP_ALIVE_S = 60


def server_options(head_timeout: timedelta) -> dict[str, Any]:
    """Options for uvicorn.Config that the promises of the edge rest on."""
    return {
        "http": protocol_class(head_timeout),
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "access_log": False,  # it would print paths and queries
        "log_config": None,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
    }


def protocol_class(head_timeout: timedelta) -> type[HttpToolsProtocol]:
    """Make the protocol for connections whose heads may take so long."""
    return type("EdgeProtocol", (_EdgeProtocol,), {"head_timeout_s": head_timeout.total_seconds()})


class _EdgeProtocol(HttpToolsProtocol):
    """Closes connections whose head comes too slowly or is too large; a timer runs only while a head is incomplete."""

    head_timeout_s: float
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _is_head_open = False
    _is_draining = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a head from the first moment on."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop expecting anything."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._is_head_open = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._is_head_open = False
        self._stop_timer()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse, then judge the head that is still incomplete, if any."""
        if self._is_draining:
            return
        super().data_received(data)
        if self._is_head_open:
            self._head_bytes += len(data)
            self._start_timer()
            if self._head_bytes > HEAD_BYTES_MAX:
                refusal = Refusal("qit.bad_request")
                self._end(Answer(refusal.http, encoded(refusal.body()), {"connection": "close"}))
        elif self.timeout_keep_alive_task is None and not self._is_answering():
            self._start_timer()  # bytes that begin no request end the wait for one as well

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _start_timer(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _on_late(self) -> None:
        self._head_timer = None
        self._end(Answer(408, b"", {"connection": "close"}))

    def _end(self, answer: Answer) -> None:
        """Answer, unless an earlier request is still being answered, and close once the client had time to read it."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self._is_answering():
            self.transport.close()
            return
        self._is_draining = True
        lines = [*self.server_state.default_headers, *header_lines(answer, str(uuid.uuid4()))]
        head = b"".join(b"%b: %b\r\n" % line for line in lines)
        self.transport.write(STATUS_LINE[answer.status] + head + b"\r\n" + answer.body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
