import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from aval.domain.errors import Refusal
from aval.http.app import App
from aval.http.edge import Answer, Call, json_answer
from aval.http.limits import check_declared_size, check_media_type, correlation_id_of, headers_of
from aval.http.server import ServerSettings
from aval.storage.database import Database
from tests.factories import exchange, make_parts
from tests.http.probe import COLD, HOT, listening, probe_routes, said

UNREACHABLE = "postgresql://127.0.0.1:1/nowhere"
PATHS = [pytest.param(HOT, id="hot"), pytest.param(COLD, id="cold")]
JSON = {"content-type": "application/json"}


@pytest.fixture
async def app() -> AsyncIterator[App]:
    db = await Database.open(UNREACHABLE)
    parts = make_parts(db)
    yield App(parts, probe_routes(audience="public"))
    await db.close()


def put(path: str, *lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"PUT {path} HTTP/1.1", "host: a", *lines, "", ""]).encode() + body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?text=" + "x" * 2048, {}),
        ("", {"x-long": "x" * 16_384}),
        ("", {f"x-{number}": "1" for number in range(101)}),
        ("?token=7K3M9Q", {}),
        ("?page=1&%74oken=7K3M9Q", {}),
        ("?TOKEN", {}),
    ],
)
async def test_an_oversized_head_or_a_token_in_the_query_is_refused(
    app: App, path: str, query: str, headers: dict[str, str]
) -> None:
    answer = await exchange(app, "PUT", path + query, headers, b"")
    assert (answer.status, answer.code) == (400, "QIT000400")
    assert "7K3M9Q" not in answer.body.decode()
    assert ("connection" in answer.headers) == ("oken" not in query.lower())


@pytest.mark.parametrize("path", PATHS)
async def test_the_largest_head_that_is_allowed_passes(app: App, path: str) -> None:
    headers = {f"x-{number}": "1" * 150 for number in range(100)}
    assert (await exchange(app, "PUT", path, headers, b"")).status == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"", 200, None),
        ({"content-length": "0"}, b"", 200, None),
        (JSON, b"{}", 200, None),
        ({"content-type": "application/json; charset=utf-8"}, b"{}", 200, None),
        ({"content-type": 'Application/JSON;charset="UTF-8"'}, b"{}", 200, None),
        ({}, b"{}", 415, "QIT000942"),
        ({"content-type": "application/json; charset=latin1"}, b"{}", 415, "QIT000942"),
        ({"content-type": "application/json; charset=utf-8; charset=latin1"}, b"{}", 415, "QIT000942"),
        ({"content-type": "text/json"}, b"{}", 415, "QIT000942"),
        ({"content-type": "application/x-www-form-urlencoded"}, b"a=b", 415, "QIT000942"),
        ({**JSON, "content-encoding": "gzip"}, b"{}", 415, "QIT000942"),
        ({**JSON, "content-encoding": "identity"}, b"{}", 200, None),
    ],
)
async def test_a_body_has_to_be_plain_json(
    app: App, path: str, headers: dict[str, str], body: bytes, status: int, code: str | None
) -> None:
    sent = {"content-length": str(len(body))} | headers if body else headers
    answer = await exchange(app, "PUT", path, sent, body)
    assert (answer.status, answer.code) == (status, code)


def test_a_repeated_content_type_is_no_content_type() -> None:
    scope = {"headers": [(b"content-type", b"application/json"), (b"content-type", b"application/json")]}
    with pytest.raises(Refusal, match="unsupported_media_type"):
        check_media_type(headers_of(scope))


@pytest.mark.parametrize("declared", ["-1", "+1", "1_0", "0x10", "١", "", " 1"])
def test_a_length_that_is_no_number_is_refused(declared: str) -> None:
    with pytest.raises(Refusal, match="bad_request"):
        check_declared_size({"content-length": declared}, 100)


@pytest.mark.parametrize("declared", ["101", "99999999999999999999999", "00101"])
def test_a_declared_length_beyond_the_limit_is_refused(declared: str) -> None:
    with pytest.raises(Refusal, match="payload_too_large"):
        check_declared_size({"content-length": declared}, 100)


@pytest.mark.parametrize("given", ["order-1207", "a:b.c_D-9", "x" * 128])
def test_a_fit_correlation_id_is_kept(given: str) -> None:
    assert correlation_id_of({"x-correlation-id": given}) == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ação", "<script>"])
def test_any_other_correlation_id_is_replaced(given: str) -> None:
    made = correlation_id_of({"x-correlation-id": given})
    assert len(made) == 36
    assert made != given


@pytest.mark.parametrize(("given", "kept"), [("first", "first"), ("", None), ("a b", None)])
def test_of_two_correlation_ids_the_first_counts(given: str, kept: str | None) -> None:
    scope = {"headers": [(b"x-correlation-id", given.encode()), (b"x-correlation-id", b"second")]}
    made = correlation_id_of(headers_of(scope))
    assert made == kept if kept else len(made) == 36


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("framing", ["content-length: 262145", "transfer-encoding: chunked"])
async def test_a_body_that_is_too_large_is_answered_before_it_is_all_there(app: App, path: str, framing: str) -> None:
    chunk = b"%x\r\n" % 65_536 + b" " * 65_536 + b"\r\n"
    body = [] if framing.startswith("content") else [chunk] * 5
    async with listening(app) as port:
        answer = await said(port, [put(path, framing, "content-type: application/json"), *body])
    head, _, problem = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"x-correlation-id: " in head
    assert b"connection: close" in head
    assert b"QIT000941" in problem


async def test_the_largest_body_that_is_allowed_arrives_whole(app: App) -> None:
    body = b"{" + b" " * (256 * 1024 - 2) + b"}"
    lines = ["content-type: application/json", f"content-length: {len(body)}", "connection: close"]
    async with listening(app) as port:
        answer = await said(port, [put(HOT, *lines), body])
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_slow_body_is_cut() -> None:
    db = await Database.open(UNREACHABLE)
    parts = make_parts(db)
    parts.settings = type(parts.settings)(False, False, body_timeout=timedelta(seconds=0.2))
    async with listening(App(parts, probe_routes(audience="public"))) as port:
        answer = await said(port, [put(HOT, "content-type: application/json", "content-length: 2"), b"{"])
    await db.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"x-correlation-id: " in answer


async def test_a_client_that_goes_away_changes_nothing_about_the_work_begun() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def work(_call: Call) -> Answer:
        begun.set()
        await asyncio.sleep(0.1)
        done.set()
        return json_answer(200, {})

    db = await Database.open(UNREACHABLE)
    async with listening(App(make_parts(db), probe_routes(work, audience="public"))) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(put(HOT))
        await begun.wait()
        writer.transport.abort()
        await asyncio.wait_for(done.wait(), 5)
    await db.close()


async def test_a_client_that_goes_away_within_its_body_starts_nothing(app: App) -> None:
    reached = asyncio.Event()

    async def work(_call: Call) -> Answer:
        reached.set()
        return json_answer(200, {})

    db = await Database.open(UNREACHABLE)
    async with listening(App(make_parts(db), probe_routes(work, audience="public")), ServerSettings()) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(put(HOT, "content-type: application/json", "content-length: 2") + b"{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.1)
    await db.close()
    assert not reached.is_set()
