"""What each screen looks like, kept beside the tests: its text, and the ink of every cell.

What differs between machines and days (paths, times, speeds) is masked, and so are the
pictures themselves. After a change that is wanted, look at the difference and write them
anew:

    CURATOR_SNAPSHOTS=write pytest tests/tui/test_snapshots.py
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
from rich.style import Style

from curator.base.vocabulary import Label, Method, Origin
from curator.tui.lines import Inks
from curator.tui.screens.sheet import SheetScreen
from curator.tui.widgets.picture import Picture
from curator.workspace import Workspace
from tests.support.filled import decide
from tests.tui.conftest import Reviewer, Seat, played

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).with_name("snapshots")
LETTERS = {
    "plain": "p", "muted": "m", "strong": "s", "accent": "a", "positive": "+", "negative": "-",
    "warning": "!", "key": "k", "marked": "#", "ground": " ",
}  # fmt: skip
MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d"), "<time>"),
    (re.compile(r"\d\d\.\d\d\. \d\d:\d\d"), "<time>"),
    (re.compile(r"\S*[/…]\S*(pytest|photos|ws|_)\S*"), "<path>"),
    (re.compile(r"  \d+/min"), "  <n>/min"),
    (re.compile(r"\d+ a minute over \d+\.\d minutes"), "<n> a minute over <n> minutes"),
    (re.compile(r"[0-9a-f]{12,64}"), "<sha256>"),
    (re.compile(r"\d+ (B|kB)\b"), "<size>"),
)


def looks(reviewer: Reviewer) -> str:
    """The screen as text, and below it the ink of every cell where there is one of ours."""
    inks = _letters_of(reviewer.app.inks)
    screen, *below = reversed(reviewer.app.screen_stack)
    picture = [one.region for one in screen.query(Picture)]
    behind = [one.region for under in below for one in under.query(Picture)]
    tiled = isinstance(reviewer.app.screen, SheetScreen)
    rows, inked = [], []
    for y, line in enumerate(reviewer.app.screen._compositor.render_strips()):
        text, ink, x = "", "", 0
        for part in line:
            for letter in part.text:
                known = inks.get(_seen(part.style), "?")
                hidden = letter == "▀" or any(region.contains(x, y) for region in picture)
                blank = letter == " " and (tiled or any(one.contains(x, y) for one in behind))
                hidden = hidden or (blank and known == "?")
                text += "░" if hidden else letter
                ink += " " if hidden or letter == " " else known
                x += 1
        rows.append(_masked(text))
        inked.append(ink.rstrip())
    return "\n".join([*rows, "", *inked]).rstrip() + "\n"


def _letters_of(inks: Inks) -> dict[tuple[object, ...], str]:
    return {
        _seen(getattr(inks, field.name)): LETTERS[field.name]
        for field in reversed(dataclasses.fields(inks))
    }


def _seen(style: Style | None) -> tuple[object, ...]:
    if style is None:
        return ()
    colour = style.color.get_truecolor() if style.color else None
    return colour, bool(style.bold), bool(style.reverse)


def _masked(text: str) -> str:
    for pattern, instead in MASKS:
        if pattern.search(text):
            text = re.sub(r" {2,}", "   ", pattern.sub(instead, text))
    return text.rstrip()


def compare(name: str, seen: str) -> None:
    """The kept picture of a screen is what is seen now."""
    file = FOLDER / f"{name}.txt"
    if os.environ.get("CURATOR_SNAPSHOTS") == "write":
        file.write_text(seen, encoding="utf-8")
    assert seen == file.read_text(encoding="utf-8"), f"{file} looks different now"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@played
async def test_one_image(seat: Seat, size: tuple[int, int]) -> None:
    async with seat(size=size) as reviewer:
        await reviewer.press("2")
        compare(f"single-{size[0]}x{size[1]}", looks(reviewer))


@played
async def test_one_image_blind(seat: Seat) -> None:
    async with seat("random", size=(80, 24)) as reviewer:
        compare("blind-80x24", looks(reviewer))


@played
async def test_the_contact_sheet(seat: Seat) -> None:
    async with seat(size=(80, 24)) as reviewer:
        await reviewer.press("g", "right", "m", "n", "space")
        compare("sheet-80x24", looks(reviewer))


@played
async def test_the_pages(seat: Seat, scored: Workspace) -> None:
    async with seat(size=(80, 24)) as reviewer:
        decide(scored, [reviewer.card_id], Label.UNSURE, Origin.REVIEW, Method.SINGLE)
        await reviewer.press("i")
        await reviewer.text_with("tester")
        await reviewer.press("i", "d")
        await reviewer.text_with("Scores")
        await reviewer.press("d", "question_mark")
        await reviewer.pilot.pause(0.2)
        compare("help-80x24", looks(reviewer))


@played
async def test_the_summary(seat: Seat) -> None:
    async with seat(size=(80, 24)) as reviewer:
        await reviewer.press("space", "q")
        await reviewer.text_with("Next:")
        compare("summary-80x24", looks(reviewer))
