"""One real client against real servers on loopback: what it sends, what it cuts, whom it never touches."""

import asyncio
import gzip
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_network
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aval.channels import outbound
from aval.channels.outbound import OutboundHttp
from aval.ports import OutboundAnswer, OutboundCall

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _server(serve: Serve, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _raw_server(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def _client(
    lookup: outbound.Lookup | None = None, *, is_local_allowed: bool = True
) -> AsyncIterator[OutboundHttp]:
    client = OutboundHttp([], is_local_allowed, lookup=lookup)
    try:
        yield client
    finally:
        await client.close()


def _call(url: str, *, method: str = "POST", body: bytes = b"{}", timeout: float = 5, **more: object) -> OutboundCall:
    return OutboundCall(method, url, more.pop("headers", {}), body, timedelta(seconds=timeout), **more)  # type: ignore[arg-type]


async def _answer_to(serve: Serve, path: str = "/", **more: object) -> OutboundAnswer:
    async with _server(serve) as port, _client() as client:
        return await client.call(_call(f"http://127.0.0.1:{port}{path}", **more))  # type: ignore[arg-type]


def _names(**hosts: Sequence[str]) -> outbound.Lookup:
    async def lookup(host: str) -> Sequence[str]:
        return hosts[host.split(".")[0]]

    return lookup


async def test_a_call_carries_method_path_headers_and_body_and_little_else() -> None:
    seen: list[tuple[str, str, dict[str, str], bytes]] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, dict(request.headers), await request.read()))
        return web.Response(status=201, text="made")

    headers = {"Content-Type": "application/json", "webhook-id": "e1", "Host": "other", "Transfer-Encoding": "chunked"}
    answer = await _answer_to(serve, "/hook?a=b", headers=headers, body=b'{"a":1}')
    assert answer == OutboundAnswer(201, b"made")
    [(method, path, got, body)] = seen
    assert (method, path, body) == ("POST", "/hook?a=b", b'{"a":1}')
    assert got.pop("Host").startswith("127.0.0.1:")
    assert got == {
        **{"Content-Type": "application/json", "webhook-id": "e1", "Content-Length": "7"},
        **{"User-Agent": "Aval", "Accept-Encoding": "identity", "Accept": "*/*"},
    }


async def test_a_get_has_no_body_and_no_content_type() -> None:
    async def serve(request: web.Request) -> web.Response:
        assert not request.body_exists
        return web.Response(text=str("Content-Type" in request.headers))

    assert (await _answer_to(serve, method="GET", body=b"")).body == b"False"


@pytest.mark.parametrize("status", [204, 400, 404, 410, 429, 500, 503])
async def test_any_status_but_a_redirect_is_an_answer(status: int) -> None:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(status=status)

    assert (await _answer_to(serve)).status == status


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(status: int) -> None:
    paths: list[str] = []

    async def serve(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/other"})

    assert await _answer_to(serve) == OutboundAnswer(None, error="redirect")
    assert paths == ["/"]


async def test_a_body_is_cut_at_its_limit() -> None:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * int(request.query["size"]))

    assert await _answer_to(serve, "/?size=100", answer_bytes_max=100) == OutboundAnswer(200, b"x" * 100)
    assert await _answer_to(serve, "/?size=101", answer_bytes_max=100) == OutboundAnswer(200, b"x" * 100, "too_large")


async def test_an_endless_body_is_cut() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"y" * 65_536)

    answer = await _answer_to(serve)
    assert (answer.status, len(answer.body), answer.error) == (200, 65_536, "too_large")


async def test_a_dripping_body_is_cut_at_the_time_limit() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.02)

    assert await _answer_to(serve, timeout=0.2) == OutboundAnswer(None, error="timeout")


async def test_silence_is_a_timeout() -> None:
    async def serve(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    assert await _answer_to(serve, timeout=0.1) == OutboundAnswer(None, error="timeout")


async def test_a_name_server_that_hangs_is_a_timeout() -> None:
    async def lookup(host: str) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    async with _client(lookup) as client:
        answer = await client.call(_call("https://hook.example.com/", timeout=0.1))
    assert answer == OutboundAnswer(None, error="timeout")


async def test_a_compressed_body_is_never_unpacked() -> None:
    bomb = gzip.compress(b"0" * 1_000_000)

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    assert (await _answer_to(serve)).body == bomb


async def test_cookies_and_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    cookies: list[str | None] = []

    async def serve(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with _server(serve) as port, _client(_names(hook=["127.0.0.1"])) as client:
        for _ in range(2):
            assert (await client.call(_call(f"http://hook.example.com:{port}/"))).status == 200
    assert cookies == [None, None]


async def test_a_connection_is_kept() -> None:
    ports: set[int] = set()

    async def serve(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(text="ok")

    async with _server(serve) as port, _client() as client:
        for _ in range(20):
            await client.call(_call(f"http://127.0.0.1:{port}/"))
    assert len(ports) == 1


DATE = "Mon, 23 Nov 2026 14:30:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "999999999"}, 86_400),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 4_000}, None),
        ({"Retry-After": "Mon, 23 Nov 2026 14:31:40 GMT", "Date": DATE}, 100),
        ({"Retry-After": "Mon, 23 Nov 2020 14:31:40 GMT", "Date": DATE}, 0),
        ({"Retry-After": "Mon, 23 Nov 2026 14:31:40 -0000", "Date": DATE}, None),
    ],
)
async def test_retry_after_is_read_in_both_forms_and_capped(headers: dict[str, str], seconds: int | None) -> None:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(status=503, headers=headers)

    wait = (await _answer_to(serve)).retry_after
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_a_failed_connection(answer: bytes) -> None:
    async with _raw_server(answer) as port, _client() as client:
        assert await client.call(_call(f"http://127.0.0.1:{port}/")) == OutboundAnswer(None, error="connection_failed")


async def test_nobody_there_is_a_failed_connection() -> None:
    async with _raw_server(b"") as port:
        pass

    async def unknown(host: str) -> Sequence[str]:
        raise OSError

    async with _client() as client, _client(unknown) as lost, _client(_names(hook=[])) as empty:
        assert (await client.call(_call(f"http://127.0.0.1:{port}/"))).error == "connection_failed"
        assert (await lost.call(_call("https://hook.example.com/"))).error == "connection_failed"
        assert (await empty.call(_call("https://hook.example.com/"))).error == "connection_failed"


async def test_names_of_this_machine_are_found() -> None:
    async def serve(request: web.Request) -> web.Response:
        return web.Response(text=request.host)

    async with _server(serve) as port, _client() as client, _client(is_local_allowed=False) as strict:
        assert (await client.call(_call(f"http://localhost:{port}/"))).body == f"localhost:{port}".encode()
        assert (await strict.call(_call("https://localhost/"))).error == "target_not_allowed"
        assert (await client.call(_call("https://no-such-host.invalid/"))).error == "connection_failed"


async def test_one_forbidden_address_refuses_all() -> None:
    async def serve(request: web.Request) -> web.Response:
        raise AssertionError

    async with _server(serve) as port, _client(_names(hook=["127.0.0.1", "169.254.169.254"])) as client:
        answer = await client.call(_call(f"http://hook.example.com:{port}/"))
    assert answer == OutboundAnswer(None, error="target_not_allowed")


async def test_the_checked_address_is_the_one_connected_to() -> None:
    lookups = 0

    async def flipping(host: str) -> Sequence[str]:
        nonlocal lookups
        lookups += 1
        return ["127.0.0.1"] if lookups == 1 else ["169.254.169.254"]

    async def serve(request: web.Request) -> web.Response:
        return web.Response()

    async with _server(serve) as port, _client(flipping) as client:
        assert (await client.call(_call(f"http://hook.example.com:{port}/"))).status == 200
    assert lookups == 1


async def test_the_socket_is_guarded_even_if_the_resolver_were_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchecked(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": "169.254.169.254", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(outbound._CheckedResolver, "resolve", unchecked)
    async with _client() as client:
        assert (await client.call(_call("https://hook.example.com/"))).error == "target_not_allowed"


async def test_an_address_of_this_machine_is_known() -> None:
    assert outbound._is_own(IPv4Address("127.0.0.1"))
    assert not outbound._is_own(IPv4Address("198.51.100.7"))
    assert not outbound._is_own(IPv4Address("255.255.255.255"))


async def test_an_allow_list_opens_a_private_range() -> None:
    private = ip_network("10.255.255.0/24")
    open_client, closed_client = OutboundHttp([private], False), OutboundHttp([], False)
    open_client._check("10.255.255.254")
    with pytest.raises(OSError):
        closed_client._check("10.255.255.254")


def _certificate(folder: Path, name: str, *, is_expired: bool = False) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) - timedelta(days=30)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1 if is_expired else 60))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


def _tls(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


async def _tls_answer(tls: ssl.SSLContext) -> OutboundAnswer:
    async def serve(request: web.Request) -> web.Response:
        assert request.transport is not None
        return web.Response(text=request.transport.get_extra_info("ssl_object").version())

    async with _server(serve, tls=tls) as port, _client(_names(hook=["127.0.0.1"])) as client:
        return await client.call(_call(f"https://hook.example.com:{port}/"))


async def test_the_name_is_kept_for_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _certificate(tmp_path, "hook.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    tls, names = _tls(files), []
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    assert await _tls_answer(tls) == OutboundAnswer(200, b"TLSv1.3")
    assert names == ["hook.example.com"]


@pytest.mark.parametrize(
    ("name", "is_trusted", "is_expired"),
    [("hook.example.com", False, False), ("other.example.com", True, False), ("hook.example.com", True, True)],
)
async def test_a_bad_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_trusted: bool, is_expired: bool
) -> None:
    files = _certificate(tmp_path, name, is_expired=is_expired)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    assert await _tls_answer(_tls(files)) == OutboundAnswer(None, error="tls_failed")


async def test_tls_below_1_2_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _certificate(tmp_path, "hook.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    tls = _tls(files)
    tls.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        tls.minimum_version, tls.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    answer = await _tls_answer(tls)
    assert (answer.status, answer.error) in {(None, "tls_failed"), (None, "connection_failed")}  # by who hangs up first


async def test_plain_http_behind_https_is_a_tls_failure() -> None:
    async with _raw_server(b"HTTP/1.1 200 OK\r\n\r\n") as port, _client() as client:
        answer = await client.call(_call(f"https://127.0.0.1:{port}/", timeout=1))
    assert answer.error == "tls_failed"


@pytest.mark.parametrize(("held_for", "arrives"), [(5.0, True), (0.0, False)])
async def test_a_body_that_comes_too_late_stays_here(held_for: float, arrives: bool) -> None:
    seen: list[bytes] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(status=204)

    answer = await _answer_to(serve, not_after_ns=time.monotonic_ns() + int(held_for * 1e9))
    assert (answer.status, seen) == ((204, [b"{}"]) if arrives else (None, []))
