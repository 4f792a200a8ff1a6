"""What browser tests share: a world on a port, and Chromium."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from tests.e2e.browser import Phone, running_chromium, serving
from tests.world import World
from tests.world_fixtures import world

__all__ = ["browser", "origin", "phone", "world"]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, once for a file; skips the test where there is none."""
    async with running_chromium() as running:
        yield running


@pytest.fixture(scope="module")
async def origin(world: World) -> AsyncIterator[str]:
    """Where the pages are."""
    async with serving(world) as address:
        yield address


@pytest.fixture
async def phone(browser: Browser, origin: str) -> AsyncIterator[Phone]:
    """An approver's phone; whatever a page complained about fails the test."""
    made = await Phone.unlocked(browser, origin)
    yield made
    await made.close()
    assert made.complaints == []
