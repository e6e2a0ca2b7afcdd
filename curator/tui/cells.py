"""Pictures as half cells: two pixels in every character, for any terminal.

Each cell shows its upper pixel as the foreground of `▀` and its lower one as the
background. Colours are kept to six bits a channel, so that equal neighbours merge into
one run, and the bytes for the terminal are written here, away from the interface's
thread; Textual only copies them. Terminals with 256 colours get the nearest they have, those
with fewer get characters of growing density.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

Pixels = NDArray[np.uint8]
Codes = NDArray[np.int64]

UPPER_HALF = "▀"
_SHADES = " .:-=+*#%@"
_RESET = "\x1b[0m"
_CHANNEL_MASK = 0xFC


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


Run = tuple[str, int | None, int | None]
"""Text, and 24-bit colours of foreground and background (None: the terminal's own)."""


class PictureStrip(Strip):
    """One row of a picture, ready for the terminal.

    Segments are made only where Textual has to cut the row, under a notification or for
    a screenshot; usually nothing but the prepared bytes is used.
    """

    __slots__ = ("_made", "_runs")

    def __init__(self, runs: Callable[[], Iterable[Run]], width: int, sequence: str) -> None:
        self._runs = runs
        super().__init__((), width)
        self._made: list[Segment] | None = None
        self._render_cache = sequence

    @property
    def runs(self) -> Iterable[Run]:
        """The row's runs of equal cells."""
        return self._runs()

    @property
    def _segments(self) -> list[Segment]:
        if self._made is None:
            self._made = [Segment(text, _style(above, below)) for text, above, below in self.runs]
        return self._made

    @_segments.setter
    def _segments(self, segments: list[Segment]) -> None:
        self._made = segments


@lru_cache(maxsize=32_768)
def _style(above: int | None, below: int | None) -> Style:
    return Style.from_color(
        None if above is None else _colour(above), None if below is None else _colour(below)
    )


def _colour(code: int) -> Color:
    return Color.from_rgb(code >> 16, code >> 8 & 255, code & 255)


def picture_strips(pixels: Pixels, depth: Depth) -> list[Strip]:
    """Rows of half cells for `pixels`, uint8 of shape (2 * rows, columns, 3)."""
    if pixels.shape[0] % 2:
        raise ValueError(f"half cells need an even number of pixel rows, not {pixels.shape[0]}")
    if depth is Depth.NONE:
        return list(_shaded(pixels))
    codes = _codes(pixels)
    inks = _INKS[depth](codes)
    return [
        _row(codes[row], codes[row + 1], inks[row], inks[row + 1])
        for row in range(0, len(codes), 2)
    ]


def blank_strip(width: int, code: int, depth: Depth) -> Strip:
    """A row of `width` cells in one 24-bit colour, for the space beside a picture."""
    row = np.full(width, code, dtype=np.int64)
    if depth is Depth.NONE or not width:
        return PictureStrip(lambda: [(" " * width, None, None)], width, " " * width)
    ink = _INKS[depth](row[np.newaxis])[0].tolist()
    return PictureStrip(
        lambda: [(" " * width, None, code)], width, _sequence(_merged(ink, ink)) + _RESET
    )


def side_by_side(strips: Sequence[Strip]) -> Strip:
    """Rows that were made here, as one row, its bytes still ready."""
    rows = [strip for strip in strips if isinstance(strip, PictureStrip)]
    return PictureStrip(
        lambda: [run for row in rows for run in row.runs],
        sum(row.cell_length for row in rows),
        "".join(row._render_cache or "" for row in rows),
    )


def _codes(pixels: Pixels) -> Codes:
    """Every pixel as one 24-bit number with six significant bits a channel."""
    few = (pixels & _CHANNEL_MASK).astype(np.int64)
    codes: Codes = few[..., 0] << 16 | few[..., 1] << 8 | few[..., 2]
    return codes


def _row(above: Codes, below: Codes, ink: Codes, paper: Codes) -> Strip:
    return PictureStrip(
        lambda: _runs(above.tolist(), below.tolist()),
        len(above),
        _sequence(_merged(ink.tolist(), paper.tolist())) + _RESET,
    )


Merged = Iterator[tuple[int, int, int]]


def _merged(above: list[int], below: list[int]) -> Merged:
    """Runs of equal cells: how many, their upper and their lower colour."""
    for (top, bottom), cells in itertools.groupby(zip(above, below, strict=True)):
        yield sum(1 for _ in cells), top, bottom


def _runs(above: list[int], below: list[int]) -> Iterator[Run]:
    for length, top, bottom in _merged(above, below):
        if top == bottom:
            yield " " * length, None, bottom
        else:
            yield UPPER_HALF * length, top, bottom


def _sequence(runs: Merged) -> str:
    """The bytes of a row; a colour that stays is not said again."""
    parts: list[str] = []
    upper = lower = None
    for length, top, bottom in runs:
        if bottom != lower:
            lower = bottom
            if top != bottom and top != upper:
                upper = top
                parts.append(f"\x1b[{_foreground(top)};{_background(bottom)}m")
            else:
                parts.append(f"\x1b[{_background(bottom)}m")
        elif top not in (bottom, upper):
            upper = top
            parts.append(f"\x1b[{_foreground(top)}m")
        parts.append(" " * length if top == bottom else UPPER_HALF * length)
    return "".join(parts)


def _true_inks(codes: Codes) -> Codes:
    return codes | 1 << 24


def _palette_inks(codes: Codes) -> Codes:
    """The nearest of the 6x6x6 cube and the 24 greys of a 256-colour terminal."""
    channels = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    steps = np.array([0, 95, 135, 175, 215, 255])
    index = np.abs(channels[..., None] - steps).argmin(axis=-1)
    cube_error = ((steps[index] - channels) ** 2).sum(axis=-1)
    grey = np.clip((channels.mean(axis=-1) - 8 + 5) // 10, 0, 23).astype(np.int64)
    grey_error = ((8 + 10 * grey[..., None] - channels) ** 2).sum(axis=-1)
    cube = 16 + 36 * index[..., 0] + 6 * index[..., 1] + index[..., 2]
    inks: Codes = np.where(grey_error < cube_error, 232 + grey, cube)
    return inks


_INKS = {Depth.TRUE: _true_inks, Depth.PALETTE: _palette_inks}


@lru_cache(maxsize=1 << 17)
def _foreground(ink: int) -> str:
    if ink >= 1 << 24:
        return f"38;2;{ink >> 16 & 255};{ink >> 8 & 255};{ink & 255}"
    return f"38;5;{ink}"


@lru_cache(maxsize=1 << 17)
def _background(ink: int) -> str:
    if ink >= 1 << 24:
        return f"48;2;{ink >> 16 & 255};{ink >> 8 & 255};{ink & 255}"
    return f"48;5;{ink}"


def _shaded(pixels: Pixels) -> Iterator[Strip]:
    """Characters by brightness; both pixels of a cell count."""
    weights = np.array([0.299, 0.587, 0.114])
    light = (pixels @ weights).reshape(pixels.shape[0] // 2, 2, -1).mean(axis=1)
    places = np.clip(light / 256 * len(_SHADES), 0, len(_SHADES) - 1).astype(int)
    for row in places:
        text = "".join(_SHADES[place] for place in row)
        yield PictureStrip(partial(_plain_run, text), len(text), text)


def _plain_run(text: str) -> list[Run]:
    return [(text, None, None)]
