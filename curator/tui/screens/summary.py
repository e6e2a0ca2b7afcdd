"""The end of a session: how many, how fast, what changed, what next."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from curator.review.outcome import summary_lines

if TYPE_CHECKING:
    from curator.tui.app import ReviewApp


class SummaryScreen(ModalScreen[None]):
    """Shown once before leaving; one can still go back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,enter", "leave", "leave", show=False),
        Binding("escape", "dismiss", "back", show=False),
    ]
    CSS = """
    SummaryScreen { align: center middle; }
    SummaryScreen > Vertical {
        width: 90%; max-width: 72; height: auto;
        border: round $primary; background: $surface; padding: 1 2;
    }
    """

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Your session"
            box.border_subtitle = "q leaves, esc goes back"
            yield Static(id="summary")

    async def on_mount(self) -> None:
        """Fill it in; what to do next comes from the catalogue."""
        from curator.report.status import status

        app = cast("ReviewApp", self.app)
        text = "\n".join(summary_lines(app.session.summary(), app.class_names.name_of))
        self.query_one("#summary", Static).update(Text(text))
        now = await app.preparation.in_session(status, app.preparation.workspace)
        self.query_one("#summary", Static).update(Text(f"{text}\n\nNext: {now.advice()}"))

    def action_leave(self) -> None:
        """Leave for good."""
        self.app.exit(cast("ReviewApp", self.app).session.summary())
