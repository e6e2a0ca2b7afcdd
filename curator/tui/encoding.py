"""Pictures as terminals that draw pixels take them: Kitty's protocol or Sixel.

Encoding takes longer than a key may, so it is done ahead, off the interface's thread.
The codecs are Pillow's PNG and textual-image's Sixel; the protocol of Kitty is described
at https://sw.kovidgoyal.net/kitty/graphics-protocol/.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

from curator.tui.terminal import Graphics

NUMBER = "{number}"
"""Stands in Kitty's data for the number under which the terminal is to keep the picture."""

_PIECE = 4096
"""Kitty takes no more than so much at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A picture ready to be sent, and how many columns and rows of cells it fills."""

    data: str
    columns: int
    rows: int


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
        f"\x1b_Gi={NUMBER},m={int(place != last)},f=100,q=2;{piece}\x1b\\"
        for place, piece in enumerate(pieces)
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

    marks = [chr(one) for one in _NUMBER_TO_DIACRITIC]
    high = marks[number >> 24]
    across = [f"{marks[column]}{high}" for column in columns]
    return ["".join(f"{chr(_PLACEHOLDER)}{marks[row]}{one}" for one in across) for row in rows]
