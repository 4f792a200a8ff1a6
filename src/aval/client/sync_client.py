"""Aval without an event loop, over the standard library's HTTP connections; one client serves any number of threads."""

import functools
import http.client
import selectors
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from aval import __version__
from aval.client import batches, devices, surroundings, transfers
from aval.client.address import Address
from aval.client.answers import Page
from aval.client.call import ANSWER_BYTES_MAX, Call, Lost, Reply, Result, Tried, not_watched
from aval.client.credentials import Credential
from aval.client.paging import following
from aval.client.tries import DEFAULT_RETRY, Retry, Tries, result_of

CONNECTIONS_IDLE_MAX = 32

P = ParamSpec("P")
T = TypeVar("T")


class Asked(Generic[P, T]):
    """A method of the client: takes what the function that makes its call takes, and makes the call."""

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self.make = make

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[T]]: ...

    @overload
    def __get__(self, client: "SyncAvalClient", owner: type) -> Callable[P, T]: ...

    def __get__(self, client: "SyncAvalClient | None", owner: type) -> Callable[P, Call[T]] | Callable[P, T]:
        if client is None:
            return self.make
        asking = client

        @functools.wraps(self.make)
        def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            return asking.send(self.make(*args, **kwargs))

        return ask


class Walked(Generic[P, T]):
    """A method of the client: every row of a list, page by page as they are asked for."""

    def __init__(self, make: Callable[P, Call[Page[T]]]) -> None:
        self.make = make

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[Page[T]]]: ...

    @overload
    def __get__(self, client: "SyncAvalClient", owner: type) -> Callable[P, Iterator[T]]: ...

    def __get__(
        self, client: "SyncAvalClient | None", owner: type
    ) -> Callable[P, Call[Page[T]]] | Callable[P, Iterator[T]]:
        if client is None:
            return self.make
        asking = client

        @functools.wraps(self.make)
        def walk(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            call: Call[Page[T]] | None = self.make(*args, **kwargs)
            while call is not None:
                page = asking.send(call)
                yield from page.rows
                call = following(call, page)

        return walk


class SyncAvalClient:
    """Calls one Aval as one integrator, as AvalClient does; closed by `with` or `close`."""

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
        self._timeout_s = timeout_s
        self._tls = tls or (ssl.create_default_context() if self._address.scheme == "https" else None)
        self._idle: deque[http.client.HTTPConnection] = deque()  # appending and popping are atomic

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
        return f"SyncAvalClient({self._address.origin!r}, {self._credential!r})"

    def __enter__(self) -> Self:
        """Connections are made when they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    def send(self, call: Call[Result]) -> Result:
        """Make a logical call, in as many tries as it needs; raises AvalError."""
        tries = Tries(call, self._retry)
        while True:
            started = time.perf_counter()
            outcome = self._try(call)
            self._watch(Tried.of(call, outcome, time.perf_counter() - started))
            pause = tries.pause_after(outcome)
            if pause is None:
                return result_of(call, outcome, tries)
            time.sleep(pause)

    def _try(self, call: Call[Any]) -> Reply | Lost:
        """One try. What went wrong is a value: exceptions of the connection may hold the credential."""
        try:
            connection = self._connected(may_be_used=call.is_repeatable)
        except OSError as error:
            return Lost(type(error).__name__, was_sent=False)
        try:
            reply, is_over = self._exchange(connection, call)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Lost(type(error).__name__, was_sent=True)
        except BaseException:  # interrupted: what is left of the answer must not meet another call
            connection.close()
            raise
        if is_over or len(self._idle) >= CONNECTIONS_IDLE_MAX:
            connection.close()
        else:
            self._idle.append(connection)
        return reply

    def _exchange(self, connection: http.client.HTTPConnection, call: Call[Any]) -> tuple[Reply, bool]:
        proof = self._credential.headers(call.method, call.target, call.body)
        agent = {"User-Agent": f"aval-python/{__version__}"}
        connection.request(call.method, call.target, call.body or None, agent | call.headers() | proof)
        response = connection.getresponse()
        body = response.read(ANSWER_BYTES_MAX + 1)
        if len(body) > ANSWER_BYTES_MAX or response.length:  # too long, or cut short
            raise http.client.HTTPException
        headers = {name.lower(): text for name, text in response.getheaders()}
        return Reply(response.status, headers, body), response.will_close

    def _connected(self, *, may_be_used: bool) -> http.client.HTTPConnection:
        """A connection: one that is idle and still open, if the call may meet its end, or a new one."""
        while may_be_used and self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if not _is_ended(connection):
                return connection
            connection.close()
        connection = self._new_connection()
        connection.connect()
        return connection

    def _new_connection(self) -> http.client.HTTPConnection:
        host, port, timeout_s = self._address.host, self._address.port, self._timeout_s
        if self._address.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _is_ended(connection: http.client.HTTPConnection) -> bool:
    """Whether something arrived on an idle connection: only its end can."""
    if connection.sock is None:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))
