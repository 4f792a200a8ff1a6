"""What a request may be in size, time and form before anything else looks at it.

Source: transfers.md §2.1, promises.md §4.2.
"""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import unquote_plus

from aval.domain.errors import Refusal

URL_BYTES_MAX = 2 * 1024
HEADERS_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
HEADER_LINE_EXTRA = 4  # colon, space and line end
QUERY_PARAMETERS_MAX = 50
DIRECT = "aval.direct"  # where a scope holds the connection's DirectLine, if its server has one
REPEATED = "\n"  # joins the values of a header sent twice; no single value can hold it

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_CORRELATION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CONTENT_TYPE = re.compile(r'application/json(?:[ \t]*;[ \t]*charset="?utf-8"?)?[ \t]*', re.IGNORECASE)


class Line(Protocol):
    """A connection that takes and gives whole bodies where it can (`protocol.DirectLine`)."""

    def take_body(self) -> bytes | None:
        """The whole body if it is there; None if it has to be waited for."""

    def answer(self, status: int, headers: bytes, body: bytes) -> bool:
        """Write a whole answer; false if that cannot be done at once."""


class ClientGone(Exception):
    """The connection ended before the body was complete; nobody waits for an answer."""


class BodyTooSlow(Exception):
    """The body was not complete in time."""


def closing(name: str) -> Refusal:
    """Make a refusal after which the connection is closed."""
    return Refusal(name, headers={"connection": "close"})


def headers_of(scope: Scope) -> dict[str, str]:
    """Read the headers; the values of one sent twice are joined by REPEATED."""
    pairs = scope["headers"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    if len(headers) < len(pairs):
        headers.clear()
        for name_bytes, value_bytes in pairs:
            name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
            headers[name] = f"{headers[name]}{REPEATED}{value}" if name in headers else value
    return headers


def address_of(scope: Scope) -> str | None:
    """Read whom the connection comes from, or the client for whom a trusted proxy speaks."""
    client = scope.get("client")
    return client[0] if client else None


def correlation_id_of(headers: Mapping[str, str]) -> str:
    """The caller's correlation id – of several the first – if it may be used, else a new one."""
    given = headers.get("x-correlation-id", "").partition(REPEATED)[0]
    return given if _CORRELATION_ID.fullmatch(given) else str(uuid.uuid4())


def check_head(scope: Scope) -> None:
    """Refuse a head that is too large, a method nobody knows, and a token on its way into access logs."""
    query: bytes = scope["query_string"]
    if len(scope["raw_path"]) + len(query) > URL_BYTES_MAX or scope["method"] not in KNOWN_METHODS:
        raise closing("qit.bad_request")
    pairs = scope["headers"]
    size = sum(len(name) + len(value) for name, value in pairs) + HEADER_LINE_EXTRA * len(pairs)
    if len(pairs) > HEADERS_MAX or size > HEADERS_BYTES_MAX:
        raise closing("qit.bad_request")
    if query and any(_name_of(part) == "token" for part in query.split(b"&")):
        raise Refusal("qit.bad_request")


def _name_of(part: bytes) -> str:
    return unquote_plus(part.partition(b"=")[0].decode("latin-1")).strip().lower()


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether the head announces a body."""
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


async def read_body(
    receive: Receive, line: Line | None, headers: Mapping[str, str], *, limit: int, timeout: timedelta
) -> bytes:
    """Read a body that `has_body`; raises ClientGone, BodyTooSlow, or the refusal of one that is too large."""
    check_declared_size(headers, limit)
    whole = line.take_body() if line is not None else None
    if whole is None:
        return await _awaited_body(receive, limit=limit, timeout=timeout)
    if len(whole) > limit:
        raise closing("qit.payload_too_large")
    return whole


async def _awaited_body(receive: Receive, *, limit: int, timeout: timedelta) -> bytes:
    return b"".join([chunk async for chunk in body_chunks(receive, limit=limit, timeout=timeout)])


async def body_chunks(
    receive: Receive, *, limit: int, timeout: timedelta, at_end: Callable[[], None] | None = None
) -> AsyncIterator[bytes]:
    """A body as it arrives; raises ClientGone, BodyTooSlow, or the refusal of one that is too large.

    The time it may take is the time of its arrival: what is done between two chunks does not count.
    """
    loop = asyncio.get_running_loop()
    left_s, size, has_more = timeout.total_seconds(), 0, True
    while has_more:
        asked_at = loop.time()
        try:
            async with asyncio.timeout(left_s):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow from None
        left_s -= loop.time() - asked_at
        if message["type"] == "http.disconnect":
            raise ClientGone
        size += len(message.get("body", b""))
        if size > limit:
            raise closing("qit.payload_too_large")
        has_more = message.get("more_body", False)
        yield message.pop("body", b"")  # held by nobody here while it is worked on
    if at_end is not None:
        at_end()


def check_declared_size(headers: Mapping[str, str], limit: int) -> None:
    """Refuse a body by its declared size, before a byte of it is read."""
    declared = headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise closing("qit.bad_request")
    if len(declared.lstrip("0")) > len(str(limit)) or int(declared) > limit:
        raise closing("qit.payload_too_large")


def check_media_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that does not come as plain `application/json` in UTF-8."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal("qit.unsupported_media_type")
    if not _CONTENT_TYPE.fullmatch(headers.get("content-type", "")):
        raise Refusal("qit.unsupported_media_type")
