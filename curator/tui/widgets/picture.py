"""The picture on the screen, in half cells or real pixels, and how close it is looked at.

What is shown was made ahead and only has to be sent. textual-image's own widgets encode a
picture when it is drawn, on the interface's thread, and send Kitty's pictures past Textual's
writer; these send everything in one order. Pixels are exactly as large as their place,
because fractional sizes distort them.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import count
from random import randint

from rich.segment import ControlType, Segment
from rich.style import Style
from textual import geometry
from textual.app import ComposeResult
from textual.containers import Container
from textual.strip import Strip
from textual.widget import Widget

from curator.review.pictures import Region
from curator.tui.lines import TextLines, row
from curator.tui.pictures import NUMBER, Encoded, RenderedFrame, placeholders
from curator.tui.terminal import Graphics

_KEPT = 3
"""Pictures that a terminal keeps: the one seen, the one before, and the one that follows."""
_NUMBERS = count(randint(1, 2**31))

ZOOMS = (1.0, 2.0, 4.0, 8.0)
PAN = 0.25
"""Part of the visible width that an arrow moves a zoomed picture by."""


class Picture(Container):
    """Shows one frame at a time, or a sentence where there is nothing to show."""

    DEFAULT_CSS = """
    Picture { width: 1fr; height: 1fr; background: $background; align: center middle; }
    Picture > TextLines { width: 100%; height: 100%; }
    Picture > .pixels { width: auto; height: auto; }
    """

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.graphics = graphics
        self.lines = TextLines()
        self._pixels = pixel_widget(graphics)

    def compose(self) -> ComposeResult:
        """The lines, and the pixels over them where the terminal has them."""
        yield self.lines
        if self._pixels is not None:
            self._pixels.display = False
            yield self._pixels

    def show(self, frame: RenderedFrame) -> None:
        pixels = self._pixels
        if frame.pixels is None or pixels is None:
            self._hide_pixels()
            self.lines.show(frame.strips)
            return
        pixels.show(frame.pixels)
        self.lines.display = False

    def prepare(self, frame: RenderedFrame) -> None:
        """Send ahead what can be sent of a picture that is likely to be shown next."""
        if frame.pixels is not None and self._pixels is not None:
            self._pixels.prepare(frame.pixels)

    def say(self, sentences: list[str], style: Style) -> None:
        """Show sentences in the middle instead of a picture."""
        self._hide_pixels()
        width, height = self.size
        above = max(0, (height - len(sentences)) // 2)
        blank = row((), width, style)
        text = [row([(line.center(width), style)], width, style) for line in sentences]
        self.lines.show([blank] * above + text + [blank] * max(0, height - above - len(text)))

    def _hide_pixels(self) -> None:
        if self._pixels is not None and self._pixels.display:
            self._pixels.hide()
            self.lines.display = True


def pixel_widget(graphics: Graphics) -> Pixels | None:
    """The widget for a terminal that draws pixels; None for all others."""
    if not graphics.draws_pixels:
        return None
    return KittyPixels() if graphics.kitty else SixelPixels()


class Pixels(Widget):
    """A place for a picture of real pixels, exactly as large as the picture."""

    def __init__(self) -> None:
        super().__init__(classes="pixels")
        self.encoded: Encoded | None = None

    def show(self, encoded: Encoded) -> None:
        self.encoded = encoded
        self.display = True
        self.styles.width, self.styles.height = encoded.columns, encoded.rows
        self.refresh()

    def hide(self) -> None:
        self.encoded = None
        self.display = False

    def render_lines(self, crop: geometry.Region) -> list[Strip]:
        """The cells that hold the picture; none while another screen lies over it."""
        if self.encoded is None or not self.screen.is_active:
            return [Strip.blank(crop.width)] * crop.height
        return self.draw(self.encoded, crop)

    def prepare(self, encoded: Encoded) -> None:
        """Send what can be sent of a picture that is likely to be shown next."""

    def draw(self, encoded: Encoded, crop: geometry.Region) -> list[Strip]:
        """The cells in the protocol at hand."""
        raise NotImplementedError


class SixelPixels(Pixels):
    """Sixel: the data stands in the last row, after a move to the first cell."""

    def draw(self, encoded: Encoded, crop: geometry.Region) -> list[Strip]:
        """Cells that are left as they are, and the picture over them."""
        area = self.screen.find_widget(self).visible_region
        over = [
            Segment(f"\x1b[{area.y + 1};{area.x + 1}H"),
            Segment(encoded.data, Style(), [(ControlType.CURSOR_FORWARD, 0)]),
            Segment(f"\x1b[{area.bottom + 1};{area.right + 1}H"),
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

    def draw(self, encoded: Encoded, crop: geometry.Region) -> list[Strip]:
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
            placement = f"\x1b_Ga=p,i={number},c={encoded.columns},r={encoded.rows},U=1,q=2\x1b\\"
            self._write(encoded.data.replace(NUMBER, str(number)) + placement)
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


class Zoom:
    """Steps closer, and a place in the picture; out again it is the whole."""

    def __init__(self) -> None:
        self._step = 0
        self._centre = (0.5, 0.5)

    @property
    def is_on(self) -> bool:
        """Whether less than the whole picture is seen."""
        return self._step > 0

    @property
    def times(self) -> float:
        """How many times larger than the whole picture on the screen."""
        return ZOOMS[self._step]

    @property
    def region(self) -> Region:
        return Region(*self._centre, 1 / self.times)

    def closer(self) -> None:
        """A step closer; after the closest the whole again."""
        self._step = (self._step + 1) % len(ZOOMS)

    def out(self) -> None:
        """Back to the whole picture; a closer look begins in its middle again."""
        self._step = 0
        self._centre = (0.5, 0.5)

    def move(self, across: int, down: int) -> None:
        """Move by a part of what is seen, not beyond the edges."""
        share = PAN / self.times
        x, y = self._centre
        self._centre = (
            min(1.0, max(0.0, x + across * share)),
            min(1.0, max(0.0, y + down * share)),
        )
