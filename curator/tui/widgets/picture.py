"""The picture on the screen: half cells, or real pixels where the terminal draws them.

Both were made ahead. Pixels are exactly as large as their place, because fractional sizes
distort them.
"""

from __future__ import annotations

from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Container

from curator.tui.frames import RenderedFrame
from curator.tui.lines import row
from curator.tui.terminal import Graphics
from curator.tui.widgets.lines import TextLines
from curator.tui.widgets.pixels import KittyPixels, Pixels, SixelPixels


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
        """Show a picture."""
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
        told = [row([(text.center(width), style)], width, style) for text in sentences]
        self.lines.show([blank] * above + told + [blank] * max(0, height - above - len(told)))

    def _hide_pixels(self) -> None:
        if self._pixels is not None and self._pixels.display:
            self._pixels.hide()
            self.lines.display = True


def pixel_widget(graphics: Graphics) -> Pixels | None:
    """The widget for a terminal that draws pixels; None for all others."""
    if not graphics.draws_pixels:
        return None
    return KittyPixels() if graphics.kitty else SixelPixels()
