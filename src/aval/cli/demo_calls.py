"""The ends of the demo's wire: the integrator's calls, the operator's, and a receiver of webhooks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
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


class Wire:
    """The Python client of the integrator, or of a device, and how its last try went."""

    def __init__(self, base_url: str, credential: Credential) -> None:
        self.aval = AvalClient(base_url, credential, timeout_s=ANSWER_S, watch=self._note)
        self._tried: Tried | None = None

    def answered(self, status: int) -> Tried:
        """The last try; raises DemoFailed unless its answer had this status."""
        assert self._tried is not None
        check(f"{self._tried.method} {self._tried.path} answers {status}", self._tried.status, status)
        return self._tried

    def _note(self, tried: Tried) -> None:
        self._tried = tried


async def refusal_of(what: str, call: Awaitable[object]) -> Refused:
    """How a call is refused; raises DemoFailed if it is not."""
    try:
        answer = await call
    except Refused as refused:
        return refused
    raise DemoFailed(what, answer)


class Operator:
    """Makes what there has to be, over the administration API."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str, admin_key: str) -> None:
        self._session = session
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {admin_key}", "Content-Type": "application/json"}

    async def post(self, path: str, body: Any) -> Any:
        """POST something new, and return the answer's body."""
        return await self._call("POST", path, body, expect=201)

    async def put(self, path: str, body: Any) -> Any:
        """PUT something, and return the answer's body."""
        return await self._call("PUT", path, body, expect=200)

    async def _call(self, method: str, path: str, body: Any, *, expect: int) -> Any:
        sent, limit = msgspec.json.encode(body), aiohttp.ClientTimeout(ANSWER_S)
        try:
            async with self._session.request(
                method, self._base_url + path, data=sent, headers=self._headers, timeout=limit
            ) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoFailed(f"{method} {path} answers", type(error).__name__) from None
        if response.status != expect:
            raise DemoFailed(f"{method} {path} answers {expect}", f"{response.status} {text.decode(errors='replace')}")
        return msgspec.json.decode(text)


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
