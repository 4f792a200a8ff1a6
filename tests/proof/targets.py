"""Proof of WH6 (T21): no target makes Aval touch a forbidden address.

Two witnesses that know nothing of Aval's own checks: canaries that listen on loopback, and an audit hook that sees
every stream connection this process tries. The last test plants the bug, and both must see it.
Figures are those of pull requests; AVAL_PROOF_NIGHTLY=1 takes the nightly ones, AVAL_PROOF_SEED repeats a run.
"""

import asyncio
import os
import random
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from aiohttp import web

from aval.channels import outbound
from aval.channels.outbound import OutboundHttp
from aval.ports import OutboundAnswer, OutboundCall

pytestmark = pytest.mark.proof

IS_NIGHTLY = os.environ.get("AVAL_PROOF_NIGHTLY") == "1"
SEED = int(os.environ.get("AVAL_PROOF_SEED") or secrets.randbits(32))
FLIPS = 1_000 if IS_NIGHTLY else 100
CALLS_PER_FLIP = 4
VECTORS_MIN = 200
PORTS = (8443, 443)  # a process without privileges may listen on the first only

# Documentation addresses stand for the public internet; nobody is there, so a try takes as long as its time limit.
PUBLIC = ["203.0.113.7", "198.51.100.9", "192.0.2.1"]
INSIDE_V4 = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1"),
    *("169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.192"),
    *("198.18.0.1", "198.19.255.255", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
]
INSIDE_V6 = [
    *("::1", "::", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "fc00::1"),
    *("2002:a00:1::", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%1", "febf::1", "fec0::1", "ff02::1"),
]
# Written down here a second time on purpose: the witness must not trust the list it judges.
FORBIDDEN = [
    ip_network(text)
    for text in """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.168.0.0/16
    198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 ::/96 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 2001::/32 2001:db8::/32
    2002::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8
    """.split()
]
DISGUISES = str.maketrans("0123456789", "⓪①②③④⑤⑥⑦⑧⑨"), str.maketrans("0123456789", "０１２３４５６７８９")
CANARY = "127.0.0.1"

connections_tried: list[str] = []


def _witness(event: str, arguments: tuple[object, ...]) -> None:
    if event == "socket.connect":
        connecting, address = arguments
        assert isinstance(connecting, socket.socket)
        if connecting.type == socket.SOCK_STREAM and isinstance(address, tuple):
            connections_tried.append(str(address[0]))


sys.addaudithook(_witness)


@dataclass
class Canaries:
    """Listeners where nobody may come."""

    ports: list[int] = field(default_factory=list)
    visits: int = 0

    async def visited(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.close()


@pytest.fixture(scope="module")
async def canaries() -> AsyncIterator[Canaries]:
    found, servers = Canaries(), []
    for address in (CANARY, "::1"):
        for port in (*PORTS, 0):
            try:
                server = await asyncio.start_server(found.visited, address, port)
            except OSError:  # no privilege, no IPv6, or taken
                continue
            servers.append(server)
            found.ports.append(server.sockets[0].getsockname()[1])
    assert set(PORTS) & set(found.ports), "neither 443 nor 8443 is free on loopback"
    yield found
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
def told_seed(capsys: pytest.CaptureFixture[str]) -> random.Random:
    with capsys.disabled():
        print(f"\ntargets: seed {SEED}")
    return random.Random(SEED)


@asynccontextmanager
async def _client(
    lookup: outbound.Lookup | None = None, *, is_local_allowed: bool = False
) -> AsyncIterator[OutboundHttp]:
    client = OutboundHttp([], is_local_allowed, lookup=lookup)
    try:
        yield client
    finally:
        await client.close()


async def _post(client: OutboundHttp, url: str, seconds: float = 5) -> OutboundAnswer:
    return await client.call(OutboundCall("POST", url, {}, b"{}", timedelta(seconds=seconds)))


def _is_forbidden(text: str) -> bool:
    address = ip_address(text)
    return any(address in network for network in FORBIDDEN)


def _spellings(text: str) -> list[str]:
    """Every way of writing an IPv4 address that some parser understands."""
    number = int(IPv4Address(text))
    a, b, c, d = IPv4Address(text).packed
    return [
        *(text, f"{number}", f"{number:#x}", f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}"),
        *(f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"{a:#x}.{d}", f"{a}.{b:#x}.0{c:o}.{d}"),
        *(
            f"{a:03}.{b:03}.{c:03}.{d:03}",
            f"{a:#010x}.{b}.{c}.{d}",
            f"{text}.",
            f"{a}。{b}。{c}。{d}",
            f"{a}．{b}．{c}｡{d}",
        ),
        *(text.translate(table) for table in DISGUISES),
        *(f"[::ffff:{text}]", f"[::ffff:{a << 8 | b:x}:{c << 8 | d:x}]", f"[::{text}]", f"[64:ff9b::{text}]"),
        *("".join(f"%{ord(letter):02x}" for letter in text), f"example.com@{text}", f"{text}%2eexample.com"),
        *(
            f"example.com\\@{text}",
            f"{text}\\.example.com",
            f"{text}#.example.com",
            f"\t{text}",
            f"{text}%00.example.com",
        ),
    ]


def _form_vectors() -> list[str]:
    hosts = [host for text in INSIDE_V4[:8] for host in _spellings(text)] + [f"[{text}]" for text in INSIDE_V6]
    urls = [f"https://{host}:{port}/hook" for host in hosts for port in PORTS]
    schemes = ["http", "ftp", "gopher", "file", "dict", "ldap", "tftp", "unix", "ws", "jar:https", "HTTP", "httpss", ""]
    urls += [f"{scheme}://{CANARY}:8443/" for scheme in schemes] + [f"{s}://inside.example.com/" for s in schemes]
    urls += [
        f"https://inside.example.com:{port}/" for port in (1, 22, 25, 80, 444, 5432, 6379, 8080, 8321, 9200, 65_535)
    ]
    return urls + ["https://user:secret@inside.example.com/", "https://inside.example.com/#x", "//127.0.0.1:8443/"]


async def test_no_private_address_is_touched(canaries: Canaries, told_seed: random.Random) -> None:
    hosts = {f"n{n}.example.com": [text] for n, text in enumerate(INSIDE_V4 + INSIDE_V6)}
    for text in INSIDE_V4 + INSIDE_V6:  # one forbidden answer among good ones, at any place
        answers = [*PUBLIC, text]
        told_seed.shuffle(answers)
        hosts[f"m{len(hosts)}.example.com"] = answers

    async def lookup(host: str) -> Sequence[str]:
        return hosts.get(host, [CANARY])

    vectors = _form_vectors() + [f"https://{host}:{port}/hook" for host in hosts for port in PORTS]
    vectors += [f"https://{CANARY}:8443/{told_seed.randbytes(4).hex()}" for _ in range(8)]
    assert len(set(vectors)) >= VECTORS_MIN
    connections_tried.clear()
    async with _client(lookup) as client:
        answers = [(url, await _post(client, url)) for url in vectors]
    assert [url for url, answer in answers if answer != OutboundAnswer(None, error="target_not_allowed")] == []
    assert connections_tried == []
    assert canaries.visits == 0


async def test_names_this_machine_gives_to_itself_are_not_touched(canaries: Canaries) -> None:
    connections_tried.clear()
    async with _client() as client:
        answers = [await _post(client, f"https://{host}:8443/") for host in ("localhost", "LOCALHOST", "ip6-localhost")]
        answers.append(await _post(client, f"https://{socket.gethostname().lower()}:8443/"))
    assert not [answer for answer in answers if answer.status is not None]
    assert [address for address in connections_tried if _is_forbidden(address)] == []
    assert canaries.visits == 0


async def test_rebinding_never_reaches_inside(
    canaries: Canaries, told_seed: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "LOOKUP_KEPT_S", 0)  # nothing is remembered: each connection asks, and is lied to
    lies = {
        "public": PUBLIC[:1],
        "inside": [CANARY],
        "both": [*PUBLIC, CANARY],
        "six": ["::1"],
        "mapped": ["::ffff:7f00:1"],
    }
    asked: dict[str, int] = {}
    lanes = asyncio.Semaphore(32)

    async def lookup(host: str) -> Sequence[str]:
        asked[host] = asked.get(host, 0) + 1
        # Public when it is first asked, which is when a checker would look; whatever it likes afterwards.
        return lies["public"] if asked[host] == 1 else lies[told_seed.choice(list(lies))]

    connections_tried.clear()
    async with _client(lookup) as client:

        async def flip(number: int) -> list[str]:
            url = f"https://flip{number}.example.com:8443/"
            async with lanes:
                return [(await _post(client, url, 0.2)).error for _ in range(CALLS_PER_FLIP)]

        answers = [error for errors in await asyncio.gather(*map(flip, range(FLIPS))) for error in errors]
    assert sum(asked.values()) > FLIPS
    assert answers.count("target_not_allowed") > FLIPS
    assert set(answers) - {"target_not_allowed"}  # the public answers were tried
    assert set(connections_tried) <= set(PUBLIC)
    assert canaries.visits == 0


async def test_no_redirect_leads_inside(canaries: Canaries) -> None:
    port = canaries.ports[0]
    places = [
        f"http://{CANARY}:{port}/",
        f"//{CANARY}:{port}/",
        f"https://{CANARY}:{port}/",
        f"http://localhost:{port}/",
    ]
    statuses = [300, 301, 302, 303, 305, 307, 308]

    async def serve(request: web.Request) -> web.Response:
        place = places[int(request.query["place"])]
        headers = {"Location": place, "Refresh": f"0; url={place}", "Link": f"<{place}>; rel=preload"}
        return web.Response(
            status=int(request.query["status"]), headers={**headers, "Alt-Svc": f'h2="{CANARY}:{port}"'}
        )

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, CANARY, 0).start()
    base = f"http://{CANARY}:{runner.addresses[0][1]}"
    try:
        # Local targets are allowed here, so only following could bring a visitor to the canary.
        async with _client(is_local_allowed=True) as client:
            answers = [
                (status, await _post(client, f"{base}/?status={status}&place={place}"))
                for place in range(len(places))
                for status in (*statuses, 200, 201, 500)
            ]
    finally:
        await runner.cleanup()
    assert {answer.error for status, answer in answers if status in statuses} == {"redirect"}
    assert {answer.status for status, answer in answers if status not in statuses} == {200, 201, 500}
    assert canaries.visits == 0


async def test_the_witnesses_see_a_planted_bug(canaries: Canaries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "is_address_allowed", lambda *_, **__: True)
    port = next(port for port in PORTS if port in canaries.ports)

    async def lookup(_: str) -> Sequence[str]:
        return [CANARY]

    connections_tried.clear()
    async with _client(lookup) as client:
        await _post(client, f"https://inside.example.com:{port}/", 2)
    assert connections_tried == [CANARY]
    assert canaries.visits == 1
    canaries.visits = 0
