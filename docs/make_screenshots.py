"""Takes the pictures in docs/images from real terminals: the review in tmux, and in Chromium.

    python -m docs.make_screenshots FOLDER [terminal] [animation] [browser]

FOLDER becomes the folder of `curator demo`, if it is not that already; its path is
seen on the pictures. Real keys are pressed, and what tmux then holds is drawn, cell by
cell, in DejaVu Sans Mono; the parts of sextants are drawn as rectangles, because no common font
has them. Needs tmux, Chromium, the package elpv-dataset and that font. Decisions that are made on
the way are taken back at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from rich.color import Color
from rich.style import Style
from rich.text import Text

from curator.tui.pictures import GLYPHS
from curator.tui.terminal import Cells
from tests.tui.browser import Browser, browser

IMAGES = Path(__file__).with_name("images")
COLUMNS, ROWS = 110, 34
CELL = (10, 20)
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono{}.ttf"
INK, GROUND = (224, 224, 224), (18, 18, 18)
PATIENCE = 120.0
_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row of the dots of a Braille character, by its bits."""
BARE = {**os.environ, "LOGNAME": "anna", "COLORTERM": "truecolor"}


class Tmux:
    """One terminal with the review in it."""

    def __init__(self, folder: Path, *command: str) -> None:
        socket = tempfile.mkdtemp(prefix="screenshots-")
        self._base = ["tmux", "-S", f"{socket}/socket", "-f", "/dev/null"]
        environment = {k: v for k, v in BARE.items() if k not in ("TMUX", "NO_COLOR")}
        size = ["-x", str(COLUMNS), "-y", str(ROWS)]
        said = shlex.join([sys.executable, "-m", "curator", "-w", str(folder), *command])
        subprocess.run(
            [*self._base, "new-session", "-d", *size, f"{said}; sleep 1000"],
            check=True, env=environment, cwd=Path(__file__).parents[1],
        )  # fmt: skip

    def keys(self, *keys: str) -> None:
        """Press these, each once the screen has come to rest."""
        for key in keys:
            subprocess.run([*self._base, "send-keys", key], check=True)
            self.rest()

    def rest(self) -> None:
        """Wait until the screen stays as it is."""
        before = ""
        while before != (now := self._capture()):
            before = now
            time.sleep(0.8)

    def wait_for(self, part: str) -> None:
        """Wait until something stands there."""
        deadline = time.monotonic() + PATIENCE
        while part not in self._capture():
            if time.monotonic() > deadline:
                raise SystemExit(f"{part!r} did not come:\n{self._capture()}")
            time.sleep(0.2)
        self.rest()

    def save(self, name: str) -> None:
        """Draw what the terminal holds."""
        self.rest()
        picture = self.drawn()
        few = picture.quantize(128, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}.png", optimize=True)
        sys.stdout.write(f"{name}.png\n")

    def drawn(self) -> Image.Image:
        """What the terminal holds, as a picture."""
        return drawn(self._capture("-e").split("\n")[:ROWS])

    def close(self) -> None:
        """End it."""
        subprocess.run([*self._base, "kill-server"], check=False)

    def _capture(self, *options: str) -> str:
        command = [*self._base, "capture-pane", "-p", *options]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def drawn(lines: Sequence[str]) -> Image.Image:
    """Lines with colour codes as a picture, a cell after the other."""
    fonts = {
        bold: ImageFont.truetype(FONT.format("-Bold" if bold else ""), 16) for bold in (False, True)
    }
    picture = Image.new("RGB", (COLUMNS * CELL[0], ROWS * CELL[1]), GROUND)
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        for column, (letter, style) in enumerate(_letters(line)):
            _draw(pen, fonts, (column * CELL[0], row * CELL[1]), letter, style)
    return picture


def _letters(line: str) -> Iterator[tuple[str, Style]]:
    text = Text.from_ansi(line)
    styles = [Style()] * len(text.plain)
    for span in text.spans:
        for place in range(span.start, span.end):
            found = span.style if isinstance(span.style, Style) else Style.parse(span.style)
            styles[place] = styles[place] + found
    return zip(text.plain, styles, strict=True)


def _draw(
    pen: ImageDraw.ImageDraw,
    fonts: dict[bool, ImageFont.FreeTypeFont],
    at: tuple[int, int],
    letter: str,
    style: Style,
) -> None:
    ink, ground = _rgb(style.color, INK), _rgb(style.bgcolor, GROUND)
    if style.reverse:
        ink, ground = ground, ink
    if style.dim:
        ink = tuple((one + other) // 2 for one, other in zip(ink, ground, strict=True))
    x, y = at
    right, bottom = x + CELL[0] - 1, y + CELL[1] - 1
    pen.rectangle((x, y, right, bottom), fill=ground)
    if letter == "▀":
        pen.rectangle((x, y, right, y + CELL[1] // 2 - 1), fill=ink)
    elif "▁" <= letter <= "█":
        eighths = ord(letter) - ord("▁") + 1
        pen.rectangle((x, y + CELL[1] - round(CELL[1] * eighths / 8), right, bottom), fill=ink)
    elif "\u2800" <= letter <= "\u28ff":  # Braille, which the font lacks
        for bit, (across, down) in enumerate(_DOTS):
            if ord(letter) >> bit & 1:
                dot = (x + 1 + 5 * across, y + 1 + 5 * down)
                pen.rectangle((*dot, dot[0] + 2, dot[1] + 2), fill=ink)
    elif letter in GLYPHS[Cells.SEXTANT] or letter in GLYPHS[Cells.QUADRANT]:
        cells = Cells.SEXTANT if letter in GLYPHS[Cells.SEXTANT] else Cells.QUADRANT
        across, down = cells.grid
        filled = GLYPHS[cells].index(letter)
        for part in range(across * down):
            if filled >> part & 1:
                left, top = (
                    x + part % across * CELL[0] // across,
                    y + part // across * CELL[1] // down,
                )
                right = x + (part % across + 1) * CELL[0] // across - 1
                bottom = y + (part // across + 1) * CELL[1] // down - 1
                pen.rectangle((left, top, right, bottom), fill=ink)
    elif letter != " ":
        pen.text((x, y + 1), letter, font=fonts[bool(style.bold)], fill=ink)


def _rgb(colour: Color | None, otherwise: tuple[int, ...]) -> tuple[int, ...]:
    if colour is None or colour.is_default:
        return otherwise
    return tuple(colour.get_truecolor())


@contextmanager
def review(folder: Path, *arguments: str) -> Iterator[Tmux]:
    """The review in a terminal, as soon as its first picture is there."""
    terminal = Tmux(folder, "review", *arguments)
    try:
        terminal.wait_for("0 done")
        yield terminal
    finally:
        terminal.close()


def on_terminals(folder: Path) -> None:
    """Every screen of the review."""
    with review(folder, "borderline") as terminal:
        terminal.keys("2", "x", "a", "x", "a", "a", "3", "x", "a", "1")
        terminal.save("review-single")
        terminal.keys("1", "z")
        terminal.save("review-zoom")
        terminal.keys("Escape", "Left", "i")
        terminal.save("review-history")
        terminal.keys("Escape", "Right", "/")
        terminal.wait_for("Filter and sort")
        subprocess.run([*terminal._base, "send-keys", "class:defective score:0.2-0.6"], check=True)
        terminal.save("review-filter")
        terminal.keys("Escape", "?")
        terminal.wait_for("Keys: one image")
        terminal.save("review-help")
        terminal.keys("Escape", "C-p")
        terminal.wait_for("Search")
        terminal.save("review-palette")
        terminal.keys("Escape", "d")
        terminal.wait_for("Coverage")
        terminal.save("review-dashboard")
        terminal.keys("d", "g", "Right", "x", "Right", "Right", "n")
        terminal.save("review-sheet")
        terminal.keys("g", "q")
        terminal.wait_for("Next:")
        terminal.save("review-summary")
    with review(folder, "random") as terminal:
        terminal.save("review-blind")


ANIMATED = (
    ("", 1.6), ("x", 1.2), ("a", 1.2), ("2", 0.8), ("x", 1.2), ("z", 1.0), ("Right", 0.7),
    ("Down", 1.0), ("x", 1.4), ("Escape", 1.0), ("u", 1.6), ("s", 1.6), ("Escape", 1.0), ("g", 1.4),
    ("Right", 0.5), ("x", 0.8), ("Right", 0.5), ("n", 1.2), ("Enter", 1.6), ("g", 0.8), ("d", 2.4),
    ("d", 0.6), ("q", 3.0),
)  # fmt: skip
"""Keys of the animated review, and for how many seconds what they bring is shown."""


def animated(folder: Path) -> None:
    """A review from its first image to the summary, as an animated picture."""
    frames, durations = [], []
    with review(folder, "borderline") as terminal:
        for key, seconds in ANIMATED:
            if key:
                terminal.keys(key)
            if key == "q":
                terminal.wait_for("Next:")
            frames.append(terminal.drawn())
            durations.append(round(1000 * seconds))
    # Grey photographs and few inks: one palette for all frames loses nothing that is seen.
    few = [frame.quantize(96, dither=Image.Dither.NONE).convert("RGB") for frame in frames]
    few[0].save(
        IMAGES / "review.webp", save_all=True, append_images=few[1:], duration=durations, loop=0,
        lossless=True, quality=60, method=3,
    )  # fmt: skip
    sys.stdout.write("review.webp\n")


def _take_back(folder: Path) -> None:
    """Take back what was decided for the pictures."""
    curator = [sys.executable, "-m", "curator", "-q", "-w", str(folder)]
    log = subprocess.run([*curator, "log", "--json"], check=True, capture_output=True, env=BARE)
    for batch in json.loads(log.stdout):
        if batch["actor"] == BARE["LOGNAME"] and batch["decisions"] > batch["taken_back"]:
            command = [*curator, "unlabel", "--batch", str(batch["batch_id"]), "--yes"]
            subprocess.run(command, check=True, env=BARE)


async def in_browser(folder: Path) -> None:
    """The same in Chromium."""
    served = subprocess.Popen(
        [sys.executable, "-m", "curator", "-w", str(folder), "review", "borderline", "--web",
         "--address", "127.0.0.1:0"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=BARE,
    )  # fmt: skip
    assert served.stderr is not None
    try:
        line = served.stderr.readline()
        address = re.search(r"http://\S+", line)
        if address is None:
            raise SystemExit(f"The server says: {line}")
        with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
            async with browser("chromium", Path(profile)) as tab:
                await tab.open(f"{address[0]}&reviewer=anna")
                await asyncio.sleep(10)
                await _save(tab, Path(profile), "review-browser")
                await tab.press("g")
                await asyncio.sleep(10)
                await _save(tab, Path(profile), "review-browser-sheet")
    finally:
        served.terminate()
        served.wait(timeout=30)
        served.stderr.close()


async def _save(tab: Browser, folder: Path, name: str) -> None:
    shot = await tab.screenshot(folder / "page.png")
    few = Image.open(shot).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(IMAGES / f"{name}.png", optimize=True)
    sys.stdout.write(f"{name}.png\n")


def main() -> int:
    """Take them all. Returns the exit code."""
    parts = {"terminal", "animation", "browser"}
    if len(sys.argv) < 2 or set(sys.argv[2:]) - parts:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder, parts = Path(sys.argv[1]).absolute(), set(sys.argv[2:]) or parts
    if not (folder / "defects").exists():
        subprocess.run([sys.executable, "-m", "curator", "demo", str(folder)], check=True)
    folder /= "defects"
    settings = ("classes.reasons=crack,inactive area,broken finger,material defect",)
    curator = [sys.executable, "-m", "curator", "-q", "-w", str(folder)]
    subprocess.run([*curator, "config", *settings, "review.cells=sextant"], check=True)
    IMAGES.mkdir(exist_ok=True)
    try:
        if "animation" in parts:
            animated(folder)
        if "terminal" in parts:
            on_terminals(folder)
        if "browser" in parts:
            asyncio.run(in_browser(folder))
    finally:
        _take_back(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
