"""All keys of a screen, from the registry of actions."""

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

from curator.settings.keys import ACTIONS, KeyAction, KeyGroup, ScreenName
from curator.tui.screens.base import shown_keys

if TYPE_CHECKING:
    from curator.tui.app import ReviewApp


class HelpScreen(ModalScreen[None]):
    """A page of keys over the screen that it explains."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close", show=False),
        Binding("j,down", "scroll(1)", show=False),
        Binding("k,up", "scroll(-1)", show=False),
    ]
    CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 90%; max-width: 96; height: 90%; max-height: 50;
        border: round $primary; background: $surface; padding: 0 2;
    }
    HelpScreen Static { width: 100%; }
    """

    def __init__(self, screen_name: ScreenName) -> None:
        super().__init__()
        self._screen_name = screen_name

    def compose(self) -> ComposeResult:
        with VerticalScroll() as page:
            page.border_title = f"Keys: {self._screen_name}"
            page.border_subtitle = "esc closes"
            for part in self._parts():
                yield Static(part)

    def _parts(self) -> Iterator[Text | Table]:
        app = cast("ReviewApp", self.app)
        for group in KeyGroup:
            actions = [a for a in ACTIONS if a.group is group and self._is_here(a)]
            if not actions:
                continue
            yield Text(f"\n{group}", style="bold")
            table = Table.grid(padding=(0, 2))
            table.add_column(width=14)
            table.add_column(ratio=1)
            for action in actions:
                keys = Text(shown_keys(action, app.keys), style="bold")
                table.add_row(keys, Text(app.label_name(action.meaning)))
            yield table
        yield Text(
            "\nA key counts only if the picture was visible when it was pressed. Every decision is"
            " saved at once; undo adds an event of its own.\n"
        )

    def _is_here(self, action: KeyAction) -> bool:
        blind = cast("ReviewApp", self.app).session.blind
        return self._screen_name in action.screens and (action.blind or not blind)

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)
