"""A widget that shows ready lines and does nothing else, so that it costs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class TextLines(Widget):
    """Shows the strips that it is given, each already as wide as the widget.

    Styles, filters and caches of Textual are passed over: the strips are what reaches the
    terminal. What is missing is filled with blanks.
    """

    DEFAULT_CSS = "TextLines { background: $background; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._strips: Sequence[Strip] = ()

    @property
    def strips(self) -> Sequence[Strip]:
        """What is shown."""
        return self._strips

    def show(self, strips: Sequence[Strip]) -> None:
        """Show these lines from the next refresh on; the same lines cost nothing."""
        if strips is not self._strips:
            self._strips = strips
            self.refresh()

    def show_line(self, number: int, strip: Strip) -> None:
        """Replace one line and redraw only that."""
        strips = list(self._strips)
        strips[number] = strip
        self._strips = strips
        self.refresh(Region(0, number, self.size.width, 1))

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines within `crop`; rows as wide as the widget pass uncut."""
        width = self.size.width
        blank = Strip.blank(width, self.visual_style.rich_style)
        found = []
        for number in crop.line_range:
            strip = self._strips[number] if number < len(self._strips) else blank
            if strip.cell_length != width:
                strip = strip.adjust_cell_length(width, self.visual_style.rich_style)
            if crop.column_span != (0, width):
                strip = strip.crop(*crop.column_span)
            found.append(strip)
        return found
