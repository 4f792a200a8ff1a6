"""Aval for asyncio, over aiohttp."""

import asyncio
import functools
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

import aiohttp

from aval import __version__
from aval.client import batches, devices, surroundings, transfers
from aval.client.address import Address
from aval.client.answers import Page
from aval.client.call import ANSWER_BYTES_MAX, Call, Lost, Reply, Result, Tried, not_watched
from aval.client.credentials import Credential
from aval.client.paging import following
from aval.client.tries import DEFAULT_RETRY, Retry, Tries, result_of

P = ParamSpec("P")
T = TypeVar("T")


class Asked(Generic[P, T]):
    """A method of the client: takes what the function that makes its call takes, and makes the call."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self.make = make

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...

    @overload
    def __get__(self, client: "AvalClient", owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(
        self, client: "AvalClient | None", owner: type
    ) -> Callable[P, Call[T]] | Callable[P, Coroutine[Any, Any, T]]:
        if client is None:
            return self.make
        asking = client

        @functools.wraps(self.make)
        async def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            return await asking.send(self.make(*args, **kwargs))

        return ask


class Walked(Generic[P, T]):
    """A method of the client: every row of a list, page by page as they are asked for."""

    def __init__(self, make: Callable[P, Call[Page[T]]]) -> None:
        self.make = make

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[Page[T]]]: ...

    @overload
    def __get__(self, client: "AvalClient", owner: type) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(
        self, client: "AvalClient | None", owner: type
    ) -> Callable[P, Call[Page[T]]] | Callable[P, AsyncIterator[T]]:
        if client is None:
            return self.make
        asking = client

        @functools.wraps(self.make)
        async def walk(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            call: Call[Page[T]] | None = self.make(*args, **kwargs)
            while call is not None:
                page = await asking.send(call)
                for row in page.rows:
                    yield row
                call = following(call, page)

        return walk


class AvalClient:
    """Calls one Aval as one integrator; keeps its connections, and is closed by `async with` or `close`.

    A call is repeated as `retry` says where that is safe. A try takes at most `timeout_s`, which is to be more than
    the integrator's `sync_wait_seconds`. `watch` is told how each try went; it is quick and raises nothing.
    """

    def __init__(
        self,
        base_url: str,
        credential: Credential,
        *,
        retry: Retry = DEFAULT_RETRY,
        timeout_s: float = 30.0,
        tls: ssl.SSLContext | None = None,
        is_plain_http_allowed: bool = False,
        watch: Callable[[Tried], None] = not_watched,
    ) -> None:
        self._address = Address.of(base_url, is_plain_http_allowed=is_plain_http_allowed)
        self._credential = credential
        self._retry = retry
        self._watch = watch
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    create_pix = Asked(transfers.create_pix)
    validate_pix = Asked(transfers.PIX.validate)
    resend_pix = Asked(transfers.PIX.resend)
    cancel_pix = Asked(transfers.PIX.cancel)
    get_pix = Asked(transfers.PIX.get)
    list_pix = Asked(transfers.list_pix)

    create_ted = Asked(transfers.create_ted)
    validate_ted = Asked(transfers.TED.validate)
    resend_ted = Asked(transfers.TED.resend)
    cancel_ted = Asked(transfers.TED.cancel)
    get_ted = Asked(transfers.TED.get)
    list_ted = Asked(transfers.TED.list_by_creation)

    create_pix_batch = Asked(batches.create_pix_batch)
    validate_pix_batch = Asked(batches.PIX_BATCH.validate)
    resend_pix_batch = Asked(batches.PIX_BATCH.resend)
    cancel_pix_batch = Asked(batches.PIX_BATCH.cancel)
    get_pix_batch = Asked(batches.PIX_BATCH.get)
    list_pix_batches = Asked(batches.PIX_BATCH.list_by_creation)
    list_pix_batch_items = Asked(batches.list_pix_batch_items)

    create_ted_batch = Asked(batches.create_ted_batch)
    validate_ted_batch = Asked(batches.TED_BATCH.validate)
    resend_ted_batch = Asked(batches.TED_BATCH.resend)
    cancel_ted_batch = Asked(batches.TED_BATCH.cancel)
    get_ted_batch = Asked(batches.TED_BATCH.get)
    list_ted_batches = Asked(batches.TED_BATCH.list_by_creation)
    list_ted_batch_items = Asked(batches.list_ted_batch_items)

    challenge_device = Asked(devices.challenge_device)
    register_device = Asked(devices.register_device)
    validate_device = Asked(devices.validate_device)
    resend_device = Asked(devices.resend_device)
    get_device = Asked(devices.get_device)
    list_devices = Asked(devices.list_devices)
    disable_device = Asked(devices.disable_device)
    open_session = Asked(devices.open_session)
    approve_session = Asked(devices.approve_session)
    deny_session = Asked(devices.deny_session)

    each_pix = Walked(transfers.list_pix)
    each_ted = Walked(transfers.TED.list_by_creation)
    each_pix_batch = Walked(batches.PIX_BATCH.list_by_creation)
    each_ted_batch = Walked(batches.TED_BATCH.list_by_creation)
    each_pix_batch_item = Walked(batches.list_pix_batch_items)
    each_ted_batch_item = Walked(batches.list_ted_batch_items)
    each_device = Walked(devices.list_devices)
    each_event = Walked(surroundings.list_events)

    get_account = Asked(surroundings.get_account)
    create_webhook_endpoint = Asked(surroundings.create_webhook_endpoint)
    list_webhook_endpoints = Asked(surroundings.list_webhook_endpoints)
    change_webhook_endpoint = Asked(surroundings.change_webhook_endpoint)
    delete_webhook_endpoint = Asked(surroundings.delete_webhook_endpoint)
    rotate_webhook_secret = Asked(surroundings.rotate_webhook_secret)
    list_events = Asked(surroundings.list_events)
    resend_callback = Asked(surroundings.resend_callback)
    read_inbox = Asked(surroundings.read_inbox)
    advance = Asked(surroundings.advance)

    def __repr__(self) -> str:
        return f"AvalClient({self._address.origin!r}, {self._credential!r})"

    async def __aenter__(self) -> Self:
        """Connections are made when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, call: Call[Result]) -> Result:
        """Make a logical call, in as many tries as it needs; raises AvalError."""
        tries = Tries(call, self._retry)
        while True:
            started = time.perf_counter()
            outcome = await self._try(call)
            self._watch(Tried.of(call, outcome, time.perf_counter() - started))
            pause = tries.pause_after(outcome)
            if pause is None:
                return result_of(call, outcome, tries)
            await asyncio.sleep(pause)

    async def _try(self, call: Call[Any]) -> Reply | Lost:
        """One try. What went wrong is a value: exceptions of the connection may hold the credential."""
        try:
            async with self._opened().request(
                call.method,
                self._address.origin + call.target,
                data=call.body or None,
                headers=call.headers(),
                middlewares=(_Proof(self._credential, call.body),),
                allow_redirects=False,
            ) as response:
                headers = {name.lower(): text for name, text in response.headers.items()}
                return Reply(response.status, headers, await _read(response.content))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Lost(type(error).__name__, was_sent=False)
        except (aiohttp.ClientError, OSError) as error:
            return Lost(type(error).__name__, was_sent=True)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # made late: it belongs to the running event loop
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls or True),
                headers={"User-Agent": f"aval-python/{__version__}", "Accept-Encoding": "identity"},
                skip_auto_headers=("Content-Type",),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                auto_decompress=False,
            )
        return self._session


class _Proof:
    """Adds the credential's headers, once: aiohttp would send a PUT again by itself, with a signature already used."""

    def __init__(self, credential: Credential, body: bytes) -> None:
        self._credential = credential
        self._body = body
        self._is_used = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._is_used:
            raise aiohttp.ClientOSError
        self._is_used = True
        target = request.url.raw_path_qs  # as it will be on the wire
        request.headers.update(self._credential.headers(request.method, target, self._body))
        return await handler(request)


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError
    return bytes(body)
