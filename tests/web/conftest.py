"""One browser for a module's tests, a context of its own for each."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

from tests.fakes.processes import PATIENCE_S
from tests.fakes.required import skip_without
from tests.server.talk import Place

CHROMIUM = shutil.which("chromium")
expect.set_options(timeout=PATIENCE_S * 1000)
needs_chromium = skip_without("chromium", CHROMIUM, "no chromium: the browser page was NOT tried")


@dataclass
class Watched:
    """A page, and what went wrong in it."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    may_fail: tuple[str, ...] = ()
    """Words of console errors that a test provokes."""

    def hear(self, message: ConsoleMessage) -> None:
        """Keep an error. That a server is gone, as it is behind a test, is none of the page's."""
        may_fail = (*self.may_fail, "ERR_CONNECTION_REFUSED")
        if message.type == "error" and not any(word in message.text for word in may_fail):
            self.troubles.append(message.text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        made = await playwright.chromium.launch(
            executable_path=CHROMIUM or "chromium",
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield made
        await made.close()


Open = Callable[..., Awaitable[Watched]]


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser) -> AsyncIterator[Open]:
    """Open a server's page; at the end nothing may have gone wrong or elsewhere."""
    contexts: list[BrowserContext] = []
    opened: list[tuple[Watched, str]] = []

    async def open_page(
        place: Place,
        size: tuple[int, int] = (1400, 900),
        scheme: str = "dark",
        may_fail: tuple[str, ...] = (),
        prepared: str = "",
    ) -> Watched:
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="light" if scheme == "light" else "dark",
            permissions=["clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        if prepared:
            await context.add_init_script(prepared)
        context.set_default_timeout(PATIENCE_S * 1000)
        watched = Watched(await context.new_page(), may_fail=may_fail)
        watched.page.on("console", watched.hear)
        watched.page.on("pageerror", lambda error: watched.troubles.append(str(error)))
        watched.page.on("request", lambda request: watched.addresses.append(request.url))
        opened.append((watched, place.server.address))
        await watched.page.goto(place.server.address)
        return watched

    yield open_page
    for watched, address in opened:
        assert watched.troubles == []
        foreign = [a for a in watched.addresses if not a.startswith((address, "blob:"))]
        assert foreign == []
    for context in contexts:
        await context.close()


@pytest.fixture(autouse=True)
def _no_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Point the app's files elsewhere."""
    monkeypatch.setenv("MTPLX_TUI_HOME", str(tmp_path_factory.mktemp("home")))
