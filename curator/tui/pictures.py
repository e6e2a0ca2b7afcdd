"""Pictures as a terminal takes them: half cells, Kitty's protocol, or Sixel, at one size.

In half cells every character shows two pixels: the upper one as the foreground of `▀`, the
lower one as the background. Colours are cut to six bits a channel, so that equal neighbours
merge into one run. Terminals with 256 colours get the nearest they have, those with fewer
get characters of growing density. The codecs for real pixels are Pillow's PNG and
textual-image's Sixel; Kitty's protocol is described at
https://sw.kovidgoyal.net/kitty/graphics-protocol/.

All of it is made ahead, off the interface's thread, because it takes longer than a key may;
Textual only copies the bytes.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from curator.base.arrays import IntArray
from curator.tui.terminal import HALF_CELLS, Depth, Graphics, Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

Codes = IntArray

UPPER_HALF = "▀"
_SHADES = " .:-=+*#%@"
_RESET = "\x1b[0m"
_CHANNEL_MASK = 0xFC

NUMBER = "{number}"
"""Stands in Kitty's data for the number under which the terminal is to keep the picture."""

_PIECE = 4096
"""Kitty takes no more than so much at once."""

_CRISP = 2.5
"""Enlarged by more than this, pixels are shown as the squares that they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A picture ready to be sent, and how many columns and rows of cells it fills."""

    data: str
    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where a picture goes: columns and rows of cells, colours, and the ground's colour.

    `graphics` says how pixels are drawn, in half cells if in no other way.
    """

    columns: int
    rows: int
    depth: Depth
    ground: int
    graphics: Graphics = HALF_CELLS

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height in pixels."""
        across, down = self.graphics.cell if self.graphics.draws_pixels else (1, 2)
        return self.columns * across, self.rows * down


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """A picture for a canvas: rows of half cells, or pixels as a graphics terminal takes them."""

    strips: Sequence[Strip]
    pixels: Encoded | None = None


def fitted(pixels: Image.Image, width: int, height: int) -> Image.Image:
    """The picture as large as it fits; small ones are enlarged."""
    scale = min(width / pixels.width, height / pixels.height)
    size = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
    if size == pixels.size:
        return pixels
    how = Image.Resampling.NEAREST if scale > _CRISP else Image.Resampling.BICUBIC
    return pixels.resize(size, how)


def frame(pixels: Image.Image, canvas: Canvas) -> RenderedFrame:
    """The picture in the middle of its canvas."""
    if canvas.graphics.draws_pixels:
        large = fitted(pixels, *canvas.pixels)
        whole = _whole_cells(large, canvas.graphics.cell, canvas.ground)
        return RenderedFrame((), encode(whole, canvas.graphics))
    return RenderedFrame(half_cell_rows(pixels, canvas))


def _whole_cells(picture: Image.Image, cell: tuple[int, int], ground: int) -> Image.Image:
    """The picture on ground that fills its last cells: else these would be stretched to."""
    width = -(-picture.width // cell[0]) * cell[0]
    height = -(-picture.height // cell[1]) * cell[1]
    colour = (ground >> 16, ground >> 8 & 255, ground & 255)
    filled = Image.new("RGB", (width, height), colour)
    filled.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return filled


def half_cell_rows(pixels: Image.Image, canvas: Canvas) -> list[Strip]:
    """Rows of half cells that fill the canvas, the picture in the middle."""
    picture = fitted(pixels, canvas.columns, canvas.rows * 2)
    array = np.asarray(picture.convert("RGB"))
    rows = picture.height + picture.height % 2
    if rows != picture.height:
        ground = np.array(
            [canvas.ground >> 16, canvas.ground >> 8 & 255, canvas.ground & 255], dtype=np.uint8
        )
        array = np.concatenate([array, np.broadcast_to(ground, (1, picture.width, 3))])
    strips = picture_strips(array, canvas.depth)
    left = (canvas.columns - picture.width) // 2
    right = canvas.columns - picture.width - left
    if left or right:
        before = blank_strip(left, canvas.ground, canvas.depth)
        after = blank_strip(right, canvas.ground, canvas.depth)
        strips = [side_by_side([before, strip, after]) for strip in strips]
    empty = blank_strip(canvas.columns, canvas.ground, canvas.depth)
    above = (canvas.rows - len(strips)) // 2
    below = canvas.rows - len(strips) - above
    return [empty] * above + strips + [empty] * below


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


def picture_strips(pixels: NDArray[np.uint8], depth: Depth) -> list[Strip]:
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


def _codes(pixels: NDArray[np.uint8]) -> Codes:
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
    # Bytes are what a slow line costs, so only colours that change are sent.
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
    # xterm's palette: 16 to 231 are a cube of these steps, 232 to 255 the greys 8, 18, ... 238.
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


def _shaded(pixels: NDArray[np.uint8]) -> Iterator[Strip]:
    """Characters by brightness; both pixels of a cell count."""
    weights = np.array([0.299, 0.587, 0.114])
    light = (pixels @ weights).reshape(pixels.shape[0] // 2, 2, -1).mean(axis=1)
    shades = np.clip(light / 256 * len(_SHADES), 0, len(_SHADES) - 1).astype(int)
    for row in shades:
        text = "".join(_SHADES[shade] for shade in row)
        yield PictureStrip(partial(_plain_run, text), len(text), text)


def _plain_run(text: str) -> list[Run]:
    return [(text, None, None)]


def encode(picture: Image.Image, graphics: Graphics) -> Encoded:
    """The picture, which fills whole cells, in the protocol of this terminal."""
    across, down = graphics.cell
    data = _kitty(picture) if graphics.kitty else _sixel(picture)
    return Encoded(data, -(-picture.width // across), -(-picture.height // down))


def _kitty(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "png", compress_level=1)
    payload = base64.b64encode(file.getvalue()).decode()
    pieces = [payload[start : start + _PIECE] for start in range(0, len(payload), _PIECE)]
    last = len(pieces) - 1
    return "".join(
        f"\x1b_Gi={NUMBER},m={int(number != last)},f=100,q=2;{piece}\x1b\\"
        for number, piece in enumerate(pieces)
    )


def _sixel(picture: Image.Image) -> str:
    from textual_image._sixel import image_to_sixels

    return image_to_sixels(picture)


def placeholders(number: int, columns: range, rows: range) -> list[str]:
    """The cells that show a part of the picture kept as `number`, row by row.

    The colour of the cells has to be the lower 24 bits of the number.
    """
    # Loaded where the terminal was asked before, as loading it asks once more.
    from textual_image.renderable.tgp import _NUMBER_TO_DIACRITIC, _PLACEHOLDER

    marks = [chr(code) for code in _NUMBER_TO_DIACRITIC]
    high = marks[number >> 24]
    across = [f"{marks[column]}{high}" for column in columns]
    return ["".join(f"{chr(_PLACEHOLDER)}{marks[row]}{mark}" for mark in across) for row in rows]


def trial_picture() -> Image.Image:
    """Three bands of red, green and blue, from dark to bright, with a white disc in the middle."""
    width, height = 96, 48
    ramp = np.linspace(40, 255, width)
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for band in range(3):
        pixels[band * height // 3 : (band + 1) * height // 3, :, band] = ramp
    rows, columns = np.mgrid[0:height, 0:width]
    disc = (columns - width / 2) ** 2 + (rows - height / 2) ** 2 < (height / 3) ** 2
    pixels[disc] = 255
    return Image.fromarray(pixels)


def try_out(terminal: Terminal) -> Iterator[RenderableType]:
    """The test picture with what should be seen, to be printed."""
    columns, rows = 48, 12
    canvas = Canvas(min(columns, max(8, terminal.columns - 2)), rows, terminal.depth, 0)
    yield Text(
        "You should see a white disc on bands of red, green and blue, dark to bright:"
        if terminal.depth is not Depth.NONE
        else "You should see a disc of @ on bands that grow denser:"
    )
    if terminal.graphics.draws_pixels:
        from textual_image.renderable import SixelImage, TGPImage

        widget = TGPImage if terminal.graphics.kitty else SixelImage
        yield widget(trial_picture(), width=columns, height=rows)
        yield Text("And the same in half cells, as inside tmux:")
    console = Console(stderr=True)
    for strip in half_cell_rows(trial_picture(), canvas):
        yield Text.from_ansi(strip.render(console))
