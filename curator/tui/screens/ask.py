"""One question, one line of answer; for the filter it is checked while it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from curator.review.filter import EXAMPLE, MEANINGS, read_view
from curator.tui.lines import safe

if TYPE_CHECKING:
    from curator.tui.app import ReviewApp


class AskScreen(ModalScreen[str | None]):
    """Asks for a line of text; None when the reviewer thinks better of it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "back", show=False)]
    CSS = """
    AskScreen, FilterScreen { align: center middle; }
    AskScreen > Vertical, FilterScreen > Vertical {
        width: 80%; max-width: 84; height: auto;
        border: round $primary; background: $surface; padding: 0 2;
    }
    AskScreen Static, FilterScreen Static { width: 100%; color: $text-muted; }
    """

    def __init__(self, question: str, hint: str, answer: str = "") -> None:
        super().__init__()
        self._question = question
        self._hint = hint
        self._answer = answer

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._question
            yield Input(self._answer, placeholder=self._hint)
            yield Static("⏎ keeps it, esc goes back", markup=False)

    def problem_with(self, answer: str) -> str:
        """Why an answer cannot be taken; empty if it can."""
        return ""

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self.problem_with(event.value):
            self.app.bell()
        else:
            self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss(None)


class FilterScreen(AskScreen):
    """Asks for a view; gives back a line that can be read as one, or None."""

    def __init__(self, line: str, sources: tuple[str, ...]) -> None:
        super().__init__("Filter and sort", EXAMPLE, line)
        self._sources = sources

    def compose(self) -> ComposeResult:
        classes = cast("ReviewApp", self.app).class_names
        texts = dict(MEANINGS) | {
            "source": safe(", ".join(self._sources)) or "none yet",
            "class": f"{safe(classes.positive)} or {safe(classes.negative)}",
        }
        with Vertical() as box:
            box.border_title = self._question
            yield Input(self._answer, placeholder=self._hint)
            yield Static("", id="problem", markup=False)
            yield Static("\n".join(f"{key}: {text}" for key, text in texts.items()), markup=False)
            yield Static(
                "⏎ applies it, an empty line removes the filter, esc goes back", markup=False
            )

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say at once what cannot be understood."""
        self.query_one("#problem", Static).update(self.problem_with(event.value))

    def problem_with(self, answer: str) -> str:
        """What of the line cannot be understood."""
        try:
            read_view(answer, cast("ReviewApp", self.app).class_names, self._sources)
        except ValueError as error:
            return f"✗ {error}"
        return ""
