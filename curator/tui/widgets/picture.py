"""The picture on the screen, in cells or real pixels, and how close it is looked at.

What is shown was made ahead and only has to be sent. textual-image's own widgets encode a
picture when it is drawn, on the interface's thread, and send Kitty's pictures past Textual's
writer; these send everything in one order. Pixels are exactly as large as their place,
because fractional sizes distort them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import count
from random import randint

from rich.segment import ControlType, Segment
from rich.style import Style
from textual import events, geometry
from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from curator.review.pictures import EVERYTHING, Region, visible_part
from curator.tui.lines import TextLines, row, wrapped
from curator.tui.pictures import NUMBER, Encoded, RenderedFrame, placeholders
from curator.tui.terminal import Graphics

_KEPT = 3
"""Pictures that a terminal keeps: the one seen, the one before, and the one that follows."""
_NUMBERS = count(randint(1, 2**31))

ZOOMS = (2.0, 4.0, 8.0)
CLOSEST = 16.0
"""Times that a marked region is enlarged at most."""
PAN = 0.25
"""Part of the visible width that an arrow moves a zoomed picture by."""


class Picture(Container):
    """Shows one frame at a time, or a sentence where there is nothing to show."""

    DEFAULT_CSS = """
    Picture { width: 1fr; height: 1fr; background: $background; align: center middle; }
    Picture > TextLines { width: 100%; height: 100%; }
    Picture > .pixels { width: auto; height: auto; }
    """

    class Marked(Message):
        """A region was marked with the mouse; its corners as shares of the width and height."""

        def __init__(self, corners: tuple[tuple[float, float], tuple[float, float]]) -> None:
            super().__init__()
            self.corners = corners

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.graphics = graphics
        self._pressed_at: tuple[float, float] | None = None
        self.lines = TextLines()
        self._pixels = pixel_widget(graphics)

    def compose(self) -> ComposeResult:
        """The lines, and the pixels over them where the terminal has them."""
        yield self.lines
        if self._pixels is not None:
            self._pixels.display = False
            yield self._pixels

    def on_mouse_down(self, event: events.MouseDown) -> None:
        self._pressed_at = self._share_of(event)

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """A drag marks what lies between its ends; a click marks nothing."""
        start, end = self._pressed_at, self._share_of(event)
        self._pressed_at = None
        if start is not None and start != end:
            self.post_message(self.Marked((start, end)))

    def _share_of(self, event: events.MouseEvent) -> tuple[float, float]:
        at = event.screen_offset - self.region.offset
        return (at.x + 0.5) / self.size.width, (at.y + 0.5) / self.size.height

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
        lines = [line for sentence in sentences for line in wrapped(sentence, width, height)]
        above = max(0, (height - len(lines)) // 2)
        blank = row((), width, style)
        text = [row([(line.center(width), style)], width, style) for line in lines]
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
    """How close a picture is looked at, and where; it stays when the next picture comes."""

    def __init__(self) -> None:
        self.region = EVERYTHING

    @property
    def is_on(self) -> bool:
        """Whether less than the whole picture is seen."""
        return self.region.share < 1

    @property
    def times(self) -> float:
        """How many times larger than the whole picture on the screen."""
        return 1 / self.region.share

    def closer(self) -> None:
        """A step closer; after the closest the whole again."""
        steps = [step for step in ZOOMS if step > self.times * 1.01]
        self.region = replace(self.region, share=1 / steps[0]) if steps else EVERYTHING

    def out(self) -> None:
        """Back to the whole picture; a closer look begins in its middle again."""
        self.region = EVERYTHING

    def move(self, across: int, down: int) -> None:
        """Move by a part of what is seen, not beyond the edges."""
        share = PAN * self.region.share
        self.region = replace(
            self.region,
            x=min(1.0, max(0.0, self.region.x + across * share)),
            y=min(1.0, max(0.0, self.region.y + down * share)),
        )

    def mark(
        self,
        corners: tuple[tuple[float, float], tuple[float, float]],
        image: tuple[int, int],
        room: tuple[int, int],
    ) -> None:
        """Look at what lies between two corners on the screen, as shares of the room's sides."""
        part = visible_part(self.region, image, room)
        ends = []
        for across, down in corners:
            # The picture lies in the middle of the room.
            x = part.left + part.width / 2 + (across - 0.5) * room[0] / part.scale
            y = part.top + part.height / 2 + (down - 0.5) * room[1] / part.scale
            ends.append((min(1, max(0, x / image[0])), min(1, max(0, y / image[1]))))
        (left, top), (right, bottom) = ends
        fit = min(room[0] / image[0], room[1] / image[1])
        wide, high = abs(right - left) * image[0] * fit, abs(bottom - top) * image[1] * fit
        share = max(wide / room[0], high / room[1], 1 / CLOSEST)
        self.region = Region((left + right) / 2, (top + bottom) / 2, min(1.0, share))
