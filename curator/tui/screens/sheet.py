"""A page of the queue's images of one class, in its order: mark the exceptions, accept the rest.

Whatever is decided here is recorded with the method `sheet`, an accepted page in one
transaction, and one undo takes the whole page back.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.strip import Strip

from curator.base.vocabulary import CurrentLabel, Label
from curator.errors import CuratorError
from curator.review.cards import ImageCard
from curator.review.outcome import NOTHING_TO_UNDO, taken_back
from curator.review.sheet import Sheet
from curator.settings.keys import ScreenName, key_sign
from curator.tui.lines import Piece, TextLines, row, safe, shortened
from curator.tui.screens.base import ReviewScreen, bindings_for
from curator.tui.widgets.bars import KeyBar, headline
from curator.tui.widgets.panel import label_ink

TILES = ((16, 7), (20, 9), (28, 13), (44, 20))
"""Columns and rows of a tile's picture, in the steps of the zoom."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How the room is divided into tiles; each has a line for its caption below it."""

    across: int
    down: int
    columns: int
    rows: int

    @property
    def count(self) -> int:
        return self.across * self.down


def grid_for(columns: int, rows: int, zoom: int) -> Grid:
    """As many tiles as fit, at least one, spread over the whole width."""
    wide, high = TILES[zoom]
    across = max(1, columns // (wide + 1))
    down = max(1, rows // (high + 1))
    return Grid(across, down, columns // across - 1, rows // down - 1)


class SheetScreen(ReviewScreen):
    """Pages of tiles; `side` is the class that they are said to be, `focus` an image to go to."""

    SCREEN = ScreenName.SHEET
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(ScreenName.SHEET)
    CSS = """
    SheetScreen #headline { height: 2; dock: top; }
    SheetScreen #tiles { height: 1fr; }
    """

    def __init__(self, side: Label, *, focus: int | None = None) -> None:
        super().__init__()
        self.side = side
        self._focus_id = focus
        self._zoom = 1
        self.cards: list[ImageCard] = []
        self.sheet = Sheet(label=side, count=0)
        self._grid = Grid(1, 1, 1, 1)
        self._thumbs: dict[int, list[Strip]] = {}
        self._visible_since: float | None = None
        self._empty = False
        self._loading = 0
        self._drawn_turn = -1

    def compose(self) -> ComposeResult:
        yield TextLines(id="headline")
        yield TextLines(id="tiles")
        yield KeyBar()

    @property
    def settled(self) -> bool:
        """Whether all tiles are on the screen, or there are none."""
        return self._visible_since is not None or self._empty

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self._turn)

    def redraw(self) -> None:
        self.call_after_refresh(self._turn)

    async def _turn(self) -> None:
        """Lay out a new page."""
        self._visible_since = None
        self._empty = False
        tiles = self.query_one("#tiles", TextLines)
        if self.too_small:
            tiles.show(
                [
                    row([(f" {text}", self.inks.warning)], self.size.width, self.inks.ground)
                    for text in self.small_text()
                ]
            )
            return
        self._grid = grid_for(tiles.size.width, tiles.size.height, self._zoom)
        app = self.review
        try:
            cards = await app.preparation.in_session(
                app.session.page, CurrentLabel(self.side), 2 * self._grid.count
            )
        except CuratorError as error:
            app.complain(error)
            cards = []
        self.cards = cards[: self._grid.count]
        self.sheet = Sheet(label=self.side, count=len(self.cards))
        on_page = [card.image_id for card in self.cards]
        if self._focus_id in on_page:
            self.sheet.focus = on_page.index(self._focus_id)
        self._focus_id = None
        self._thumbs = {}
        self._loading += 1
        self._empty = not self.cards
        self._draw()
        self._fill(self._loading, cards)

    @work
    async def _fill(self, turn: int, cards: list[ImageCard]) -> None:
        """Make the tiles ready, those of this page first; then a key counts."""
        canvas = self.review.canvas(self._grid.columns, self._grid.rows)
        preparation = self.review.preparation
        for start in range(0, len(self.cards), self._grid.across):
            line = self.cards[start : start + self._grid.across]
            thumbs = await asyncio.gather(
                *(asyncio.to_thread(preparation.thumb, card, canvas) for card in line)
            )
            if turn != self._loading:
                return
            for card, strips in zip(line, thumbs, strict=True):
                self._thumbs[card.image_id] = list(strips)
            self._draw()
        self._drawn_turn = turn
        if self.is_current:
            self.call_after_refresh(self._seen, turn)
        for card in cards[len(self.cards) :]:
            await asyncio.to_thread(preparation.thumb, card, canvas)

    def _seen(self, turn: int) -> None:
        if turn == self._loading:
            self._visible_since = time.monotonic()

    def on_screen_resume(self) -> None:
        """What lay over the page is gone: it is seen again, if it was drawn."""
        if self._drawn_turn == self._loading:
            self.call_after_refresh(self._seen, self._loading)

    def _draw(self) -> None:
        app, inks, width = self.review, self.inks, self.size.width
        name = safe(app.class_names.name_of(self.side))
        viewed = app.session.source.view.describe(app.class_names)
        clusters = app.session.queue == "clusters"
        kind = "similar images" if clusters else f"contact sheet of {app.session.queue}"
        title = f"{kind}: {name}  {viewed}".rstrip()
        first = headline(title, app.session.pace, width, inks)
        self.query_one("#headline", TextLines).show([first, self._instruction(name, width)])
        self.query_one(KeyBar).show_keys(self.SCREEN, app.keys, app.label_name, inks, blind=False)
        strips: list[Strip] = []
        for line in range(self._grid.down):
            strips += self._tile_row(line)
        if not self.cards:
            key = key_sign(app.keys["other_class"][0])
            sentences = (
                f"No image of this queue is labelled or predicted as {name}.",
                f"{key} turns to the other class, esc goes back.",
            )
            if clusters:
                sentences = (
                    "Every page of similar images was decided or left out.",
                    "esc goes back.",
                )
            strips = [row([(f" {text}", inks.plain)], width, inks.ground) for text in sentences]
        self.query_one("#tiles", TextLines).show(strips)

    def _instruction(self, name: str, width: int) -> Strip:
        inks, keys = self.inks, self.review.keys
        accepted, marked = self.sheet.accepted_count, self.sheet.marked_count
        pieces: list[Piece] = [
            (f" {key_sign(keys['accept'][0])}", inks.key),
            (f" labels {accepted} of these {len(self.cards)} as ", inks.plain),
            (name, label_ink(self.side, inks)),
            (f"; {marked} marked" if marked else "; mark the exceptions with ", inks.plain),
        ]
        if not marked:
            pieces.append((key_sign(keys["mark"][0]), inks.key))
        return row(pieces, width, inks.ground)

    def _tile_row(self, line: int) -> list[Strip]:
        grid, ground = self._grid, self.inks.ground
        width = self.size.width
        start = line * grid.across
        tiles = range(start, min(start + grid.across, len(self.cards)))
        blank = Strip.blank(grid.columns, ground)
        gap = Strip.blank(1, ground)
        strips = []
        for number in range(grid.rows):
            parts = []
            for tile in tiles:
                thumb = self._thumbs.get(self.cards[tile].image_id)
                parts += [thumb[number] if thumb else blank, gap]
            strips.append(Strip.join(parts).adjust_cell_length(width, ground))
        captions = [part for tile in tiles for part in (self._caption(tile), gap)]
        strips.append(Strip.join(captions).adjust_cell_length(width, ground))
        return strips

    def _caption(self, tile: int) -> Strip:
        inks, card = self.inks, self.cards[tile]
        focused = tile == self.sheet.focus
        pointer = "▸" if focused else " "
        mark = self.sheet.mark(tile)
        if mark is None:
            text, ink = "left out", inks.warning
        else:
            name = safe(self.review.class_names.name_of(mark))
            sign = "✓" if mark is self.side else "✗"
            text, ink = f"{sign} {name}", label_ink(mark, inks)
        if mark is self.side:
            score = "" if card.score is None else f" {card.score:.3f}"
            text, ink = f"✓{score}", inks.muted
        elif focused:
            ink += inks.marked
        flag = "" if card.flag is None else "⚑ "
        text = f"{flag}{self._group_sign(card)}{text}"
        body = shortened(text, self._grid.columns - 2)
        style = inks.strong if focused else inks.muted
        return row(
            [(pointer, style), (body, ink if not focused else ink + inks.strong)],
            self._grid.columns,
            inks.ground,
        )

    def _group_sign(self, card: ImageCard) -> str:
        """`≈1 ` for images of the first group with several on this page, and so on."""
        keys = Counter(each.unit_key for each in self.cards)
        shared = [key for key, number in keys.items() if number > 1]
        return f"≈{shared.index(card.unit_key) + 1} " if card.unit_key in shared else ""

    @property
    def _counts(self) -> bool:
        since = self._visible_since
        return bool(self.cards) and since is not None and self.review.key_pressed_at >= since

    def _focused(self) -> ImageCard | None:
        return self.cards[self.sheet.focus] if self.cards else None

    async def action_accept(self) -> None:
        """Record the page and turn to the next."""
        if not self._counts:
            return
        self._visible_since = None
        sheet, cards, app = self.sheet, self.cards, self.review
        decisions = [
            (card, label)
            for tile, card in enumerate(cards)
            if (label := sheet.mark(tile)) is not None
        ]
        left_out = [card.image_id for tile, card in enumerate(cards) if sheet.mark(tile) is None]
        try:
            # Decisions last: what fails before them can be tried again and records nothing twice.
            await app.preparation.in_session(app.session.skip_on_page, left_out)
            await app.preparation.in_session(app.session.decide_page, decisions)
        except CuratorError as error:
            app.complain(error)
            self._visible_since = time.monotonic()
            return
        await self._turn()

    def _set(self, label: Label | None) -> None:
        self.sheet.set_mark(label)
        self.sheet.move(1)
        self._draw()

    def action_mark(self) -> None:
        """The other class, then left out, then back."""
        self.sheet.cycle()
        self._draw()

    def action_positive(self) -> None:
        self._set(Label.POSITIVE)

    def action_negative(self) -> None:
        self._set(Label.NEGATIVE)

    def action_unsure(self) -> None:
        self._set(Label.UNSURE)

    def action_skip(self) -> None:
        self._set(None)

    async def action_undo(self) -> None:
        """Take the last page back, or whatever was decided last."""
        undone = await self.review.preparation.in_session(self.review.session.undo)
        if undone is None:
            self.notify(NOTHING_TO_UNDO)
            return
        self.notify(taken_back(undone, self.review.class_names.name_of), markup=False, timeout=3)
        await self._turn()

    def action_left(self) -> None:
        self._move(-1)

    def action_right(self) -> None:
        self._move(1)

    def action_up(self) -> None:
        self._move(-self._grid.across)

    def action_down(self) -> None:
        self._move(self._grid.across)

    def _move(self, step: int) -> None:
        self.sheet.move(step)
        self._draw()

    def on_click(self, event: events.Click) -> None:
        tiles = self.query_one("#tiles", TextLines)
        if event.widget is not tiles:
            return
        across = event.x // (self._grid.columns + 1)
        tile = event.y // (self._grid.rows + 1) * self._grid.across + across
        if across < self._grid.across and tile < len(self.cards):
            self.sheet.focus = tile
            self.action_mark()

    async def action_other_class(self) -> None:
        self.side = Label.NEGATIVE if self.side is Label.POSITIVE else Label.POSITIVE
        await self._turn()

    async def action_zoom(self) -> None:
        """Larger tiles, then small ones again."""
        self._zoom = (self._zoom + 1) % len(TILES)
        await self._turn()

    async def action_sheet(self) -> None:
        await self.action_back()

    def action_flag(self) -> None:
        card = self._focused()
        if card is not None:
            self._focus_id = card.image_id
            self.review.ask_flag(card, self._turn)

    def action_filter(self) -> None:
        self.review.ask_filter(self._turn)

    async def action_similar(self) -> None:
        card = self._focused()
        if card is not None:
            await self.review.choose_similar(card)

    def action_history(self) -> None:
        from curator.tui.screens.history import HistoryScreen

        card = self._focused()
        if card is not None:
            self.app.push_screen(HistoryScreen(card))

    def action_dashboard(self) -> None:
        from curator.tui.screens.dashboard import DashboardScreen

        self.app.push_screen(DashboardScreen())

    async def action_open(self) -> None:
        card = self._focused()
        if card is not None:
            self.notify(await self.review.open_outside(card), markup=False)
