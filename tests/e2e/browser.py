"""A real Chromium on a phone's screen, with a passkey authenticator of its own, before the real pages."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Route, async_playwright

from aval.bootstrap import page_routes
from aval.http.app import build_app
from aval.http.server import Listener, ServerSettings, serve
from tests.world import World

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 10_000
AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


def chromium_path() -> str | None:
    """Debian's Chromium, or the one AVAL_TEST_CHROMIUM names."""
    given = os.environ.get("AVAL_TEST_CHROMIUM")
    return given or shutil.which("chromium") or shutil.which("chromium-browser")


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    """The browser; without one the test is skipped, and says how to get it."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium: `make browser` installs Debian's, or name one in AVAL_TEST_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path)
        yield browser
        await browser.close()


@asynccontextmanager
async def serving(world: World) -> AsyncIterator[str]:
    """The API and its pages on a port of this machine; answers their origin."""
    listening, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    app = build_app(world.parts, [world.routes], page_routes())
    server = asyncio.create_task(serve([Listener(app, listening)], ServerSettings(), stop))
    yield f"http://localhost:{listening.getsockname()[1]}"
    stop.set()
    await server


@dataclass
class Phone:
    """One approver's browser: a page, and the authenticator that holds their passkeys."""

    origin: str
    context: BrowserContext = field(repr=False)
    page: Page = field(repr=False)
    devtools: CDPSession = field(repr=False)
    authenticator_id: str
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def unlocked(cls, browser: Browser, origin: str, **settings: Any) -> "Phone":
        """A phone whose owner always proves to be there."""
        context = await browser.new_context(**{"viewport": PHONE, "locale": "pt-BR", **settings})
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        devtools = await context.new_cdp_session(page)
        await devtools.send("WebAuthn.enable")
        added = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        phone = cls(origin, context, page, devtools, added["authenticatorId"])
        page.on("console", lambda message: phone.hear(message.type, message.text))
        page.on("pageerror", lambda error: phone.complaints.append(str(error)))
        return phone

    def hear(self, kind: str, text: str) -> None:
        """Note what the browser complains about; that a call was refused is no fault of the page."""
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    async def open(self, session_id: object, fragment: str = "") -> None:
        """Follow a link."""
        await self.page.goto(f"{self.origin}/approve/{session_id}{fragment}")

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name).click()

    async def heading(self, text: str) -> None:
        """Wait for the view with this heading."""
        await self.page.get_by_role("heading", level=1, name=text).wait_for()

    async def text(self) -> str:
        """All that is to be read."""
        return (await self.page.locator("body").inner_text()).replace("\xa0", " ")

    async def status(self, text: str) -> None:
        """Wait until a screen reader is told this."""
        await self.page.get_by_role("status").filter(has_text=text).wait_for()

    async def user_is(self, *, verified: bool) -> None:
        """Whether the owner proves to be there from now on."""
        told = {"authenticatorId": self.authenticator_id, "isUserVerified": verified}
        await self.devtools.send("WebAuthn.setUserVerified", told)

    async def told(self, session: dict[str, Any]) -> None:
        """Let somebody on the way tell the page this in place of the session it asks for, from now on."""
        await self.page.unroute_all()

        async def answer(route: Route) -> None:
            await route.fulfill(json=session)

        await self.page.route("**/device_sessions/*", answer)

    async def picture(self, name: str) -> None:
        """Keep what is on the screen, to be looked at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    async def accessibility_faults(self) -> list[str]:
        """What axe-core finds in the view, however serious."""
        results = await Axe().run(self.page)
        return [f"{each['id']}: {node['html']}" for each in results.response["violations"] for node in each["nodes"]]

    async def inspect(self, name: str) -> None:
        """Picture and accessibility of a view, and that nothing ran over its edge."""
        await self.picture(name)
        assert await self.accessibility_faults() == []
        assert await self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    @property
    def handed_over(self) -> dict[str, str]:
        """What the fragment of the address carries."""
        return {name: texts[0] for name, texts in parse_qs(urlsplit(self.page.url).fragment).items()}

    async def close(self) -> None:
        await self.context.close()
