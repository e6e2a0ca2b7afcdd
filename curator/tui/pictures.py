"""Pictures as a terminal takes them: cells of two colours, Kitty's protocol, or Sixel, at one size.

A character cell shows two colours. In half cells (`▀`) these are two pixels, the upper one as the
foreground. Quadrants and sextants divide the cell into two by two or two by three parts; of all
ways to give the parts two colours, the one with the smallest squared error is taken, which shows
edges within a cell. Colours are cut to six bits a channel, so that equal neighbours merge into one
run. Terminals with 256 colours get the nearest they have, those with fewer characters of growing
density. The codecs for real pixels are Pillow's PNG and textual-image's Sixel; Kitty's protocol is
described at https://sw.kovidgoyal.net/kitty/graphics-protocol/.

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
from curator.tui.terminal import HALF_CELLS, Cells, Depth, Graphics, Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

Codes = IntArray

_QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_SEXTANTS = "".join(
    {0: " ", 21: "▌", 42: "▐", 63: "█"}.get(
        parts, chr(0x1FAFF + parts - (parts > 21) - (parts > 42))
    )
    for parts in range(64)
)
GLYPHS = {Cells.HALF: " ▀▄█", Cells.QUADRANT: _QUADRANTS, Cells.SEXTANT: _SEXTANTS}
"""The characters by the parts of a cell that they fill: bit 0 the upper left one, row by row.

Sextants have a block of their own (Unicode 13, from U+1FB00); four of them are older characters.
"""

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

    `graphics` says how pixels are drawn, and which cells there are where none can be.
    """

    columns: int
    rows: int
    depth: Depth
    ground: int
    graphics: Graphics = HALF_CELLS

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height in square pixels that hold all detail which can be drawn."""
        if self.graphics.draws_pixels:
            return self.columns * self.graphics.cell[0], self.rows * self.graphics.cell[1]
        across, _ = self.graphics.cells.grid  # a cell is twice as high as wide
        return self.columns * across, self.rows * across * 2


@dataclass(frozen=True, slots=True)
class RenderedFrame:
    """A picture for a canvas: rows of cells, or pixels as a graphics terminal takes them."""

    strips: Sequence[Strip]
    pixels: Encoded | None = None


def fitted(pixels: Image.Image, width: int, height: int) -> Image.Image:
    """The picture as large as it fits; small ones are enlarged."""
    scale = min(width / pixels.width, height / pixels.height)
    return _resized(pixels, scale, scale)


def _resized(pixels: Image.Image, across: float, down: float) -> Image.Image:
    size = (max(1, round(pixels.width * across)), max(1, round(pixels.height * down)))
    if size == pixels.size:
        return pixels
    how = Image.Resampling.NEAREST if across > _CRISP else Image.Resampling.BICUBIC
    return pixels.resize(size, how)


def frame(pixels: Image.Image, canvas: Canvas) -> RenderedFrame:
    """The picture in the middle of its canvas."""
    if canvas.graphics.draws_pixels:
        large = fitted(pixels, *canvas.pixels)
        whole = _whole_cells(large, canvas.graphics.cell, canvas.ground)
        return RenderedFrame((), encode(whole, canvas.graphics))
    return RenderedFrame(cell_rows(pixels, canvas))


def _whole_cells(picture: Image.Image, cell: tuple[int, int], ground: int) -> Image.Image:
    """The picture on ground that fills its last cells: else these would be stretched to."""
    width = -(-picture.width // cell[0]) * cell[0]
    height = -(-picture.height // cell[1]) * cell[1]
    colour = (ground >> 16, ground >> 8 & 255, ground & 255)
    filled = Image.new("RGB", (width, height), colour)
    filled.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return filled


def cell_rows(pixels: Image.Image, canvas: Canvas) -> list[Strip]:
    """Rows of cells that fill the canvas, the picture in the middle."""
    cells = Cells.HALF if canvas.depth is Depth.NONE else canvas.graphics.cells
    across, down = cells.grid
    scale = min(canvas.columns / pixels.width, canvas.rows * 2 / pixels.height)
    picture = _resized(pixels, scale * across, scale * down / 2)
    columns, rows = -(-picture.width // across), -(-picture.height // down)
    # The last cells are filled up with ground.
    whole = np.empty((rows * down, columns * across, 3), dtype=np.uint8)
    whole[:] = canvas.ground >> 16, canvas.ground >> 8 & 255, canvas.ground & 255
    whole[: picture.height, : picture.width] = np.asarray(picture.convert("RGB"))
    strips = picture_strips(whole, canvas.depth, cells)
    left = (canvas.columns - columns) // 2
    right = canvas.columns - columns - left
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


def picture_strips(
    pixels: NDArray[np.uint8], depth: Depth, cells: Cells = Cells.HALF
) -> list[Strip]:
    """Rows of cells for `pixels`, uint8 of shape (down * rows, across * columns, 3)."""
    across, down = cells.grid
    rows, columns = pixels.shape[0] // down, pixels.shape[1] // across
    if pixels.shape[:2] != (rows * down, columns * across):
        raise ValueError(f"{pixels.shape[1]}x{pixels.shape[0]} pixels do not fill {cells} cells")
    if depth is Depth.NONE:
        return list(_shaded(pixels))
    parts = pixels.reshape(rows, down, columns, across, 3).swapaxes(1, 2)
    parts = parts.reshape(rows * columns, down * across, 3)
    if cells is Cells.HALF:
        filled, ink, paper = np.ones(len(parts), dtype=np.intp), parts[:, 0], parts[:, 1]
    else:
        filled, ink, paper = two_colours(parts)
    glyphs = np.array(list(GLYPHS[cells]))[filled].reshape(rows, columns)
    colours = [_codes(each).reshape(rows, columns) for each in (ink, paper)]
    glyphs[colours[0] == colours[1]] = " "
    inks = [_INKS[depth](codes) for codes in colours]
    return [
        _row(glyphs[row], colours[0][row], colours[1][row], inks[0][row], inks[1][row])
        for row in range(rows)
    ]


def two_colours(
    parts: NDArray[np.uint8],
) -> tuple[NDArray[np.intp], NDArray[np.uint8], NDArray[np.uint8]]:
    """The two colours that show the parts of each cell with the smallest squared error.

    `parts` is (n, k, 3). Returns which parts have the first colour, as bits of a number, and both
    colours, (n, 3). All 2^(k - 1) divisions are compared: the error is least where the squared
    difference of the two means, weighed by n1 * n2 / k, is largest.
    """
    count = parts.shape[1]
    divisions = _divisions(count)
    sizes = divisions.sum(axis=1)
    mean = parts.mean(axis=1, dtype=np.float32)
    # Of centred parts the sum of one side is minus that of the other.
    centred = parts.astype(np.float32) - mean[:, None]
    sums = centred.swapaxes(1, 2) @ divisions.T
    gained = np.square(sums).sum(axis=1) / np.maximum(sizes * (count - sizes), 1)
    best = gained.argmax(axis=1)
    total, size = np.take_along_axis(sums, best[:, None, None], axis=2)[..., 0], sizes[best, None]
    ink = np.rint(mean + total / np.maximum(size, 1)).clip(0, 255).astype(np.uint8)
    paper = np.rint(mean - total / (count - size)).clip(0, 255).astype(np.uint8)
    return best, ink, paper


@lru_cache
def _divisions(count: int) -> NDArray[np.float32]:
    """Every way to divide `count` parts in two, the last one always in the second: rows of 0, 1."""
    numbers = np.arange(1 << (count - 1))
    return (numbers[:, None] >> np.arange(count) & 1).astype(np.float32)


def blank_strip(width: int, code: int, depth: Depth) -> Strip:
    """A row of `width` cells in one 24-bit colour, for the space beside a picture."""
    row = np.full(width, code, dtype=np.int64)
    if depth is Depth.NONE or not width:
        return PictureStrip(lambda: [(" " * width, None, None)], width, " " * width)
    ink = _INKS[depth](row[np.newaxis])[0].tolist()
    return PictureStrip(
        lambda: [(" " * width, None, code)],
        width,
        _sequence(_merged(" " * width, ink, ink)) + _RESET,
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


def _row(glyphs: NDArray[np.str_], above: Codes, below: Codes, ink: Codes, paper: Codes) -> Strip:
    return PictureStrip(
        lambda: _runs(glyphs.tolist(), above.tolist(), below.tolist()),
        len(above),
        _sequence(_merged(glyphs.tolist(), ink.tolist(), paper.tolist())) + _RESET,
    )


Merged = Iterator[tuple[str, int, int]]


def _merged(glyphs: Sequence[str], inks: list[int], papers: list[int]) -> Merged:
    """Runs of equal cells: their text, the colour of its glyph, and the colour behind it."""
    for (glyph, ink, paper), cells in itertools.groupby(zip(glyphs, inks, papers, strict=True)):
        yield (" " if ink == paper else glyph) * sum(1 for _ in cells), ink, paper


def _runs(glyphs: list[str], inks: list[int], papers: list[int]) -> Iterator[Run]:
    for text, ink, paper in _merged(glyphs, inks, papers):
        yield text, None if ink == paper else ink, paper


def _sequence(runs: Merged) -> str:
    """The bytes of a row; a colour that stays is not said again."""
    # Bytes are what a slow line costs, so only colours that change are sent.
    parts: list[str] = []
    last_ink = last_paper = None
    for text, ink, paper in runs:
        if paper != last_paper:
            last_paper = paper
            if ink not in (paper, last_ink):
                last_ink = ink
                parts.append(f"\x1b[{_foreground(ink)};{_background(paper)}m")
            else:
                parts.append(f"\x1b[{_background(paper)}m")
        elif ink not in (paper, last_ink):
            last_ink = ink
            parts.append(f"\x1b[{_foreground(ink)}m")
        parts.append(text)
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
    """The test picture in each way that there is, with what should be seen, to be printed."""
    columns, rows = min(40, max(8, terminal.columns - 2)), 10
    has_colours = terminal.depth is not Depth.NONE
    yield Text(
        "You should see a white disc on bands of red, green and blue, dark to bright:"
        if has_colours
        else "You should see a disc of @ on bands that grow denser:"
    )
    if terminal.graphics.draws_pixels:
        from textual_image.renderable import SixelImage, TGPImage

        widget = TGPImage if terminal.graphics.kitty else SixelImage
        yield widget(trial_picture(), width=columns, height=rows)
    console = Console(stderr=True)
    for cells in Cells if has_colours else [Cells.HALF]:
        used = " (used here)" if cells is terminal.graphics.cells else ""
        if has_colours:
            yield Text(f"{cells} cells{used}:")
        canvas = Canvas(columns, rows, terminal.depth, 0, Graphics(cells=cells))
        for strip in cell_rows(trial_picture(), canvas):
            yield Text.from_ansi(strip.render(console))
    if has_colours:
        yield Text(
            "Where the disc is whole and smooth, with no gaps, boxes or question marks, these cells"
            " can be used: curator config review.cells=sextant"
        )
