"""What all screens of the review share: inks, keys, and asking for more room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen

from curator.settings.keys import ACTIONS, KeyAction, ScreenName, find_action, key_sign
from curator.tui.terminal import SMALLEST

if TYPE_CHECKING:
    from curator.tui.app import ReviewApp
    from curator.tui.lines import Inks


class ReviewScreen(Screen[None]):
    """A full screen of the review; `SCREEN` says which."""

    SCREEN: ClassVar[ScreenName]

    @property
    def review(self) -> ReviewApp:
        return cast("ReviewApp", self.app)

    @property
    def inks(self) -> Inks:
        return self.review.inks

    @property
    def too_small(self) -> bool:
        """Whether there is too little room to see anything."""
        return self.size.width < SMALLEST[0] or self.size.height < SMALLEST[1]

    @property
    def settled(self) -> bool:
        """Whether what is to be seen can be seen, so that a key is answered."""
        return True

    def small_text(self) -> list[str]:
        return [
            "The window is too small.",
            f"It has {self.size.width}×{self.size.height} cells;",
            f"curator needs {SMALLEST[0]}×{SMALLEST[1]}.",
            "Make it larger, or its font smaller.",
        ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Actions that tell what is hidden do not exist while somebody labels blind."""
        try:
            key_action = find_action(action)
        except KeyError:
            return True
        return key_action.blind or not self.review.session.blind

    def redraw(self) -> None:
        """Draw everything anew; screens that keep drawn lines replace this."""
        self.refresh()

    def action_help(self) -> None:
        from curator.tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen(self.SCREEN))

    async def action_quit(self) -> None:
        await self.review.action_quit()

    async def action_back(self) -> None:
        if len(self.app.screen_stack) > 2:
            self.app.pop_screen()


class PageScreen(ReviewScreen):
    """A page of text under a headline; it is filled anew for another size or theme."""

    DEFAULT_CSS = """
    PageScreen #headline { height: 1; dock: top; }
    PageScreen Static { width: 100%; }
    """

    def on_resize(self) -> None:
        self.call_after_refresh(self.fill)

    def redraw(self) -> None:
        self.call_after_refresh(self.fill)

    async def fill(self) -> None:
        """Read what the page shows, and draw it."""
        raise NotImplementedError

    def action_down(self) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=3, animate=False)

    def action_up(self) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=-3, animate=False)


def bindings_for(screen: ScreenName) -> list[BindingType]:
    """The bindings of a screen; a user's own keys are laid over them by their ids."""
    bindings: list[BindingType] = []
    for action in ACTIONS:
        if screen not in action.screens or action.name == "palette":
            continue
        if action.name == "reason":
            bindings += [
                Binding(key, f"reason({key})", action.label, show=False, id=f"reason-{key}")
                for key in action.keys
            ]
        else:
            keys = ",".join(action.keys)
            bindings.append(Binding(keys, action.name, action.label, show=False, id=action.name))
    return bindings


def shown_keys(action: KeyAction, keys: Mapping[str, tuple[str, ...]]) -> str:
    """The keys of an action as a person reads them."""
    if action.name == "reason":
        return "1-9"
    return " ".join(key_sign(key) for key in keys[action.name])
