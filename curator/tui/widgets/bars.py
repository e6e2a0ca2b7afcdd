"""The line above the picture and the line of keys below it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual import events
from textual.strip import Strip

from curator.review.pace import Pace
from curator.settings.keys import ACTIONS, KeyAction, ScreenName, key_sign
from curator.tui.lines import Inks, Piece, TextLines, row, safe, shortened, spread_out


def headline(
    title: str, pace: Pace, width: int, inks: Inks, *, text: str = "", warning: str = ""
) -> Strip:
    """Title and pace: how many, how fast, how long still to a goal that somebody set."""
    right: list[Piece] = [(f"{pace.decided:,} done", inks.strong)]
    rate = pace.per_minute
    if rate is not None:
        right.append((f"  {rate:.0f}/min", inks.plain))
    left_seconds = pace.seconds_left()
    if left_seconds is not None and pace.goal is not None:
        right.append((f"  {_left(left_seconds)} to {pace.goal:,}", inks.muted))
    right.append((" ", inks.ground))
    room = width - sum(cell_len(text) for text, _ in right) - 2
    shown_title = shortened(title, max(8, room))
    left: list[Piece] = [(f" {shown_title}", inks.accent)]
    spare = room - cell_len(shown_title) - 2
    if (warning or text) and spare > 12:
        ink = inks.warning if warning else inks.muted
        left.append((f"  {shortened(warning or text, spare)}", ink))
    return spread_out(left, right, width, inks.ground)


def _left(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


@dataclass(frozen=True, slots=True)
class _Entry:
    action: KeyAction
    start: int
    end: int


class KeyBar(TextLines):
    """The keys of a screen, the most important ones first, as many as fit; clickable."""

    DEFAULT_CSS = "KeyBar { height: 1; dock: bottom; background: $background; }"

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[_Entry] = []

    def show_keys(
        self,
        screen: ScreenName,
        keys: Mapping[str, tuple[str, ...]],
        names: Callable[[str], str],
        inks: Inks,
        *,
        blind: bool,
        first: Collection[str] = (),
    ) -> None:
        """Draw the keys of `screen`, those of the actions `first` before all others.

        `names` fills the user's class names in.
        """
        width = self.size.width
        actions = [
            action
            for action in sorted(ACTIONS, key=lambda each: (each.name not in first, each.footer))
            if (action.footer or action.name in first)
            and screen in action.screens
            and (action.blind or not blind)
        ]
        pieces, self._entries = fitting_keys(actions, keys, names, inks, width)
        self.show([row(pieces, width, inks.ground)])

    async def on_click(self, event: events.Click) -> None:
        """A click on a key does what the key does."""
        for entry in self._entries:
            if entry.start <= event.x < entry.end:
                await self.screen.run_action(entry.action.name)


def fitting_keys(
    actions: Sequence[KeyAction],
    keys: Mapping[str, tuple[str, ...]],
    names: Callable[[str], str],
    inks: Inks,
    width: int,
) -> tuple[list[Piece], list[_Entry]]:
    """As many entries as fit; help and leaving always do."""
    texts = {
        action.name: (key_sign(keys[action.name][0]), shortened(safe(names(action.label)), 16))
        for action in actions
    }
    lengths = {name: cell_len(key) + cell_len(label) + 3 for name, (key, label) in texts.items()}
    last = [action for action in actions if action.name in ("help", "quit")]
    room = width - sum(lengths[action.name] for action in last)
    fitting = []
    for action in actions:
        if action in last:
            continue
        if lengths[action.name] > room:
            break
        room -= lengths[action.name]
        fitting.append(action)
    pieces: list[Piece] = []
    entries: list[_Entry] = []
    at = 0
    for action in [*fitting, *last]:
        key, label = texts[action.name]
        pieces += [(f" {key}", inks.key), (f" {label} ", inks.plain)]
        entries.append(_Entry(action, at, at + lengths[action.name]))
        at += lengths[action.name]
    return pieces, entries
