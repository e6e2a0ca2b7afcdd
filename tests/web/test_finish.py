"""`curator finish --web`: the same loop, its batches labelled in pages."""

from __future__ import annotations

import asyncio
import hashlib
import re
import signal
import time
from pathlib import Path
from secrets import token_hex
from typing import Any

import aiohttp
import pytest

from curator.catalogue import rounds
from curator.catalogue.counts import counts
from curator.intake.add import add
from curator.web.review import serve_batches
from curator.workspace import Workspace, open_workspace
from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.labelled import make_unlabelled
from tests.support.serving import serving
from tests.tui.conftest import played
from tests.tui.test_terminal_session import PATIENCE
from tests.web.conftest import Page, Visit


def made(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A workspace with pictures, and the class of each by its name and by its hash."""
    pictures = make_unlabelled(tmp_path)
    curator("-q", "-w", tmp_path / "ws", "encode")  # the page is there at once then
    files = [file for file in pictures.rglob("*.*") if file.is_file()]
    hashes = {hashlib.sha256(file.read_bytes()).hexdigest()[:12]: file for file in files}
    return tmp_path / "ws", {
        name: file.parent.name for sha, file in hashes.items() for name in (sha, file.name)
    }


async def answer(page: Page, classes: dict[str, str], queues: list[str]) -> bool:
    """Label the image in front, if there is one; whether the loop goes on."""
    text = await page.text()
    if "Every image has a label" in text or "Not finished" in text:
        return False
    panel = re.search(r"(?:good|bad)-\d+\.\w+|(?<=image )[0-9a-f]{12}", await page.text("#panel"))
    if panel is None:
        await asyncio.sleep(0.2)
        return True
    queue = await page.tab.evaluate("document.getElementById('queue').value")
    if queues[-1:] != [queue]:
        queues.append(queue)
    await page.press("a" if classes[panel[0]] == "good" else "x")
    return True


@pytest.mark.slow
@played
async def test_a_pool_is_finished_in_a_browser(tmp_path: Path, visit: Visit) -> None:
    root, classes = made(tmp_path)
    queues: list[str] = []
    arguments = ("finish", "--error", "0.2", "--web", "--address", "127.0.0.1:0")
    with serving(root, *arguments) as (address, process):
        async with visit(address, "anna") as page:
            await page.says("0 of 50 done")
            assert await page.tab.evaluate("document.getElementById('queue').disabled")
            since, before = time.monotonic(), 0
            while await answer(page, classes, queues):
                if len(queues) > before:
                    since, before = time.monotonic(), len(queues)
                assert time.monotonic() < since + PATIENCE, await page.text()
            await page.says("Estimate, no certificate: 0.00% of the pool is wrong")
            assert page.tab.complaints == []
        assert process.wait(timeout=60) == 0
    assert queues[:2] == ["diverse", "random"]
    with open_workspace(root).catalogue as catalogue:
        present = counts(catalogue)
        assert present.unlabelled == 0 and present.promoted > 0
        assert any(record.likelier is not None for record in rounds.list_rounds(catalogue))


class Reviewer:
    """A page of `serve_batches` without a browser."""

    def __init__(self, http: aiohttp.ClientSession, base: str, number: int) -> None:
        self.http, self.base, self.page = http, base, f"{number:032x}"

    async def post(self, path: str, **details: Any) -> dict[str, Any]:
        body = {"page": self.page, "reviewer": "anna", "key": token_hex(8), **details}
        async with self.http.post(self.base + path, json=body) as answer:
            return dict(await answer.json())

    async def act(self, action: str, **details: Any) -> dict[str, Any]:
        return await self.post("api/act", action=action, **details)


@pytest.mark.slow
@played
async def test_what_all_pages_decide_counts_for_the_batch(
    scored: Workspace, tmp_path: Path
) -> None:
    said: list[str] = []
    add(scored, [make_folder(tmp_path / "more", good=20, bad=20, seed=9)])
    total = counts(scored.catalogue).usable
    with serve_batches(scored, host="127.0.0.1", port=0, say=said.append) as batches:
        address = said[0].split()[-1]
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
            anna, ben = (Reviewer(http, address.partition("?")[0], n) for n in (1, 2))
            await (await http.get(address)).text()
            first = asyncio.create_task(asyncio.to_thread(batches.ask, "random", 3))
            one, two = await anna.post("api/open"), await ben.post("api/open")
            assert one["card"]["id"] != two["card"]["id"] and (one["done"], one["goal"]) == (0, 3)
            one = await anna.act("positive", image=one["card"]["id"])
            one = await anna.act("undo")
            assert one["done"] == 0
            one = await anna.act("positive", image=one["card"]["id"])
            two = await ben.act("skip", image=two["card"]["id"])
            two = await ben.act("negative", image=two["card"]["id"])
            assert two["done"] == 2
            refused = await ben.act("queue", queue="borderline")
            assert refused["problem"] == "`finish` chooses the queue here."
            one = await anna.act("unsure", image=one["card"]["id"])
            assert await first and "computes" in one["waiting"] and one["card"] is None
            batches.say("Half is done.")
            second = asyncio.create_task(asyncio.to_thread(batches.ask, "borderline", total))
            await asyncio.sleep(0.1)
            one, two = await anna.act("wait"), await ben.act("wait")
            assert one["message"] == "Half is done." and one["queue"] == "borderline"
            assert one["batch"] == 2 and not one["blind"]
            # A queue that is empty for every page ends the batch before its size is reached.
            while one["card"] or two["card"]:
                if one["card"]:
                    one = await anna.act("positive", image=one["card"]["id"])
                if two["card"]:
                    two = await ben.act("positive", image=two["card"]["id"])
            assert not await second
            end = asyncio.create_task(asyncio.to_thread(batches.end, "That is all."))
            await asyncio.sleep(0.1)
            for page in (anna, ben):
                answer = await page.act("wait")
                assert (answer["waiting"], answer["ended"]) == ("That is all.", True)
                async with page.http.post(page.base + "api/leave", json={"page": page.page}):
                    pass
            await end


@pytest.mark.slow
@played
async def test_undo_counts_and_ctrl_c_keeps_what_was_decided(tmp_path: Path, visit: Visit) -> None:
    root, classes = made(tmp_path)
    arguments = ("finish", "--web", "--address", "127.0.0.1:0")
    with serving(root, *arguments) as (address, process):
        async with visit(address) as page:
            for _ in range(3):
                await answer(page, classes, [])
            await page.says("3 of 50 done")
            await page.press("u")
            await page.says("2 of 50 done")
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    with open_workspace(root).catalogue as catalogue:
        assert counts(catalogue).without_human == 158
