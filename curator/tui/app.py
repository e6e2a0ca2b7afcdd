"""The review in a terminal: one application over a review session.

It decides nothing: keys become calls of the session, and what the session hands out is shown.
A key counts only if it was pressed while the picture that it is about could be seen.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from curator.base.vocabulary import Label
from curator.errors import CuratorError
from curator.imaging.problems import ImageProblem
from curator.review.cards import ImageCard
from curator.review.filter import WHOLE, read_view
from curator.review.image_source import REVIEWED
from curator.review.outcome import SessionSummary
from curator.settings.keys import ACTIONS, find_action, resolve_keys
from curator.tui.lines import Inks, ground_code, inks_of
from curator.tui.pictures import Canvas
from curator.tui.preparation import Preparation
from curator.tui.screens.ask import AskScreen, FilterScreen
from curator.tui.screens.base import shown_keys
from curator.tui.screens.sheet import SheetScreen
from curator.tui.screens.single import SingleScreen
from curator.tui.screens.summary import SummaryScreen
from curator.tui.terminal import HALF_CELLS, Depth, Graphics, depth_of, terminal_is_gone
from curator.workspace import OPENED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.actions import ActionParseResult
    from textual.dom import DOMNode

    Callback = Callable[[], Awaitable[None]]

_TERMINAL_CHECKED = 2.0
"""Seconds from one look to the next whether the terminal is still there."""


class ReviewApp(App[SessionSummary]):
    """Shows one session; returns its summary."""

    TITLE = "curator review"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    ReviewScreen { background: $background; }
    Toast { max-width: 60; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "leave", show=False),
        Binding("ctrl+z", "suspend_process", "suspend", show=False),
    ]

    def __init__(
        self,
        preparation: Preparation,
        *,
        graphics: Graphics = HALF_CELLS,
        theme: str = "",
        depth: Depth | None = None,
    ) -> None:
        super().__init__()
        self.preparation = preparation
        self.session = preparation.session
        self.class_names = preparation.workspace.settings.classes
        self.graphics = graphics
        self.keys = resolve_keys(preparation.workspace.settings.review.keys)
        self._depth = depth
        self._wanted_theme = theme
        self._sheets: list[tuple[Label, int] | None] = []
        self.key_pressed_at = 0.0
        """When the key that is being handled was pressed, on the monotonic clock."""

    @property
    def depth(self) -> Depth:
        """How many colours there are."""
        return self._depth if self._depth is not None else depth_of(self.console._color_system)

    @property
    def inks(self) -> Inks:
        return inks_of(self.theme_variables)

    @property
    def ground(self) -> int:
        """The theme's background as a 24-bit number."""
        return ground_code(self.theme_variables)

    def canvas(self, columns: int, rows: int) -> Canvas:
        """A place for pictures that are drawn in cells, whatever else the terminal can draw."""
        return Canvas(columns, rows, self.depth, self.ground, self.graphics.without_pixels)

    def on_mount(self) -> None:
        """Lay the user's keys over the default ones and show the first image."""
        self.set_keymap(keymap(self.keys))
        if self._wanted_theme in self.available_themes:
            self.theme = self._wanted_theme
        self.theme_changed_signal.subscribe(self, lambda _: self.redraw_everything())
        self.app_resume_signal.subscribe(self, lambda _: self.redraw_everything())
        if not self.is_headless:
            self.set_interval(_TERMINAL_CHECKED, self._leave_a_terminal_that_is_gone)
        self.push_screen(SingleScreen())
        if self.session.queue == "clusters":
            self.push_screen(SheetScreen(Label.POSITIVE))

    def _leave_a_terminal_that_is_gone(self) -> None:
        """End when nobody can press a key any more; every decision is on disk already.

        A terminal may vanish without a signal (a container's, a detached session's), and
        waiting for its keys would burn a core for ever.
        """
        if terminal_is_gone():
            self.exit(self.session.summary())

    async def on_event(self, event: events.Event) -> None:
        """Remember when a key was pressed, before anything else is done with it."""
        if isinstance(event, events.Key):
            self.key_pressed_at = event.time
        await super().on_event(event)

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """Do what a key means; an error of the catalogue or the disk is shown, and it goes on."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except CuratorError as error:
            self.complain(error)
            return True

    def redraw_everything(self) -> None:
        """Make all screens anew, as after a change of theme."""
        for screen in self.screen_stack:
            redraw = getattr(screen, "redraw", None)
            if redraw is not None:
                redraw()

    def label_name(self, text: str) -> str:
        """A text of the registry with the user's class names in it."""
        return text.format(positive=self.class_names.positive, negative=self.class_names.negative)

    def complain(self, error: CuratorError) -> None:
        """Show what went wrong and what to do."""
        self.notify(f"{error.problem} {error.advice}", severity="error", timeout=10, markup=False)

    async def action_quit(self) -> None:
        """Leave by way of the summary; from there for good."""
        if isinstance(self.screen, SummaryScreen):
            self.exit(self.session.summary())
        else:
            self.push_screen(SummaryScreen())

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The palette: every action of this screen, every queue, and the themes."""
        for action in ACTIONS:
            allowed = screen.check_action(action.name, ()) if action.name != "reason" else False
            if allowed and hasattr(screen, f"action_{action.name}"):
                title = self.label_name(action.label)
                keys = shown_keys(action, self.keys)
                yield SystemCommand(
                    f"{title[:1].upper()}{title[1:]} ({keys})",
                    self.label_name(action.meaning),
                    self._runner(screen, action.name),
                )
        for name, meaning in REVIEWED.items():
            if name != "similar":
                yield SystemCommand(f"Queue: {name}", meaning, self._chooser(name))
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)

    def _runner(self, screen: Screen[object], name: str) -> Callback:
        async def run() -> None:
            self.key_pressed_at = time.monotonic()
            await screen.run_action(name)

        return run

    def _chooser(self, queue: str) -> Callback:
        async def run() -> None:
            await self.choose_queue(queue)

        return run

    async def choose_queue(self, queue: str) -> None:
        """Go on with another queue; if it has nothing to go by, say so and stay."""
        try:
            await self.preparation.in_session(self.session.choose, queue, view=WHOLE)
        except CuratorError as error:
            self.complain(error)
            return
        await self.return_to_single()

    async def choose_similar(self, card: ImageCard) -> None:
        """Go on with images like one; `leave_similar` returns to it, and to its contact sheet."""
        sheet = self.screen if isinstance(self.screen, SheetScreen) else None
        try:
            await self.preparation.in_session(self.session.choose_similar, card.image_id)
        except CuratorError as error:
            self.complain(error)
            return
        self._sheets.append(None if sheet is None else (sheet.side, card.image_id))
        await self.return_to_single()

    async def leave_similar(self) -> None:
        """Return to where the reviewer asked for similar images."""
        if not await self.preparation.in_session(self.session.leave_similar):
            return
        origin = self._sheets.pop()
        await self.return_to_single()
        if origin is not None:
            side, image_id = origin
            self.push_screen(SheetScreen(side, focus=image_id))

    async def open_outside(self, card: ImageCard) -> str:
        """Open the file of a card in the system's viewer; what to tell the reviewer."""
        links = self.preparation.workspace.folder(OPENED)
        try:
            path = await asyncio.to_thread(self.preparation.pictures.local_path, card)
        except ImageProblem as problem:
            return f"The file cannot be downloaded: {problem.detail}."
        return "The image has no file to open." if path is None else open_outside(card, path, links)

    def ask_flag(self, card: ImageCard, then: Callback) -> None:
        """Ask for a note, flag the image with it or clear its flag, and go on with `then`."""

        async def keep(note: str | None) -> None:
            if note is None:
                return
            try:
                deed = await self.preparation.in_session(self.session.flag, card.image_id, note)
            except CuratorError as error:
                self.complain(error)
            else:
                self.notify(deed, timeout=2)
                await then()

        if card.flag is None:
            question = AskScreen("Why flag this image?", "a note (optional)")
        else:
            question = AskScreen("The flag's note", "leave empty to clear the flag", card.flag)
        self.push_screen(question, keep)

    def ask_filter(self, then: Callback) -> None:
        """Ask for a filter and an order of the queue, and go on with `then`."""
        sources = self.preparation.source_names()

        async def apply(text: str | None) -> None:
            if text is None:
                return
            view = read_view(text, self.class_names, sources)
            source = self.session.source
            try:
                await self.preparation.in_session(
                    self.session.choose, source.queue, examples=source.examples, view=view
                )
            except CuratorError as error:
                self.complain(error)
            await then()

        line = self.session.source.view.describe(self.class_names)
        self.push_screen(FilterScreen(line, sources), apply)

    async def return_to_single(self) -> None:
        """Close whatever lies over the one-image screen and show its image anew."""
        while not isinstance(self.screen, SingleScreen):
            await self.pop_screen()
        await self.screen.show_current()


def keymap(keys_by_action: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """A user's keys as Textual takes them: binding id and keys with commas."""
    return {
        name: ",".join(keys)
        for name, keys in keys_by_action.items()
        if keys != find_action(name).keys
    }


def open_outside(card: ImageCard, path: bytes, folder: Path) -> str:
    """Open the file of a card in the system's viewer; what to tell the reviewer.

    A viewer shows the name of what it opens, and a name may tell the class: of a blind card
    it gets a link in `folder` that is named by nothing but the content.
    """
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    path = _nameless(card, path, folder) if card.blind else path
    try:
        viewer = subprocess.Popen(
            [opener.encode(), path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return f"The file cannot be opened, because `{opener}` is not installed."
    threading.Thread(target=viewer.wait, name="viewer", daemon=True).start()
    return "Opened in the system's viewer."


def _nameless(card: ImageCard, path: bytes, folder: Path) -> bytes:
    suffix = Path(os.fsdecode(path)).suffix
    link = folder / f"{card.sha256.hex()[:12]}{suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(os.fsdecode(path))
    return os.fsencode(link)
