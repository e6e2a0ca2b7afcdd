"""The history of one image: its label events, and the locations of its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from curator.catalogue.labels import HistoryEvent
from curator.review.cards import CardContext, ImageCard, load_context
from curator.settings.keys import ScreenName
from curator.tui.lines import TextLines, safe
from curator.tui.screens.base import PageScreen, bindings_for
from curator.tui.widgets.bars import KeyBar, headline


class HistoryScreen(PageScreen):
    """The image's places and its label events, the newest first."""

    SCREEN = ScreenName.HISTORY
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(ScreenName.HISTORY)
    CSS = """
    HistoryScreen VerticalScroll { height: 1fr; padding: 1 2; background: $background; }
    """

    def __init__(self, card: ImageCard) -> None:
        super().__init__()
        self._card = card

    def compose(self) -> ComposeResult:
        """Headline, page, keys; the page is filled as soon as the catalogue has answered."""
        yield TextLines(id="headline")
        with VerticalScroll(can_focus=False):
            yield Static(id="locations")
            yield Static(id="events")
        yield KeyBar()

    async def fill(self) -> None:
        app, inks, width = self.review, self.inks, self.size.width
        line = headline("history", app.session.pace, width, inks, text=safe(self._card.path))
        self.query_one("#headline", TextLines).show([line])
        self.query_one(KeyBar).show_keys(self.SCREEN, app.keys, app.label_name, inks, blind=False)
        preparation = app.preparation
        context = await preparation.in_session(
            load_context, preparation.workspace.catalogue, self._card.image_id
        )
        self.query_one("#locations", Static).update(Text("\n".join(self._locations(context))))
        self.query_one("#events", Static).update(self._events(context))

    async def action_history(self) -> None:
        await self.action_back()

    def _locations(self, context: CardContext) -> Iterator[str]:
        card = self._card
        yield f"sha256 {card.sha256.hex()}"
        for location in card.locations:
            state = "" if location.state == "present" else f" ({location.state})"
            yield f"{safe(location.source)}: {safe(location.path)}{state}"
        if context.mates:
            more = " and more" if context.more_mates else ""
            yield f"grouped with {len(context.mates)}{more} other images"
        if card.split is not None:
            yield f"split {card.split}"
        yield ""

    def _events(self, context: CardContext) -> Table | Text:
        if not context.events:
            return Text("No label event yet.")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("when", "event", "label", "origin", "how", "by", "P", ""):
            table.add_column(column)
        for event in reversed(context.events):
            table.add_row(*self._cells(event))
        return table

    def _cells(self, event: HistoryEvent) -> list[Text]:
        who = f"round {event.round}" if event.round is not None else event.actor or "?"
        remarks = [
            *event.reasons,
            *([event.note] if event.note else []),
            *(["taken back"] if event.retracted else []),
            *(["rolled back"] if event.undone else []),
        ]
        return [
            Text(safe(str(cell)))
            for cell in (
                event.made_at.astimezone().strftime("%Y-%m-%d %H:%M"),
                event.kind,
                self.review.class_names.name_of(event.label),
                event.origin,
                event.method,
                who,
                "" if event.probability is None else f"{event.probability:.3f}",
                "; ".join(remarks),
            )
        ]
