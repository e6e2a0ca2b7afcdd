"""Takes the pictures in docs/images from real terminals: the review in tmux, and in Chromium.

    python -m docs.make_screenshots FOLDER

FOLDER becomes the folder of `curator demo`, if it is not that already; its path is
seen on the pictures. Real keys are pressed, and what tmux then holds is drawn, cell by
cell, in DejaVu Sans Mono. Needs tmux, Chromium, the package elpv-dataset and that font.
"""

from __future__ import annotations

import asyncio
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
        picture = drawn(self._capture("-e").split("\n")[:ROWS])
        few = picture.quantize(128, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}.png", optimize=True)
        sys.stdout.write(f"{name}.png\n")

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
    with review(folder, "borderline", "--goal", "50") as terminal:
        terminal.keys("2", "x", "a", "x", "a", "a", "3", "x", "a", "1")
        terminal.save("review-single")
        terminal.keys("1", "z")
        terminal.save("review-zoom")
        terminal.keys("Escape", "Left", "i")
        terminal.save("review-history")
        terminal.keys("Escape", "Right", "/")
        subprocess.run([*terminal._base, "send-keys", "class:defective score:0.2-0.6"], check=True)
        terminal.save("review-filter")
        terminal.keys("Escape", "?")
        terminal.save("review-help")
        terminal.keys("Escape", "C-p")
        terminal.save("review-palette")
        terminal.keys("Escape", "d")
        terminal.wait_for("Coverage")
        terminal.save("review-dashboard")
        terminal.keys("d", "g", "Right", "x", "Right", "Right", "n")
        terminal.save("review-sheet")
        terminal.keys("g", "q")
        terminal.wait_for("Next:")
        terminal.save("review-summary")
    with review(folder, "calibration") as terminal:
        terminal.save("review-blind")


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
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    folder = Path(sys.argv[1]).absolute()
    if not (folder / "defects").exists():
        subprocess.run([sys.executable, "-m", "curator", "demo", str(folder)], check=True)
    folder /= "defects"
    IMAGES.mkdir(exist_ok=True)
    on_terminals(folder)
    asyncio.run(in_browser(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
