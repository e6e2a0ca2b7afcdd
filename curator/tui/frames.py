"""From a picture's pixels to what a widget puts on the screen, at one size.

Made off the interface's thread. In half cells a frame is a list of rows of exactly the
widget's width, so that Textual only copies bytes; where the terminal draws real pixels
it is a picture cut to the widget's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from textual.strip import Strip

from curator.tui.cells import Depth, blank_strip, picture_strips, side_by_side
from curator.tui.encoding import Encoded, encode
from curator.tui.terminal import HALF_CELLS, Graphics

_CRISP = 2.5
"""Enlarged by more than this, pixels are shown as the squares that they are."""


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
