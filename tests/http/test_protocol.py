import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from aval.http.answers import send_answer
from aval.http.edge import Answer
from aval.http.limits import DIRECT, headers_of, read_body
from aval.http.protocol import HEAD_BYTES_MAX
from aval.http.server import Listener, ServerSettings, serve

HEADERS_TIMEOUT_S = 0.3
CALLS = 50


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the body and answers who asked for what."""
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    body = json.dumps([scope["method"], scope["path"], scope["client"][0], scope["scheme"]]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the body it read, the short way where there is one and the path does not forbid it."""
    line = None if scope["path"] == "/long" else scope.get(DIRECT)
    headers = headers_of(scope)
    body = await read_body(receive, line, headers, limit=1000, timeout=timedelta(seconds=1)) if headers else b""
    await send_answer(send, line, Answer(202, body or b"-"), "proof:1")


async def _served(settings: ServerSettings, application: Any = app) -> AsyncIterator[int]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    stop = asyncio.Event()
    running = asyncio.create_task(serve([Listener(application, listening)], settings, stop))
    yield port
    stop.set()
    await running


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async for port in _served(ServerSettings(headers_timeout_s=HEADERS_TIMEOUT_S)):
        yield port


async def _answer(port: int, *parts: bytes) -> bytes:
    """All the server says until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def test_a_whole_request_is_answered_without_naming_the_server(port: int) -> None:
    answer = await _answer(port, b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"server:" not in answer.lower()


async def test_requests_on_one_connection_are_answered_in_order(port: int) -> None:
    first = b"POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    last = b"GET /two HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    answer = await _answer(port, first + last)
    assert answer.count(b"200 OK") == 2
    assert answer.index(b"/one") < answer.index(b"/two")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"BREW /x HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /x\r\n\r\nGET",
        b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"GET /x HTTP/1.1\nhost: a\n\n",
        b"GET /x HTTP/1.1\r\nhost: a\r\nx: 1\r\n folded\r\n\r\n",
        b"GET /x HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
)
async def test_what_is_no_valid_http_gets_a_bare_400_and_a_closed_connection(port: int, request_bytes: bytes) -> None:
    answer = await _answer(port, request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in head
    assert body == b""


@pytest.mark.parametrize(
    "start", [b"GET /" + b"u" * HEAD_BYTES_MAX, b"GET / HTTP/1.1\r\n" + b"x: " + b"h" * HEAD_BYTES_MAX]
)
async def test_a_head_without_end_is_cut_with_the_catalogued_refusal(port: int, start: bytes) -> None:
    answer = await _answer(port, start[:1000], start[1000:])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"x-correlation-id: " in head
    assert json.loads(body)["code"] == "QIT000400"


async def test_a_slow_head_gets_a_408_and_a_silent_connection_just_ends(port: int) -> None:
    silent, slow = await asyncio.gather(_answer(port), _answer(port, b"GET /x HTTP/1.1\r\n", b"host: a\r\n"))
    assert silent == b""
    assert slow.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_a_slow_second_head_is_cut_too(port: int) -> None:
    answer = await _answer(port, b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /two HTTP/1.1\r\n")
    assert answer.index(b"200 OK") < answer.index(b"408 Request Timeout")


async def test_a_slow_body_is_not_the_business_of_the_head(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{")
    await asyncio.sleep(HEADERS_TIMEOUT_S * 1.5)
    writer.write(b"}")
    assert b"200 OK" in await asyncio.wait_for(reader.read(), 5)
    writer.close()


@pytest.mark.parametrize(("proxies", "client"), [(("127.0.0.0/8",), "203.0.113.9"), ((), "127.0.0.1")])
async def test_forwarded_headers_count_only_from_a_listed_proxy(proxies: tuple[str, ...], client: str) -> None:
    async for port in _served(ServerSettings(trusted_proxies=proxies)):
        head = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-forwarded-for: 203.0.113.9\r\n\r\n"
        assert json.loads((await _answer(port, head)).partition(b"\r\n\r\n")[2])[2] == client


async def test_a_call_in_progress_ends_before_the_server_does() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    entered, stop = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        await asyncio.sleep(0.3)
        await app(scope, receive, send)

    running = asyncio.create_task(serve([Listener(slow, listening)], ServerSettings(), stop))
    asking = asyncio.create_task(_answer(listening.getsockname()[1], b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n"))
    await entered.wait()
    stop.set()
    assert (await asking).startswith(b"HTTP/1.1 200 OK")
    await running


async def test_the_short_way_says_the_same_as_the_messages_of_asgi() -> None:
    """Pipelined requests, a body in pieces, HEAD and a connection that ends, each both ways."""
    ways = []
    async for port in _served(ServerSettings(headers_timeout_s=HEADERS_TIMEOUT_S), echo):
        for path in (b"/short", b"/long"):
            head = b"POST " + path + b" HTTP/1.1\r\nhost: a\r\n"
            last = head + b"connection: close\r\ncontent-length: 4\r\n\r\nlast"
            ahead = b"HEAD " + path + b" HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nxx"
            several = (head + b"content-length: 5\r\n\r\nwhole") * 2 + head + b"content-length: 6\r\n\r\npie"
            ways.append(await _answer(port, several, b"ces" + ahead, last))
    short, long = ([line for line in way.split(b"\r\n") if not line.startswith(b"date:")] for way in ways)
    assert short == long
    assert sum(b"HTTP/1.1 202 Accepted" in line for line in short) == 5
    assert b"".join(ways).count(b"wholeHTTP/1.1") == 4 and b"".join(ways).count(b"piecesHTTP/1.1") == 2


async def test_an_answered_request_leaves_nothing_for_the_garbage_collector() -> None:
    async for port in _served(ServerSettings(headers_timeout_s=HEADERS_TIMEOUT_S), echo):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):  # the first calls fill caches
            gc.collect()
            gc.disable()
            for _ in range(CALLS):
                writer.write(b"POST /short HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nwhole")
                await reader.readuntil(b"whole")
            garbage = gc.collect()
            gc.enable()
        writer.close()
        assert garbage < CALLS
