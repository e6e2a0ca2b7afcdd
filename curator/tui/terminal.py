"""What this terminal can show, asked once before the interface starts.

Colours follow from the environment, as everywhere; graphics and the terminal's name are asked for
with questions that terminals answer at once (Kitty's graphics query, XTVERSION and the device
attributes) and a short patience. What is typed while the terminal answers is thrown away: no key
may label an image that nobody has seen. Inside tmux pictures are cells, and tmux is asked which
terminal shows it.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from rich.color import ColorSystem
from rich.console import Console

SMALLEST = (60, 18)
"""Columns and rows below which the interface asks for more room."""

_PATIENCE = 0.25
_NAME_QUERY = "\x1b[>0q"
_KITTY_QUERY = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
_CELL_QUERY = "\x1b[16t"
_ATTRIBUTES_QUERY = "\x1b[c"


class Depth(StrEnum):
    """How many colours the terminal has."""

    TRUE = "truecolor"
    PALETTE = "256 colours"
    NONE = "no colours"


_DEPTHS = {
    ColorSystem.TRUECOLOR: Depth.TRUE,
    ColorSystem.EIGHT_BIT: Depth.PALETTE,
}


def depth_of(system: ColorSystem | None) -> Depth:
    """The depth that goes with a colour system of Rich.

    A terminal that announces 16 colours may print the codes of 256 as text, so it gets none.
    """
    return Depth.NONE if system is None else _DEPTHS.get(system, Depth.NONE)


class Cells(StrEnum):
    """Into which parts a character cell is divided."""

    HALF = "half"
    QUADRANT = "quadrant"
    SEXTANT = "sextant"

    @property
    def grid(self) -> tuple[int, int]:
        """Parts across and down."""
        return {Cells.HALF: (1, 2), Cells.QUADRANT: (2, 2), Cells.SEXTANT: (2, 3)}[self]


_DRAWN = {
    "kitty": (0, 20),
    "foot": (1, 20),
    "ghostty": (1, 0),
    "wezterm": (20220101,),
    "vte": (7000,),
}
"""Terminals that draw sextants themselves, whatever their font has, with the first version.

Three of them were wrong in kitty 0.19 (its issue 3106); of the others the version is one that is
sure, perhaps not the first. Alacritty draws them from 0.14 on, but does not say what it is.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graphics:
    """How pictures are drawn: Kitty's protocol, Sixel, or `cells`; a cell in pixels."""

    kitty: bool = False
    sixel: bool = False
    cell: tuple[int, int] = (10, 20)
    cells: Cells = Cells.HALF

    @property
    def draws_pixels(self) -> bool:
        return self.kitty or self.sixel

    @property
    def name(self) -> str:
        if self.kitty:
            return "Kitty graphics"
        return "Sixel" if self.sixel else f"{self.cells} cells"

    @property
    def without_pixels(self) -> Graphics:
        """The same cells, for pictures that are always drawn in them."""
        return Graphics(cells=self.cells)


HALF_CELLS = Graphics()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """A terminal as the interface needs to know it."""

    interactive: bool
    columns: int
    rows: int
    depth: Depth
    graphics: Graphics
    inside: str = ""

    @property
    def large_enough(self) -> bool:
        return self.columns >= SMALLEST[0] and self.rows >= SMALLEST[1]

    @property
    def description(self) -> str:
        """What it can show, in a phrase."""
        inside = f" inside {self.inside}" if self.inside else ""
        room = "" if self.large_enough else "; too small for the review"
        size = f"{self.columns}×{self.rows}"
        return f"pictures in {self.graphics.name}, {self.depth}{inside}, {size}{room}"


def look_at_terminal(
    environment: Mapping[str, str], *, pictures: str = "auto", cells: str = "auto"
) -> Terminal:
    """Look at the terminal of this process; the settings `review.pictures` and `review.cells`.

    Asks it only where an answer can be expected. Textual draws on standard error, so that and
    the keyboard have to be a terminal; textual-image asks and draws on standard output, so
    pixels need that as well.
    """
    streams = (sys.__stdin__, sys.__stderr__)
    interactive = all(stream is not None and stream.isatty() for stream in streams)
    interactive = interactive and environment.get("TERM", "") not in ("", "dumb", "unknown")
    console = Console(stderr=True)
    inside = "tmux" if environment.get("TMUX") else ""
    graphics = HALF_CELLS
    output = sys.__stdout__
    pixels_arrive = output is not None and output.isatty()
    if interactive and inside:
        graphics = Graphics(cells=cells_of(_outside_tmux()))
    elif interactive:
        graphics = read_answers(_ask(_NAME_QUERY + _KITTY_QUERY + _CELL_QUERY + _ATTRIBUTES_QUERY))
        if pictures != "auto" or not pixels_arrive:
            graphics = graphics.without_pixels
    if cells != "auto":
        graphics = replace(graphics, cells=Cells(cells))
    return Terminal(
        interactive=interactive,
        columns=console.size.width,
        rows=console.size.height,
        depth=Depth.NONE if environment.get("NO_COLOR") else depth_of(console._color_system),
        graphics=graphics,
        inside=inside,
    )


def terminal_is_gone() -> bool:
    """Whether the keyboard was a terminal, and its other end has been closed."""
    keyboard = sys.__stdin__
    if keyboard is None or keyboard.closed:
        return True
    try:
        termios.tcgetattr(keyboard.fileno())
    except termios.error:
        return True
    return False


def cells_of(name: str) -> Cells:
    """The finest cells that a terminal of this name surely draws, as `kitty(0.35.2)`.

    Half cells are in every font. Quadrants and sextants are missing in many, and may leave gaps
    where a font has them, so they are used only with terminals that draw them themselves.
    """
    parts = re.match(r"\s*([A-Za-z]+)[ (]*([\d.]+)", name)
    if parts is None:
        return Cells.HALF
    least = _DRAWN.get(parts[1].lower())
    version = tuple(int(number) for number in parts[2].split(".") if number)
    return Cells.HALF if least is None or version < least else Cells.SEXTANT


def _outside_tmux() -> str:
    """What the terminal that shows tmux calls itself; empty where tmux does not know."""
    question = ["tmux", "display-message", "-p", "#{client_termtype}"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout


def read_answers(answers: str) -> Graphics:
    """What a terminal's answers to the four questions mean.

    Where both protocols are announced, Sixel it is: textual-image places Kitty's images
    by placeholders, which only terminals without Sixel understand (Kitty, Ghostty).
    """
    kitty = "\x1b_Gi=31;OK" in answers
    attributes = re.search(r"\x1b\[\?([\d;]*)c", answers)
    sixel = attributes is not None and "4" in attributes[1].split(";")[1:]
    size = re.search(r"\x1b\[6;(\d+);(\d+)t", answers)
    cell = (int(size[2]), int(size[1])) if size else Graphics().cell
    name = re.search(r"\x1bP>\|([^\x1b]*)\x1b\\", answers)
    cells = cells_of(name[1]) if name else Cells.HALF
    return Graphics(kitty=kitty and not sixel, sixel=sixel, cell=cell, cells=cells)


def _ask(question: str) -> str:
    """What the terminal answers within a short while; keys pressed meanwhile are lost."""
    keyboard, screen = sys.__stdin__, sys.__stderr__
    assert keyboard is not None and screen is not None
    descriptor = keyboard.fileno()
    before = termios.tcgetattr(descriptor)
    answers = b""
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)
        os.write(screen.fileno(), question.encode())
        deadline = time.monotonic() + _PATIENCE
        while not re.search(rb"\x1b\[\?[\d;]*c", answers):
            ready, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                break
            answers += os.read(descriptor, 1024)
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
    return answers.decode("latin-1")
