"""The review page of a real server in a real Chromium."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from curator.workspace import Workspace
from tests.support.needs import need_program
from tests.support.serving import serving
from tests.tui.browser import Browser, browser
from tests.tui.conftest import featured, scored

__all__ = ["featured", "scored"]

READY = "document.body.getAttribute('aria-busy') === 'false'"


class Page:
    """One reviewer at a page; keys are pressed once the picture can be seen, as a person would."""

    def __init__(self, tab: Browser) -> None:
        self.tab = tab

    async def ready(self) -> None:
        await self.tab.until(READY)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.ready()
            await self.tab.press(key)
        await self.ready()

    async def text(self, selector: str = "body") -> str:
        return str(await self.tab.evaluate(f"document.querySelector({selector!r}).innerText"))

    async def says(self, part: str) -> None:
        await self.tab.until(f"document.body.innerText.includes({json.dumps(part)})")

    async def click(self, selector: str) -> None:
        box = await self.tab.until(
            f"(() => {{ const b = document.querySelector({selector!r})?.getBoundingClientRect();"
            " return b && b.width ? [b.x + b.width / 2, b.y + b.height / 2] : null; })()"
        )
        await self.tab.click(*(round(place) for place in box))


Visit = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    """Opens the page: `async with visit(address, "anna") as page`."""

    @asynccontextmanager
    async def open_page(address: str, reviewer: str = "anna", **look: Any) -> AsyncIterator[Page]:
        chromium = need_program("chromium", "install chromium")
        async with browser(chromium, tmp_path / f"profile-{reviewer}") as tab:
            if look:
                await tab.look_like(**look)
            await tab.open(f"{address}&reviewer={reviewer}")
            page = Page(tab)
            await page.ready()
            yield page
            await tab.call("Page.navigate", url="about:blank")  # as when its tab is closed
            await asyncio.sleep(0.3)

    return open_page


def review(
    workspace: Workspace, queue: str = "borderline", *options: str
) -> AbstractAsyncContextManager[Any] | Any:
    """`curator review --web` in a process of its own: its address, and the process."""
    arguments = ("review", queue, "--web", "--address", "127.0.0.1:0", *options)
    return serving(workspace.root, *arguments)
