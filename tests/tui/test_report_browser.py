"""The report in a real browser: every plot drawn, every picture shown, nothing asked or run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from curator.report.report import report
from curator.workspace import Workspace, create_workspace
from tests.support import encoder
from tests.support.command import curator
from tests.support.images import make_folder
from tests.support.needs import need_program
from tests.support.told import with_hostile_names
from tests.tui.browser import Browser, browser
from tests.tui.conftest import played

pytestmark = pytest.mark.slow

LOOK = """(() => {
  const box = (one) => { const r = one.getBoundingClientRect(); return r.width * r.height; };
  return JSON.stringify({
    plots: [...document.querySelectorAll("svg.plot")].map(box),
    marks: [...document.querySelectorAll("svg.plot")].map((one) =>
      [...one.querySelectorAll("path, use")].filter((part) => box(part) > 4).length),
    pictures: [...document.images].map((one) => one.naturalWidth * box(one)),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    ground: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    label: getComputedStyle(document.querySelector("svg.plot text")).fill,
    smallest: Math.min(...[...document.querySelectorAll("svg.plot text")].map((one) =>
      one.getBoundingClientRect().height)),
    scripts: document.scripts.length, pwned: String(window.pwned), title: document.title,
  });
})()"""


@pytest.fixture
def told(tmp_path: Path) -> tuple[Workspace, Path]:
    """A real workspace with two real rounds, and the weights of its encoder."""
    make_folder(tmp_path / "pictures", good=40, bad=40, seed=3)
    weights = encoder.write_weights(tmp_path / "tiny.safetensors")
    root = tmp_path / "ws"
    loose = ("promote_above=0.8", "revoke_below=0.6", "revoke_above=0.4", "promote_below=0.2")
    curator("init", root)
    curator("-w", root, "config", *encoder.settings(weights))
    curator("-w", root, "config", *(f"promotion.{one}" for one in loose))
    curator("-q", "-w", root, "add", tmp_path / "pictures")
    seeds = tmp_path / "seeds.csv"
    lines = [
        f"pictures/{name}/{name}-{n:04d}.{'jpg' if n % 3 else 'png'},{name}"
        for name in ("good", "bad")
        for n in range(14)
    ]
    seeds.write_text("path,label\n" + "\n".join(lines) + "\n")
    curator("-w", root, "label", seeds)
    curator("-q", "-w", root, "round", "--rounds", "2")
    from curator.workspace import open_workspace

    return open_workspace(root), root


async def seen(page: Browser) -> dict[str, object]:
    import json

    return dict(json.loads(await page.evaluate(LOOK)))


@played
async def test_light_dark_phone_and_print_show_all_of_it_and_ask_nobody(
    told: tuple[Workspace, Path], tmp_path: Path
) -> None:
    chromium = need_program("chromium", "install chromium")
    workspace, _ = told
    made = report(workspace, tmp_path / "page.html")
    pictures = sum(len(strip.tiles) for strip in made.contents.strips)
    assert pictures > 20
    looks = {}
    async with browser(chromium, tmp_path / "profile") as page:
        await page.open(made.destination.as_uri())
        await asyncio.sleep(1.0)
        for name, width, dark, media in (
            ("light", 1200, False, ""), ("dark", 1200, True, ""), ("phone", 390, False, ""),
            ("small", 320, True, ""), ("print", 760, True, "print"),
        ):  # fmt: skip
            await page.look_like(width, dark=dark, media=media)
            await asyncio.sleep(0.3)
            looks[name] = await seen(page)
        requests, complaints = page.requests, page.complaints
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [made.destination.as_uri()]
    for name, look in looks.items():
        assert len(look["plots"]) == 10, name  # all but quarantine, which is empty
        assert min(look["plots"]) > 12_000, name
        assert min(look["marks"]) >= 1, name
        assert len(look["pictures"]) == pictures, name
        assert min(look["pictures"]) > 0, name
        assert look["wide"] <= 0, name
        assert look["scripts"] == 0, name
        assert look["smallest"] >= (8 if name == "small" else 10), name
    assert looks["light"]["ground"] != looks["dark"]["ground"]
    assert looks["light"]["label"] != looks["dark"]["label"]
    assert looks["print"]["ground"] == "rgb(255, 255, 255)"
    assert looks["print"]["ink"] == "rgb(0, 0, 0)"


@played
async def test_hostile_names_and_notes_run_nothing(tmp_path: Path) -> None:
    chromium = need_program("chromium", "install chromium")
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    hostile, _ = with_hostile_names(workspace, tmp_path)
    made = report(hostile, tmp_path / "page <script>.html")
    async with browser(chromium, tmp_path / "profile") as page:
        await page.open(made.destination.as_uri())
        await asyncio.sleep(1.0)
        await page.look_like(390)
        look = await seen(page)
        shown = await page.evaluate("document.body.innerText")
        await page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        opened = await seen(page)
        # The policy holds even where a script is let in: it does not run.
        await page.evaluate(
            "document.body.insertAdjacentHTML('beforeend',"
            " '<img src=x onerror=\"window.pwned=2\">')"
        )
        await asyncio.sleep(0.5)
        assert await page.evaluate("String(window.pwned)") == "undefined"
    assert (look["pwned"], look["scripts"], look["wide"]) == ("undefined", 0, 0)
    assert opened["wide"] == 0
    assert min(look["plots"]) > 0
    assert "onerror=window.pwned=1" in shown
    assert "caf\\udce9" in shown


@played
async def test_an_empty_workspace_has_a_page_without_complaints(tmp_path: Path) -> None:
    chromium = need_program("chromium", "install chromium")
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    made = report(workspace)
    async with browser(chromium, tmp_path / "profile") as page:
        await page.open(made.destination.as_uri())
        await asyncio.sleep(0.5)
        await page.look_like(390)
        assert await page.evaluate("document.querySelectorAll('svg').length") == 0
        assert "There is no image that can be used yet." in await page.evaluate(
            "document.body.innerText"
        )
        assert page.complaints == []
