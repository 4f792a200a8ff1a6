"""Calls to servers that are not ours, connected only to addresses that were checked (promises.md §4.8)."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address, ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult

from aval.domain.target import Address, Network, is_address_allowed, target_problem
from aval.ports import OutboundAnswer, OutboundCall

Lookup = Callable[[str], Awaitable[Sequence[str]]]
"""Finds the addresses of a host name; raises OSError."""

CONNECTIONS_MAX = 1_024  # per process; file descriptors
CONNECTIONS_PER_HOST_MAX = 64  # one hanging receiver cannot take all of them
CONNECTION_IDLE_S = 4.0  # below the 5 s after which common servers close, so that few calls meet a closing one
LOOKUPS_MAX = 32  # threads; a name server that hangs holds some of them only
LOOKUP_KEPT_S = 5  # only addresses that were checked are kept
RETRY_AFTER_MAX = timedelta(hours=24)  # promises.md §4.8

# How the connection is spoken to is not the caller's choice.
_OUR_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_SECONDS = re.compile("[0-9]{1,9}")
_UNUSED_PORT = 9


class OutboundHttp:
    """One connection pool for every foreign server; see `ports.Outbound`.

    A name is resolved once per connection, one forbidden address refuses all, and only checked addresses are
    connected to: the second guard is where the socket is made. Must be used within one event loop.
    """

    def __init__(self, allow_list: Sequence[Network], is_local_allowed: bool, *, lookup: Lookup | None = None) -> None:
        self._allow_list = tuple(allow_list)
        self._is_local_allowed = is_local_allowed
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="lookup")
        self._lookup = lookup or self._system_lookup
        self._session: aiohttp.ClientSession | None = None

    async def call(self, call: OutboundCall) -> OutboundAnswer:
        """One request; see `ports.Outbound.call`. A body above the limit comes cut, with the error `too_large`."""
        if target_problem(call.url, is_local_allowed=self._is_local_allowed):
            return OutboundAnswer(None, error="target_not_allowed")
        try:
            async with asyncio.timeout(call.timeout.total_seconds()):
                return await self._exchange(call)
        except TimeoutError:
            return OutboundAnswer(None, error="timeout")
        except (aiohttp.ClientError, OSError) as failure:
            return OutboundAnswer(None, error=_keyword(failure))

    async def close(self) -> None:
        """Give back connections and threads."""
        if self._session is not None:
            await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _exchange(self, call: OutboundCall) -> OutboundAnswer:
        headers = {name: text for name, text in call.headers.items() if name.lower() not in _OUR_HEADERS}
        request = self._opened_session().request(
            call.method, call.url, headers=headers, data=_body_of(call), allow_redirects=False
        )
        async with request as answer:
            if 300 <= answer.status < 400:
                return OutboundAnswer(None, error="redirect")
            body = await _read(answer.content, call.answer_bytes_max + 1)
            error = "too_large" if len(body) > call.answer_bytes_max else ""
            return OutboundAnswer(answer.status, body[: call.answer_bytes_max], error, _retry_after(answer.headers))

    def _opened_session(self) -> aiohttp.ClientSession:
        if self._session is None:  # made late: it belongs to the running event loop
            tls = ssl.create_default_context()
            tls.minimum_version = ssl.TLSVersion.TLSv1_2
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=tls,
                    limit=CONNECTIONS_MAX,
                    limit_per_host=CONNECTIONS_PER_HOST_MAX,
                    keepalive_timeout=CONNECTION_IDLE_S,
                    resolver=_CheckedResolver(self._lookup, self._check),
                    ttl_dns_cache=LOOKUP_KEPT_S,
                    socket_factory=self._checked_socket,
                ),
                headers={"User-Agent": "Aval", "Accept-Encoding": "identity"},
                skip_auto_headers=("Content-Type",),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # `call` cuts, to the millisecond
                auto_decompress=False,
            )
        return self._session

    def _check(self, text: str) -> None:
        address = ip_address(text)
        is_allowed = is_address_allowed(
            address,
            allow_list=self._allow_list,
            is_local_allowed=self._is_local_allowed,
            own_ranges=[ip_network(address)] if _is_own(address) else [],
        )
        if not is_allowed:
            raise _AddressRefused

    def _checked_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self._check(str(address[0]))
        return socket.socket(family, kind, protocol)

    async def _system_lookup(self, host: str) -> Sequence[str]:
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(address[0]) for *_, address in found]


class _AddressRefused(OSError):
    pass


class _TooLate(OSError):
    pass


class _TimelyBody(aiohttp.BytesPayload):
    """A body that looks at the clock in the moment it is written; aiohttp sends the head together with it."""

    def __init__(self, body: bytes, not_after_ns: int) -> None:
        super().__init__(body)
        self._not_after_ns = not_after_ns

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if time.monotonic_ns() >= self._not_after_ns:
            raise _TooLate
        await super().write_with_length(writer, content_length)


def _body_of(call: OutboundCall) -> aiohttp.BytesPayload | bytes | None:
    return _TimelyBody(call.body, call.not_after_ns) if call.not_after_ns is not None else call.body or None


class _CheckedResolver(AbstractResolver):
    def __init__(self, lookup: Lookup, check: Callable[[str], None]) -> None:
        self._lookup = lookup
        self._check = check

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await self._lookup(host)
        if not addresses:
            raise OSError
        for address in addresses:
            self._check(address)
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=family, proto=0, flags=int(socket.AI_NUMERICHOST)
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def _is_own(address: Address) -> bool:
    """Ask the kernel: to reach an address of its own it would send from that address. Nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), _UNUSED_PORT))
        except OSError:  # no way there
            return False
        return ip_address(probe.getsockname()[0]) == address


async def _read(content: aiohttp.StreamReader, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) >= bytes_max:
            break
    return bytes(body[:bytes_max])


def _keyword(failure: Exception) -> str:
    cause = failure.os_error if isinstance(failure, aiohttp.ClientConnectorError) else failure
    if isinstance(cause, _AddressRefused):
        return "target_not_allowed"
    return "tls_failed" if isinstance(failure, aiohttp.ClientSSLError) else "connection_failed"


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    text = headers.get("Retry-After", "")
    try:
        if _SECONDS.fullmatch(text):
            wait = timedelta(seconds=int(text))
        else:  # a date, read by the clock of the server that named it
            wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return min(max(wait, timedelta(0)), RETRY_AFTER_MAX)
