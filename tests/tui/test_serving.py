"""The review in a real browser, and who is let in."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
from PIL import Image

from curator.base.actor import current_user
from curator.base.vocabulary import Label, Method
from curator.catalogue.labels import own_decisions
from curator.cli.review import host_and_port
from curator.tui.serving import is_loopback, listen
from curator.workspace import Workspace
from tests.support.command import curator
from tests.support.needs import need_program
from tests.support.serving import serving
from tests.tui.browser import browser
from tests.tui.conftest import played

pytestmark = pytest.mark.slow


@contextmanager
def served(workspace: Workspace, address: str = "127.0.0.1:0") -> Iterator[str]:
    """`curator review --web` in a process of its own; the address that it says."""
    review = ("review", "random", "--web", "--address", address)
    with serving(workspace.root, *review) as (said, _):
        yield said


@played
async def test_a_picture_is_seen_a_key_labels_it_and_nothing_is_asked_of_others(
    scored: Workspace, tmp_path: Path
) -> None:
    chromium = need_program("chromium", "install chromium")
    with served(scored) as address:
        async with browser(chromium, tmp_path / "profile") as page:
            await page.open(address)
            colours = await _wait_for_picture(page, tmp_path / "seen.png")
            assert colours > 200
            assert not own_decisions(scored.catalogue, current_user())
            await page.click(600, 300)
            deadline = time.monotonic() + 90
            while not own_decisions(scored.catalogue, current_user()):
                assert time.monotonic() < deadline, "the key did not arrive"
                await page.press("x")
                await asyncio.sleep(1.0)
            hosts = {urlsplit(url).netloc for url in page.requests if not url.startswith("data:")}
            assert hosts == {urlsplit(address).netloc}
            fonts = await page.evaluate("document.fonts.check(\"12px 'Roboto Mono'\")")
            assert fonts is True
    decision = own_decisions(scored.catalogue, current_user())[-1]
    assert (decision.label, decision.method) == (Label.NEGATIVE, Method.SINGLE)


async def _wait_for_picture(page: object, path: Path) -> int:
    """How many colours the screen has as soon as it has a picture's worth of them."""
    colours = 0
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        shot = await page.screenshot(path)  # type: ignore[attr-defined]
        pixels = np.asarray(Image.open(shot).convert("RGB")).reshape(-1, 3)
        colours = len(np.unique(pixels, axis=0))
        if colours > 200:
            await asyncio.sleep(1.0)
            return colours
        await asyncio.sleep(0.5)
    raise AssertionError(f"no picture came: {colours} colours")


@played
async def test_over_a_network_only_the_token_opens(scored: Workspace) -> None:
    port = _free_port()
    with served(scored, f"0.0.0.0:{port}") as address:
        assert "token=" in address
        here = f"http://127.0.0.1:{port}/"
        token = address.partition("token=")[2]
        async with aiohttp.ClientSession() as session:
            for path in ("", "ws", "static/js/textual.js", "?token=wrong"):
                async with session.get(here + path) as answer:
                    assert answer.status == 403, path
            async with session.get(f"{here}?token={token}") as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                text = await answer.text()
        assert "default-src 'none'" in policy
        assert "https://" not in text


@played
async def test_pages_of_other_sites_cannot_connect(scored: Workspace) -> None:
    with served(scored) as address:
        assert "token" not in address
        async with aiohttp.ClientSession() as session:
            for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
                async with session.get(address + "ws", headers=headers) as answer:
                    assert answer.status == 403, headers


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["borderlin"], "There is no queue `borderlin`"),
        (["random", "--filter", "class:ugly"], "there is no class `ugly`"),
        (["random", "--address", "127.0.0.1:http"], "is no address"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_served(
    scored: Workspace, arguments: list[str], says: str
) -> None:
    ended = curator("-w", scored.root, "review", *arguments, "--web", expect=2)
    assert says in ended.stderr


@pytest.mark.parametrize(
    ("address", "means"),
    [
        ("", ("127.0.0.1", 0)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("here", ("here", 0)),
        (":80", ("127.0.0.1", 80)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
    ],
)
def test_what_an_address_means(address: str, means: tuple[str, int]) -> None:
    assert host_and_port(address) == means


def test_who_is_told_the_address_can_connect_at_once() -> None:
    first, second = listen("127.0.0.1", 0), listen("127.0.0.1", 0)
    with first, second:
        assert first.getsockname() != second.getsockname()
        for listener in (first, second):
            socket.create_connection(listener.getsockname(), timeout=1).close()


def test_what_is_loopback() -> None:
    assert all(is_loopback(name) for name in ("127.0.0.1", "localhost", "::1", "127.8.8.8"))
    assert not any(is_loopback(name) for name in ("0.0.0.0", "192.168.1.2", "example.org"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
