"""The two ends of the demo's wire: calls to the API, and a receiver of its webhooks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

ANSWER_S = 20
LOOK_S = 0.05  # between two looks at what the worker has to do first
WAIT_S = 20.0

Value = TypeVar("Value")

_DECODER = msgspec.json.Decoder(float_hook=str)  # no amount passes through a float


class DemoFailed(Exception):
    """The demo did not see what it was made to show."""

    def __init__(self, what: str, seen: object) -> None:
        super().__init__(what, seen)
        self.what = what
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer of the API, and what was asked."""

    method: str
    path: str
    status: int
    milliseconds: float
    body: Any


class Caller:
    """One holder of an API key; keeps its connections and the last answer."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, api_key: str) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}

    async def see(self, method: str, path: str, body: Any = None, *, expect: int) -> Seen:
        """Call, and raise DemoFailed unless the answer has this status."""
        sent = None if body is None else msgspec.json.encode(body)
        limit = aiohttp.ClientTimeout(ANSWER_S)
        started = time.perf_counter()
        try:
            async with self._session.request(
                method, self._base_url + path, data=sent, headers=self._headers, timeout=limit
            ) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoFailed(f"{method} {path} answers", type(error).__name__) from None
        milliseconds = (time.perf_counter() - started) * 1_000
        if response.status != expect:
            raise DemoFailed(f"{method} {path} answers {expect}", f"{response.status} {text.decode(errors='replace')}")
        return Seen(method, path, response.status, milliseconds, _DECODER.decode(text) if text else None)

    async def post(self, path: str, body: Any) -> Any:
        """POST something new, and return the answer's body."""
        return (await self.see("POST", path, body, expect=201)).body

    async def put(self, path: str, body: Any) -> Any:
        """PUT something, and return the answer's body."""
        return (await self.see("PUT", path, body, expect=200)).body

    async def get(self, path: str) -> Any:
        """GET the body of something."""
        return (await self.see("GET", path, expect=200)).body


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
    """A webhook as it arrived, and what the public library of Standard Webhooks said of it."""

    event: Any
    event_id: str
    signature: str
    is_genuine: bool
    is_forgery_refused: bool


class Receiver:
    """A server on loopback that receives webhooks and checks their signature; a context manager."""

    def __init__(self) -> None:
        self.secret = ""
        self.url = ""
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
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
        """The next webhook; raises DemoFailed if none comes."""
        try:
            return await asyncio.wait_for(self._heard.get(), WAIT_S)
        except TimeoutError:
            raise DemoFailed("a webhook arrives", f"nothing within {WAIT_S:.0f} s") from None

    async def _receive(self, request: web.Request) -> web.Response:
        body, headers = await request.read(), dict(request.headers)
        heard = Heard(
            event=_DECODER.decode(body),
            event_id=headers.get("webhook-id", ""),
            signature=headers.get("webhook-signature", ""),
            is_genuine=self._is_signed(body, headers),
            is_forgery_refused=not self._is_signed(body.replace(b'"sent"', b'"sunk"', 1), headers),
        )
        self._heard.put_nowait(heard)
        return web.Response(status=204 if heard.is_genuine else 400)

    def _is_signed(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            Webhook(self.secret).verify(body, headers, json_parse=False)
        except WebhookVerificationError:
            return False
        return True
