"""The picture on the screen: half cells of our own, or real pixels through textual-image.

Half cells are only lines that were made ahead. Where the terminal draws pixels (Kitty's
protocol or Sixel) the picture is handed to textual-image's widget, at exactly the size of
the place, because fractional sizes distort it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget

from curator.tui.frames import Frame
from curator.tui.lines import row
from curator.tui.terminal import Graphics
from curator.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from textual_image.widget import SixelImage, TGPImage


class Picture(Container):
    """Shows one frame at a time, or a sentence where there is nothing to show."""

    DEFAULT_CSS = """
    Picture { width: 1fr; height: 1fr; background: $background; align: center middle; }
    Picture > Lines { width: 100%; height: 100%; }
    Picture > .pixels { width: auto; height: auto; }
    """

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.graphics = graphics
        self.lines = Lines()
        self._pixels = pixel_widget(graphics)

    def compose(self) -> ComposeResult:
        """The lines, and the pixels over them where the terminal has them."""
        yield self.lines
        if self._pixels is not None:
            self._pixels.display = False
            yield self._pixels

    def show(self, frame: Frame) -> None:
        """Show a picture."""
        pixels = self._pixels
        if frame.pixels is None or pixels is None:
            self._hide_pixels()
            self.lines.show(frame.strips)
            return
        across, down = self.graphics.cell
        pixels.styles.width = max(1, -(-frame.pixels.width // across))
        pixels.styles.height = max(1, -(-frame.pixels.height // down))
        pixels.image = frame.pixels
        pixels.display = True
        self.lines.display = False

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
            self._pixels.display = False
            self.lines.display = True


def pixel_widget(graphics: Graphics) -> TGPImage | SixelImage | None:
    """textual-image's widget for a terminal that draws pixels; None for all others."""
    if not graphics.draws_pixels:
        return None
    # Only here: importing it asks the terminal, which must not happen where it cannot answer.
    from textual_image.widget import SixelImage, TGPImage

    made: Widget
    made = TGPImage(classes="pixels") if graphics.kitty else SixelImage(classes="pixels")
    return made
