"""Everything that was ever said about one image, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, cast

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from curator.catalogue.labels import HistoryEvent
from curator.tui.lines import safe
from curator.workflows.cards import Card, Context, load_context

if TYPE_CHECKING:
    from curator.tui.app import ReviewApp


class HistoryScreen(ModalScreen[None]):
    """The image's places and its label events, the newest first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,i,q,enter", "dismiss", "close", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]
    CSS = """
    HistoryScreen { align: center middle; }
    HistoryScreen > VerticalScroll {
        width: 94%; max-width: 120; height: 90%; max-height: 40;
        border: round $primary; background: $surface; padding: 1 2;
    }
    HistoryScreen Static { width: 100%; }
    """

    def __init__(self, card: Card) -> None:
        super().__init__()
        self._card = card

    def compose(self) -> ComposeResult:
        """An empty page, filled as soon as the catalogue has answered."""
        with VerticalScroll() as page:
            page.border_title = "History"
            page.border_subtitle = "esc closes"
            yield Static(id="places")
            yield Static(id="events")

    async def on_mount(self) -> None:
        """Ask the catalogue."""
        backstage = cast("ReviewApp", self.app).backstage
        context = await backstage.at_desk(load_context, backstage.workspace, self._card.image_id)
        self.query_one("#places", Static).update(Text("\n".join(self._places(context))))
        self.query_one("#events", Static).update(self._events(context))

    def action_scroll(self, lines: int) -> None:
        """Scroll by a line."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def _places(self, context: Context) -> Iterator[str]:
        card = self._card
        yield f"sha256 {card.sha256.hex()}"
        for place in card.places:
            state = "" if place.state == "present" else f" ({place.state})"
            yield f"{safe(place.source)}: {safe(place.path)}{state}"
        if context.mates:
            more = " and more" if context.more_mates else ""
            yield f"belongs with {len(context.mates)}{more} others"
        if card.split is not None:
            yield f"split {card.split}"
        yield ""

    def _events(self, context: Context) -> Table | Text:
        if not context.events:
            return Text("Nobody has said anything about it yet.")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("when", "event", "label", "origin", "how", "by", "P", ""):
            table.add_column(column)
        for event in reversed(context.events):
            table.add_row(*self._cells(event))
        return table

    def _cells(self, event: HistoryEvent) -> list[Text]:
        names = cast("ReviewApp", self.app).backstage.names
        who = f"round {event.round}" if event.round is not None else event.actor or "?"
        remarks = [
            *event.reasons,
            *([event.note] if event.note else []),
            *(["taken back"] if event.retracted else []),
            *(["round undone"] if event.undone else []),
        ]
        return [
            Text(safe(str(cell)))
            for cell in (
                event.made_at.astimezone().strftime("%Y-%m-%d %H:%M"),
                event.kind,
                names.of(event.label),
                event.origin,
                event.method,
                who,
                "" if event.probability is None else f"{event.probability:.3f}",
                "; ".join(remarks),
            )
        ]
