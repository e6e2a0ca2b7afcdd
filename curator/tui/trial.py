"""A picture to try a terminal with, and what a person should see of it.

Drawn as the review draws pictures: two pixels in a cell, and, where the terminal says
that it draws real pixels, once more in its own way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from rich.console import Console

from curator.tui.cells import Depth
from curator.tui.frames import Canvas, half_cell_rows
from curator.tui.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

_SIZE = (96, 48)
_CELLS = (48, 12)


def test_picture() -> Image.Image:
    """Three bands of red, green and blue, from dark to bright, with a white disc in the middle."""
    width, height = _SIZE
    ramp = np.linspace(40, 255, width)
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for band in range(3):
        pixels[band * height // 3 : (band + 1) * height // 3, :, band] = ramp
    rows, columns = np.mgrid[0:height, 0:width]
    disc = (columns - width / 2) ** 2 + (rows - height / 2) ** 2 < (height / 3) ** 2
    pixels[disc] = 255
    return Image.fromarray(pixels)


def describe(terminal: Terminal) -> str:
    """What this terminal can show, in a sentence."""
    inside = f" inside {terminal.inside}" if terminal.inside else ""
    size = f"{terminal.columns}×{terminal.rows}"
    room = "" if terminal.large_enough else "; too small for the review"
    return f"pictures in {terminal.graphics.name}, {terminal.depth}{inside}, {size}{room}"


def try_out(terminal: Terminal) -> Iterator[RenderableType]:
    """The test picture with what should be seen, to be printed."""
    from rich.text import Text

    columns = min(_CELLS[0], max(8, terminal.columns - 2))
    canvas = Canvas(columns, _CELLS[1], terminal.depth, 0)
    yield Text(
        "You should see a white disc on bands of red, green and blue, dark to bright:"
        if terminal.depth is not Depth.NONE
        else "You should see a disc of @ on bands that grow denser:"
    )
    if terminal.graphics.draws_pixels:
        yield _pixels(terminal)
        yield Text("And the same in half cells, as inside tmux:")
    console = Console(stderr=True)
    for strip in half_cell_rows(test_picture(), canvas):
        yield Text.from_ansi(strip.render(console))


def _pixels(terminal: Terminal) -> RenderableType:
    """The picture as textual-image draws it in this terminal."""
    from textual_image.renderable import SixelImage, TGPImage

    kind = TGPImage if terminal.graphics.kitty else SixelImage
    shown: RenderableType = kind(test_picture(), width=_CELLS[0], height=_CELLS[1])
    return shown
