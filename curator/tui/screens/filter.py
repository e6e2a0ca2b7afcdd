"""The line that filters and sorts a queue, checked while it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input, Static

from curator.review.filter import EXAMPLE, ORDERS, read_view
from curator.tui.lines import safe
from curator.tui.screens.ask import AskScreen

if TYPE_CHECKING:
    from curator.tui.app import ReviewApp


class FilterScreen(AskScreen):
    """Asks for a view; gives back a line that can be read as one, or None."""

    def __init__(self, now: str, sources: tuple[str, ...]) -> None:
        super().__init__("Filter and sort", EXAMPLE, now)
        self._sources = sources

    def compose(self) -> ComposeResult:
        """The line, what is wrong with it, and what it may say."""
        names = cast("ReviewApp", self.app).backstage.names
        with Vertical() as box:
            box.border_title = self._question
            yield Input(self._answer, placeholder=self._hint)
            yield Static("", id="problem", markup=False)
            yield Static(
                f"source:  {safe(', '.join(self._sources)) or 'none yet'}\n"
                f"class:   {safe(names.positive)} or {safe(names.negative)}\n"
                "score:   a range of P, as 0.2-0.6\n"
                "round:   promoted by this round\n"
                f"sort:    {', '.join(ORDERS)}\n"
                "⏎ applies it, an empty line shows all again, esc goes back",
                markup=False,
            )

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what cannot be understood."""
        self.query_one("#problem", Static).update(self.problem_with(event.value))

    def problem_with(self, answer: str) -> str:
        """What of the line cannot be understood."""
        names = cast("ReviewApp", self.app).backstage.names
        try:
            read_view(
                answer, positive=names.positive, negative=names.negative, sources=self._sources
            )
        except ValueError as error:
            return f"✗ {error}"
        return ""
