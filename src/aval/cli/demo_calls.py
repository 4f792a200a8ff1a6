"""The ends of the demo's wire: the integrator's calls, those of others, and a receiver of webhooks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from aval.client import AvalClient, Credential, Refused, Tried, Webhook, WebhookNotValid, verify_webhook

ANSWER_S = 20
LOOK_S = 0.05  # between two looks at what the worker has to do first
WAIT_S = 20.0

Value = TypeVar("Value")


class DemoFailed(Exception):
    """The demo did not see what it was made to show."""

    def __init__(self, what: str, seen: object) -> None:
        super().__init__(what, seen)
        self.what = what
        self.seen = seen


def check(what: str, seen: object, expected: object) -> None:
    """Raise DemoFailed unless it is so."""
    if seen != expected:
        raise DemoFailed(what, seen)


@dataclass(frozen=True, slots=True)
class CallMade:
    """A call as it is shown."""

    method: str
    path: str
    status: int | None
    took_s: float


class Wire:
    """The Python client of the integrator, or of a device, and how its last try went."""

    def __init__(self, base_url: str, credential: Credential) -> None:
        self.aval = AvalClient(base_url, credential, timeout_s=ANSWER_S, watch=self._note)
        self._tried: Tried | None = None

    def answered(self, status: int) -> CallMade:
        """The last try; raises DemoFailed unless its answer had this status."""
        tried = self._tried
        assert tried is not None
        check(f"{tried.method} {tried.path} answers {status}", tried.status, status)
        return CallMade(tried.method, tried.path, tried.status, tried.took_s)

    def _note(self, tried: Tried) -> None:
        self._tried = tried


async def refusal_of(what: str, call: Awaitable[object]) -> Refused:
    """How a call is refused; raises DemoFailed if it is not."""
    try:
        answer = await call
    except Refused as refused:
        return refused
    raise DemoFailed(what, answer)


class Caller:
    """Calls as whoever its headers say; remembers how the last one went."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, headers: Mapping[str, str]) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = dict(headers)
        self._made: CallMade | None = None

    @property
    def made(self) -> CallMade:
        """The last call."""
        assert self._made is not None
        return self._made

    def acting(self, headers: Mapping[str, str]) -> Self:
        """The same caller with more headers."""
        return type(self)(self._session, self._base_url, {**self._headers, **headers})

    async def get(self, path: str) -> Any:
        """GET something."""
        return await self.call("GET", path, None, expect=200)

    async def post(self, path: str, body: Any, *, expect: int = 201) -> Any:
        """POST something, mostly new, and return the answer's body."""
        return await self.call("POST", path, body, expect=expect)

    async def put(self, path: str, body: Any, *, expect: int = 200) -> Any:
        """PUT something, and return the answer's body."""
        return await self.call("PUT", path, body, expect=expect)

    async def upload(self, method: str, path: str, form: Mapping[str, str], file: bytes, *, expect: int) -> Any:
        """Send a form with a file, and return the answer's body."""
        parts = aiohttp.FormData()
        for name, text in form.items():
            parts.add_field(name, text)
        parts.add_field("file", file, filename="file")
        return await self._answer(method, path, parts, {}, expect)

    async def call(self, method: str, path: str, body: Any, *, expect: int) -> Any:
        """One call; raises DemoFailed unless its answer has the status expected."""
        if body is None:
            return await self._answer(method, path, None, {}, expect)
        return await self._answer(method, path, msgspec.json.encode(body), {"Content-Type": "application/json"}, expect)

    async def _answer(self, method: str, path: str, data: Any, headers: Mapping[str, str], expect: int) -> Any:
        limit, started, url = aiohttp.ClientTimeout(ANSWER_S), time.perf_counter(), self._base_url + path
        sent = {**self._headers, **headers}
        try:
            async with self._session.request(method, url, data=data, headers=sent, timeout=limit) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoFailed(f"{method} {path} answers", type(error).__name__) from None
        self._made = CallMade(method, path, response.status, time.perf_counter() - started)
        if response.status != expect:
            raise DemoFailed(f"{method} {path} answers {expect}", f"{response.status} {text.decode(errors='replace')}")
        return msgspec.json.decode(text)


def bearing(credential: str) -> dict[str, str]:
    """The header that proves who calls."""
    return {"Authorization": f"Bearer {credential}"}


async def until(what: str, look: Callable[[], Awaitable[Value | None]]) -> Value:
    """Look until something is there; raises DemoFailed."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = await look()
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise DemoFailed(what, f"nothing within {WAIT_S:.0f} s")
        await asyncio.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Heard:
    """A webhook whose signature was right, and whether the same with one word changed was refused."""

    webhook: Webhook
    signature: str
    is_forgery_refused: bool


class Receiver:
    """A server on loopback that receives webhooks and checks their signature; a context manager."""

    def __init__(self) -> None:
        self.secret = ""
        self.url = ""
        self._heard: asyncio.Queue[Heard | None] = asyncio.Queue()
        application = web.Application()
        application.router.add_post("/webhooks", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/webhooks"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def heard(self) -> Heard:
        """The next webhook; raises DemoFailed if none comes or Aval did not sign it."""
        try:
            heard = await asyncio.wait_for(self._heard.get(), WAIT_S)
        except TimeoutError:
            raise DemoFailed("a webhook arrives", f"nothing within {WAIT_S:.0f} s") from None
        if heard is None:
            raise DemoFailed("the signature verifies", "it does not")
        return heard

    async def _receive(self, request: web.Request) -> web.Response:
        body, headers = await request.read(), dict(request.headers)
        webhook, forged = self._verified(headers, body), body.replace(b'"sent"', b'"sunk"', 1)
        if webhook is None:
            self._heard.put_nowait(None)
            return web.Response(status=400)
        is_refused = self._verified(headers, forged) is None
        self._heard.put_nowait(Heard(webhook, headers.get("webhook-signature", ""), is_refused))
        return web.Response(status=204)

    def _verified(self, headers: dict[str, str], body: bytes) -> Webhook | None:
        try:
            return verify_webhook(self.secret, headers, body)
        except WebhookNotValid:
            return None
