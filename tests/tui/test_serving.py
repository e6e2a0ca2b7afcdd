"""The review in a real browser, and who is let in."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import psutil
import pytest
from aiohttp import web
from PIL import Image

from curator.base.actor import current_user
from curator.base.vocabulary import Label, Method
from curator.catalogue.labels import own_decisions
from curator.cli.review import host_and_port
from curator.tui import serving as server_module
from curator.tui.serving import ReviewServer
from curator.web.access import ServerAccess, listen
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
    assert (decision.label, decision.method) == (Label.NEGATIVE, Method.BLIND)


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
async def test_the_page_and_all_of_its_parts_need_the_token(scored: Workspace) -> None:
    for asked, here in (("127.0.0.1:0", ""), (f"0.0.0.0:{_free_port()}", "127.0.0.1")):
        with served(scored, asked) as address:
            parts = urlsplit(address)
            base = f"http://{here or parts.hostname}:{parts.port}/"
            token = address.partition("token=")[2]
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as session:
                for path in ("", "ws", "static/js/textual.js", "download/1", "?token=wrong"):
                    async with session.get(base + path) as answer:
                        assert answer.status == 403, path
                for headers in ({"Origin": "http://evil.example"}, {"Host": "[::1"}):
                    async with session.get(f"{base}?token={token}", headers=headers) as answer:
                        assert answer.status == 403, headers
                async with session.get(f"{base}?token={token}") as answer:
                    assert answer.status == 200
                    assert answer.url.query_string == ""
                    policy = answer.headers["Content-Security-Policy"]
                    text = await answer.text()
        assert "default-src 'none'" in policy
        assert "https://" not in text


@played
async def test_a_session_ends_when_its_visitor_leaves_and_makes_room(
    scored: Workspace, tmp_path: Path
) -> None:
    chromium = need_program("chromium", "install chromium")
    curator("-w", scored.root, "config", "review.sessions=1")
    review = ("review", "random", "--web", "--address", "127.0.0.1:0")
    with serving(scored.root, *review) as (address, server):
        async with browser(chromium, tmp_path / "profile") as page:
            await page.open(address)
            await _wait_for_picture(page, tmp_path / "seen.png")
            assert "token" not in await page.evaluate("location.href")
            (process,) = psutil.Process(server.pid).children()
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as other:
                async with other.get(address) as answer:
                    assert answer.status == 503
                    assert "review.sessions" in await answer.text()
                await page.call("Page.navigate", url="about:blank")
                process.wait(timeout=30)
                async with other.get(address) as answer:
                    assert answer.status == 200


@pytest.mark.parametrize("how", ["heartbeat", "nonsense", "closed"])
def test_a_visitor_who_is_gone_leaves_no_process(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also one that is busy, and ends neither when it is asked nor when it is told."""
    monkeypatch.setattr(server_module, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "LEAVING_SECONDS", 0.3)
    busy = tmp_path / "busy.py"
    busy.write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stdout.write('__GANGLION__\\n'); sys.stdout.flush()\n"
        "time.sleep(600)\n"
    )

    async def visit() -> None:
        with listen("127.0.0.1", 0) as listener:
            access = ServerAccess("127.0.0.1", listener.getsockname()[1], sessions=1)
            server = ReviewServer([sys.executable, str(busy)], access)
            runner = web.AppRunner(await server.application())
            await runner.setup()
            await web.SockSite(runner, listener).start()
            jar = aiohttp.CookieJar(unsafe=True)
            async with aiohttp.ClientSession(cookie_jar=jar) as session:
                await (await session.get(access.address)).text()
                address = f"http://127.0.0.1:{access.port}/ws"
                websocket = await session.ws_connect(address, autoping=False)
                while not (children := psutil.Process().children()):
                    await asyncio.sleep(0.05)
                if how == "nonsense":
                    await websocket.send_str('{"width": ')
                elif how == "closed":
                    await websocket.close()
                await asyncio.to_thread(psutil.wait_procs, children, 30)
                assert not any(child.is_running() for child in children)
            await runner.cleanup()

    asyncio.run(visit())


@played
async def test_a_review_ends_with_a_server_that_is_killed(scored: Workspace) -> None:
    review = ("review", "random", "--web", "--address", "127.0.0.1:0")
    with serving(scored.root, *review) as (address, server):
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            await (await session.get(address)).text()
            websocket = await session.ws_connect(address.partition("?")[0] + "ws")
            await websocket.receive(timeout=90)
            (process,) = psutil.Process(server.pid).children()
            server.kill()
            await asyncio.to_thread(process.wait, 30)


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
