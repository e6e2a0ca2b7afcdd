"""The end of a session: how many, how fast, what changed, what next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from curator.review.outcome import SessionSummary

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
        """The summary."""
        with Vertical() as box:
            box.border_title = "Your session"
            box.border_subtitle = "q leaves, esc goes back"
            yield Static(id="told")

    async def on_mount(self) -> None:
        """Fill it in; what to do next comes from the catalogue."""
        from curator.report.status import status

        app = cast("ReviewApp", self.app)
        told = "\n".join(summary_lines(app.desk.summary(), app.backstage.names.of))
        self.query_one("#told", Static).update(Text(told))
        now = await app.backstage.at_desk(status, app.backstage.workspace)
        self.query_one("#told", Static).update(Text(f"{told}\n\nNext: {now.advice()}"))

    def action_leave(self) -> None:
        """Leave for good."""
        self.app.exit(cast("ReviewApp", self.app).desk.summary())


def summary_lines(summary: SessionSummary, name_of: Callable[[str], str]) -> list[str]:
    """The session in sentences; `name_of` gives the user's name of a label."""
    if not summary.decided:
        lines = ["No decision stands from this session."]
    else:
        noun = "decision" if summary.decided == 1 else "decisions"
        by_label = ", ".join(f"{n:,} {name_of(label)}" for label, n in summary.by_label.items())
        lines = [f"{summary.decided:,} {noun} kept: {by_label}."]
    if summary.per_minute is not None:
        lines.append(
            f"{summary.per_minute:.0f} a minute over {summary.minutes:.1f} minutes of looking;"
            f" {summary.longest_streak:,} without a pause."
        )
    if summary.against_model:
        lines.append(f"{summary.against_model:,} against what the model leaned to.")
    if summary.corrected:
        lines.append(f"{summary.corrected:,} labels that a round had given were corrected.")
    counts = (
        (summary.skipped, "skipped"),
        (summary.flagged, "flagged"),
        (summary.undone, "taken back"),
        (summary.set_aside, "set aside in quarantine"),
    )
    rest = ", ".join(f"{number:,} {what}" for number, what in counts if number)
    return [*lines, f"{rest[:1].upper()}{rest[1:]}."] if rest else lines
