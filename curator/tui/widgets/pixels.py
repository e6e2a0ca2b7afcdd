"""Real pixels in the terminal: what was encoded ahead only has to be sent.

textual-image's own widgets encode a picture when it is drawn, on the interface's thread,
and send Kitty's pictures past Textual's writer. These get data that was made before, and
send everything in one order.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from random import randint

from rich.segment import ControlType, Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from curator.tui.encoding import NUMBER, Encoded, placeholders

_KEPT = 3
"""Pictures that a terminal keeps: the one seen, the one before, and the one that follows."""
_NUMBERS = count(randint(1, 2**31))


class Pixels(Widget):
    """A place for a picture of real pixels, exactly as large as the picture."""

    def __init__(self) -> None:
        super().__init__(classes="pixels")
        self.encoded: Encoded | None = None

    def show(self, encoded: Encoded) -> None:
        """Show another picture."""
        self.encoded = encoded
        self.display = True
        self.styles.width, self.styles.height = encoded.columns, encoded.rows
        self.refresh()

    def hide(self) -> None:
        """Show nothing."""
        self.encoded = None
        self.display = False

    def render_lines(self, crop: Region) -> list[Strip]:
        """The cells that hold the picture; none while another screen lies over it."""
        if self.encoded is None or not self.screen.is_active:
            return [Strip.blank(crop.width)] * crop.height
        return self.draw(self.encoded, crop)

    def prepare(self, encoded: Encoded) -> None:
        """Send what can be sent of a picture that is likely to be shown next."""

    def draw(self, encoded: Encoded, crop: Region) -> list[Strip]:
        """The cells in the protocol at hand."""
        raise NotImplementedError


class SixelPixels(Pixels):
    """Sixel: the data stands in the last row, after a move to the first cell."""

    def draw(self, encoded: Encoded, crop: Region) -> list[Strip]:
        """Cells that are left as they are, and the picture over them."""
        place = self.screen.find_widget(self).visible_region
        over = [
            Segment(f"\x1b[{place.y + 1};{place.x + 1}H"),
            Segment(encoded.data, Style(), [(ControlType.CURSOR_FORWARD, 0)]),
            Segment(f"\x1b[{place.bottom + 1};{place.right + 1}H"),
        ]
        return [Strip([])] * (crop.height - 1) + [Strip(over, cell_length=crop.width)]


class KittyPixels(Pixels):
    """Kitty: the data goes first, under a number, and then cells that refer to it."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: OrderedDict[Encoded, int] = OrderedDict()

    def hide(self) -> None:
        """Show nothing, and free what was sent."""
        super().hide()
        self._free(0)

    def on_unmount(self) -> None:
        """Free what nobody sees any more."""
        self.encoded = None
        self._free(0)

    def prepare(self, encoded: Encoded) -> None:
        """Send the picture, so that only cells have to follow when it is shown."""
        self._number(encoded)

    def draw(self, encoded: Encoded, crop: Region) -> list[Strip]:
        """The placeholders; the picture is sent once."""
        number = self._number(encoded)
        style = Style(color=f"rgb({number >> 16 & 255},{number >> 8 & 255},{number & 255})")
        rows, columns = range(crop.y, crop.bottom), range(crop.x, crop.right)
        return [
            Strip([Segment(text, style)], cell_length=crop.width)
            for text in placeholders(number, columns, rows)
        ]

    def _number(self, encoded: Encoded) -> int:
        """The number under which the terminal keeps the picture, which is sent if need be."""
        number = self._numbers.get(encoded)
        if number is None:
            self._free(_KEPT - 1)
            number = self._numbers[encoded] = next(_NUMBERS)
            place = f"\x1b_Ga=p,i={number},c={encoded.columns},r={encoded.rows},U=1,q=2\x1b\\"
            self._write(encoded.data.replace(NUMBER, str(number)) + place)
        return number

    def _free(self, leave: int) -> None:
        """Let the terminal forget all but the pictures sent last, never the one that is seen."""
        for encoded in list(self._numbers)[: max(0, len(self._numbers) - leave)]:
            if encoded is not self.encoded:
                self._write(f"\x1b_Ga=d,d=I,i={self._numbers.pop(encoded)},q=2\x1b\\")

    def _write(self, data: str) -> None:
        driver = self.app._driver
        if driver is not None:
            driver.write(data)
