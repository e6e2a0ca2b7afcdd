"""Lines of text for the terminal: a few named inks, rows cut to a width, and their widget.

Widgets that change with every image draw their own lines, because that is many times
quicker than laying out renderables. Text of the user's (file names, notes) is escaped
here, so that a name cannot move the cursor.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.color import Color as RichColour
from rich.segment import Segment
from rich.style import Style
from textual.color import Color, ColorParseError
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Piece = tuple[str, Style]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inks:
    """The styles that everything is drawn in; they follow the theme."""

    plain: Style
    muted: Style
    strong: Style
    accent: Style
    positive: Style
    negative: Style
    warning: Style
    key: Style
    marked: Style
    ground: Style


def inks_of(variables: Mapping[str, str]) -> Inks:
    """The inks of a theme, from its CSS variables."""
    ground = _colour(variables, "background")
    text = _colour(variables, "foreground")
    muted = _blend(variables, "foreground", "background", 0.42)

    def on_ground(name: str, *, bold: bool = False) -> Style:
        return Style(color=_colour(variables, name), bgcolor=ground, bold=bold)

    return Inks(
        plain=Style(color=text, bgcolor=ground),
        muted=Style(color=muted, bgcolor=ground),
        strong=Style(color=text, bgcolor=ground, bold=True),
        accent=on_ground("accent", bold=True),
        positive=on_ground("success", bold=True),
        negative=on_ground("error", bold=True),
        warning=on_ground("warning", bold=True),
        key=on_ground("primary", bold=True),
        marked=Style(color=text, bgcolor=ground, bold=True, reverse=True),
        ground=Style(color=text, bgcolor=ground),
    )


def ground_code(variables: Mapping[str, str]) -> int:
    """The background of a theme as a 24-bit number; black where it is the terminal's own."""
    try:
        colour = Color.parse(variables.get("background", "#000000"))
    except ColorParseError:
        return 0
    return 0 if colour.ansi is not None else colour.r << 16 | colour.g << 8 | colour.b


def row(pieces: Iterable[Piece], width: int, ground: Style) -> Strip:
    """One line, cut or filled to `width` cells."""
    segments: list[Segment] = []
    left = width
    for text, style in pieces:
        length = cell_len(text)
        if length > left:
            segments.append(Segment(set_cell_size(text, left), style))
            left = 0
            break
        segments.append(Segment(text, style))
        left -= length
    if left:
        segments.append(Segment(" " * left, ground))
    return Strip(segments, width)


def safe(text: str | bytes) -> str:
    """A name as it may be drawn: whatever is not printable is escaped with a backslash."""
    plain = os.fsdecode(text)
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in plain)


def shortened(text: str, width: int) -> str:
    """`text` within `width` cells; the middle is left out, because both ends tell most."""
    if cell_len(text) <= width or width < 4:
        return text
    tail = (width - 1) * 2 // 3
    head = width - 1 - tail
    return f"{text[:head]}…{text[-tail:]}"


def wrapped(text: str, width: int, limit: int) -> list[str]:
    """`text` broken at spaces into at most `limit` lines of `width` cells."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        candidate = f"{line} {word}" if line else word
        if cell_len(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        line = shortened(word, width)
    if line:
        lines.append(line)
    return lines[:limit]


def spread_out(left: Sequence[Piece], right: Sequence[Piece], width: int, ground: Style) -> Strip:
    """A line with one part at each end; the right one stays whole."""
    right_length = sum(cell_len(text) for text, _ in right)
    room = max(0, width - right_length)
    start = row(left, room, ground)
    return Strip.join([start, row(right, width - room, ground)])


def packed(groups: Iterable[Sequence[Piece]], width: int, ground: Style) -> list[Strip]:
    """Groups of pieces one after the other, on as many lines as they need; none is divided."""
    lines: list[list[Piece]] = [[]]
    left = width
    for group in groups:
        length = sum(cell_len(text) for text, _ in group)
        if length > left and lines[-1]:
            lines.append([])
            left = width
        lines[-1] += group
        left -= length
    return [row(line, width, ground) for line in lines]


class TextLines(Widget):
    """Shows the strips that it is given, each already as wide as the widget.

    Styles, filters and caches of Textual are passed over: the strips are what reaches the
    terminal. What is missing is filled with blanks.
    """

    DEFAULT_CSS = "TextLines { background: $background; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.strips: Sequence[Strip] = ()

    def show(self, strips: Sequence[Strip]) -> None:
        """Show these lines from the next refresh on; the same lines cost nothing."""
        if strips is not self.strips:
            self.strips = strips
            self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines within `crop`; rows as wide as the widget pass uncut."""
        width = self.size.width
        blank = Strip.blank(width, self.visual_style.rich_style)
        rows = []
        for number in crop.line_range:
            strip = self.strips[number] if number < len(self.strips) else blank
            if strip.cell_length != width:
                strip = strip.adjust_cell_length(width, self.visual_style.rich_style)
            if crop.column_span != (0, width):
                strip = strip.crop(*crop.column_span)
            rows.append(strip)
        return rows


def _colour(variables: Mapping[str, str], name: str) -> RichColour:
    try:
        return Color.parse(variables[name]).rich_color
    except (KeyError, ColorParseError):
        return RichColour.default()


def _blend(variables: Mapping[str, str], name: str, other: str, share: float) -> RichColour:
    try:
        first, second = Color.parse(variables[name]), Color.parse(variables[other])
    except (KeyError, ColorParseError):
        return RichColour.default()
    if first.ansi is not None or second.ansi is not None:
        return first.rich_color
    return first.blend(second, share).rich_color
