"""A contact sheet: strips of pictures under headings, each picture with its caption.

It draws with Pillow and the font that Pillow brings, so the same pictures give the same
sheet on every machine with the same Pillow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

_GROUND = "#ffffff"
_INK = "#1c1c1c"
_QUIET = "#6b6b6b"
_MARGIN = 20
_GAP = 10
_HEADING = 18
_CAPTION = 13
_LINE = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One picture, in RGB and of any size, with the lines below it."""

    picture: Image.Image
    caption: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetSection:
    """A heading, a quieter remark beside it, and the pictures below."""

    heading: str
    remark: str = ""
    tiles: tuple[Tile, ...] = ()


def contact_sheet(strips: Sequence[SheetSection], *, tile_size: int = 132) -> Image.Image:
    """The strips below each other; pictures are fitted into squares of `tile_size` pixels.

    A strip without pictures keeps its heading and says that there are none.
    """
    columns = max((len(strip.tiles) for strip in strips), default=1) or 1
    width = 2 * _MARGIN + columns * tile_size + (columns - 1) * _GAP
    heights = [_height(strip, tile_size) for strip in strips]
    sheet = Image.new("RGB", (width, 2 * _MARGIN + sum(heights) - _GAP), _GROUND)
    top = _MARGIN
    for strip, height in zip(strips, heights, strict=True):
        _draw_strip(sheet, strip, top, tile_size)
        top += height
    return sheet


def _height(strip: SheetSection, tile_size: int) -> int:
    lines = max((len(tile.caption) for tile in strip.tiles), default=0)
    return _HEADING + 10 + (tile_size if strip.tiles else _LINE) + 4 + lines * _LINE + 2 * _GAP


def _draw_strip(sheet: Image.Image, strip: SheetSection, top: int, tile_size: int) -> None:
    draw = ImageDraw.Draw(sheet)
    heading, caption = ImageFont.load_default(_HEADING), ImageFont.load_default(_CAPTION)
    base = top + _HEADING
    draw.text((_MARGIN, base), strip.heading, fill=_INK, font=heading, anchor="ls")
    beside = _MARGIN + draw.textlength(strip.heading, font=heading) + _GAP
    draw.text((beside, base), strip.remark, fill=_QUIET, font=caption, anchor="ls")
    below = top + _HEADING + 10
    if not strip.tiles:
        draw.text((_MARGIN, below), "none", fill=_QUIET, font=caption)
    for number, tile in enumerate(strip.tiles):
        left = _MARGIN + number * (tile_size + _GAP)
        fitted = ImageOps.contain(tile.picture.convert("RGB"), (tile_size, tile_size))
        offset = ((tile_size - fitted.width) // 2, (tile_size - fitted.height) // 2)
        sheet.paste(fitted, (left + offset[0], below + offset[1]))
        for row, text in enumerate(tile.caption):
            line = below + tile_size + 4 + row * _LINE
            draw.text((left, line), text, fill=_QUIET if row else _INK, font=caption)
