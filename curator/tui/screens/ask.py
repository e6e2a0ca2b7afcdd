"""One question, one line of answer."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


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
        """Question, line, hint."""
        with Vertical() as box:
            box.border_title = self._question
            yield Input(self._answer, placeholder=self._hint)
            yield Static("⏎ keeps it, esc goes back", markup=False)

    def problem_with(self, answer: str) -> str:
        """Why an answer cannot be taken; empty if it can."""
        return ""

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The answer is given."""
        if self.problem_with(event.value):
            self.app.bell()
        else:
            self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
