"""One image as large as the terminal allows, and what is known about it beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar, ParamSpec, TypeVar

from textual import events, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.strip import Strip

from curator.base.text import count
from curator.base.vocabulary import Label
from curator.errors import CuratorError
from curator.review.cards import ImageCard
from curator.review.outcome import NOTHING_TO_UNDO, RecordedDecision, meanwhile, taken_back
from curator.review.pictures import Region
from curator.settings.keys import ScreenName
from curator.tui.lines import TextLines, packed, safe
from curator.tui.preparation import PreparedScreen, Viewport
from curator.tui.screens.base import ReviewScreen, bindings_for
from curator.tui.widgets.bars import KeyBar, headline
from curator.tui.widgets.picture import Picture, Zoom

P = ParamSpec("P")
T = TypeVar("T")

_LULL = 0.3
"""Seconds after a picture was drawn in which the terminal is left alone."""


class SingleScreen(ReviewScreen):
    """Shows the session's current image and turns keys into decisions."""

    SCREEN = ScreenName.SINGLE
    BINDINGS: ClassVar[list[BindingType]] = bindings_for(ScreenName.SINGLE)
    CSS = """
    SingleScreen #headline { height: 1; dock: top; }
    SingleScreen #reasons { height: 1; }
    SingleScreen #body { height: 1fr; }
    SingleScreen #panel { width: 33; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.card: ImageCard | None = None
        self.prepared: PreparedScreen | None = None
        self._visible_since: float | None = None
        self._has_text = False
        self._reasons: list[str] = []
        self._zoom = Zoom()
        self._explained: set[str] = set()

    def compose(self) -> ComposeResult:
        yield TextLines(id="headline")
        with Horizontal(id="body"):
            yield Picture(self.review.graphics, id="picture")
            yield TextLines(id="panel")
        yield TextLines(id="reasons")
        yield KeyBar()

    @property
    def settled(self) -> bool:
        """Whether the picture, or a sentence in its place, is on the screen."""
        return self._visible_since is not None or self._has_text

    @property
    def _is_there(self) -> bool:
        """Whether there is still something to draw on: the reviewer may have left meanwhile."""
        return bool(self.query(Picture)) and bool(self.query(KeyBar))

    def on_mount(self) -> None:
        self._lay_out()

    def on_resize(self, event: events.Resize) -> None:
        """Everything fits the new size; the same image stays."""
        if self.is_mounted:
            self._lay_out()

    def _lay_out(self) -> None:
        panel = self.query_one("#panel")
        panel.display = not self.too_small
        panel.styles.width = panel_width(self.size.width, self.size.height)
        reasons = self._reason_line()
        reasons.display = bool(self.review.class_names.reasons)
        reasons.styles.height = len(self._reason_strips())
        self.call_after_refresh(self._viewport_is_set)

    async def _viewport_is_set(self) -> None:
        if not self._is_there:
            return
        if self.too_small:
            self._visible_since = None
            self._has_text = True
            self.query_one(Picture).say(self.small_text(), self.inks.warning)
            return
        self.review.preparation.set_viewport(self._viewport())
        if self.card is None:
            await self.show_current()
        else:
            await self._show(self.card)

    def redraw(self) -> None:
        self.call_after_refresh(self._viewport_is_set)

    def _viewport(self) -> Viewport:
        picture, panel = self.query_one(Picture).size, self.query_one("#panel").size
        app = self.review
        return Viewport(
            replace(app.canvas(picture.width, picture.height), graphics=app.graphics),
            app.canvas(panel.width, panel.height),
            self.inks,
        )

    async def show_current(self) -> None:
        """Show what the session has in front now, or say that there is nothing more."""
        try:
            card = await self.review.preparation.in_session(self.review.session.current)
        except CuratorError as error:
            self.card = None
            self._say([error.problem, error.advice])
            return
        await self._show(card)

    async def _show(self, card: ImageCard | None) -> None:
        if not self._is_there:
            return
        if self.card is None or card is None or card.image_id != self.card.image_id:
            self._reasons.clear()
        self.card, self.prepared, self._visible_since = card, None, None
        self._has_text = False
        session, preparation = self.review.session, self.review.preparation
        if card is None and session.is_complete:
            self.review.exit(session.summary())
            return
        if session.queue not in self._explained and card is not None:
            self._explained.add(session.queue)
            preparation.explained = card.image_id
        elif card is None or card.image_id != preparation.explained:
            preparation.explained = None
        if card is None:
            ways = "ctrl+p opens another one, u takes the last decision back, q leaves."
            back = "esc returns to the image where you were." if session.is_aside else ""
            through = "" if session.source.view.is_empty else " through this filter"
            self._say([f"The queue has no more images for you{through}.", ways, back])
            return
        if not preparation.is_ready(card):
            self._draw_lines()
        prepared = await preparation.prepared(card)
        if self.card is card and self._is_there:
            self._draw(prepared)
            if self.is_current:  # under another screen it is not seen; `on_screen_resume` follows
                self.call_after_refresh(self._seen, card)

    def _draw(self, prepared: PreparedScreen) -> None:
        self.prepared = prepared
        picture = self.query_one(Picture)
        if prepared.frame is not None:
            picture.show(prepared.frame)
        else:
            shot = prepared.shot
            picture.say(
                [
                    "This picture cannot be shown.",
                    f"{shot.reason}: {safe(shot.problem)}",
                    "space skips it, Q sets it aside in quarantine.",
                ],
                self.inks.warning,
            )
        self.query_one("#panel", TextLines).show(prepared.panel)
        self._draw_lines()

    def _seen(self, card: ImageCard) -> None:
        """From now on keys are about this picture; the next ones can be made ready."""
        if self.card is card:
            self._visible_since = time.monotonic()
            self.review.preparation.look_ahead()
            if self.review.graphics.kitty:
                self.set_timer(_LULL, partial(self._prepare_next, card))

    @work
    async def _prepare_next(self, card: ImageCard) -> None:
        """While a picture is looked at, the terminal can take in the next one."""
        if self.card is not card:
            return
        following = await self.review.preparation.next_frame()
        if following is not None and self.card is card and self._is_there:
            self.query_one(Picture).prepare(following)

    def _say(self, sentences: list[str]) -> None:
        if not self._is_there:
            return
        self._has_text = True
        self.query_one(Picture).say(sentences, self.inks.plain)
        self.query_one("#panel", TextLines).show([])
        self._draw_lines()

    def _draw_lines(self) -> None:
        app, inks = self.review, self.inks
        session = app.session
        viewed = session.source.view.describe(app.class_names)
        title = f"{session.queue}  {viewed}".rstrip()
        warning = "esc returns" if session.is_aside else ""
        if self._zoom.is_on:
            warning = f"zoom {self._zoom.times:.3g}×: arrows move, z closer, esc out"
        line = headline(title, session.pace, self.size.width, inks, warning=warning)
        self.query_one("#headline", TextLines).show([line])
        self._reason_line().show(self._reason_strips())
        self.query_one(KeyBar).show_keys(
            self.SCREEN,
            app.keys,
            app.label_name,
            inks,
            blind=session.blind,
            first=("keep_only", "keep_all") if session.queue == "duplicates" else (),
        )

    def _reason_line(self) -> TextLines:
        return self.query_one("#reasons", TextLines)

    def _reason_strips(self) -> list[Strip]:
        inks = self.inks
        groups = [[(" why? ", inks.muted)]]
        for number, reason in enumerate(self.review.class_names.reasons[:9], start=1):
            selected = reason in self._reasons
            text = f"{'[' if selected else ' '}{safe(reason)}{']' if selected else ' '}"
            ink = inks.marked if selected else inks.plain
            groups.append([(f" {number} ", inks.key), (text, ink)])
        return packed(groups, self.size.width, inks.ground)

    @property
    def _counts(self) -> bool:
        """Whether the key that is handled was pressed while the picture could be seen."""
        if self.card is None or self._visible_since is None:
            return False
        return self.review.key_pressed_at >= self._visible_since

    async def _decide(self, label: Label) -> None:
        if not self._counts:
            return
        if self.prepared is not None and self.prepared.frame is None:
            self.notify(
                "This picture cannot be shown, so it cannot be labelled: skip it with space,"
                " or set it aside with Q.",
                severity="warning",
            )
            return
        decision = await self._settle(
            self.review.session.decide, label, reasons=tuple(self._reasons)
        )
        await self.show_current()
        self._announce_news(decision)

    async def _settle(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Deal with the image at the session; if that fails it can be tried again.

        Keys that were pressed meanwhile do not count for whatever shows then.
        """
        self._visible_since = None
        try:
            return await self.review.preparation.in_session(work, *args, **kwargs)
        except CuratorError:
            self._visible_since = time.monotonic()
            raise

    @work
    async def _announce_news(self, decision: RecordedDecision) -> None:
        """Say what others said about the image meanwhile; the decision is kept."""
        app = self.review
        news = await app.preparation.in_session(app.session.news_about, decision)
        if news is None:
            return
        sentence = meanwhile(news, decision, app.class_names.name_of)
        self.notify(sentence, title="Changed meanwhile", markup=False, timeout=8)

    async def action_positive(self) -> None:
        await self._decide(Label.POSITIVE)

    async def action_negative(self) -> None:
        await self._decide(Label.NEGATIVE)

    async def action_unsure(self) -> None:
        await self._decide(Label.UNSURE)

    def action_reason(self, number: int) -> None:
        """Add or drop a reason for the coming decision."""
        reasons = self.review.class_names.reasons
        if number > len(reasons):
            self.notify("There is no such reason; the setting classes.reasons lists them.")
            return
        reason = reasons[number - 1]
        if reason in self._reasons:
            self._reasons.remove(reason)
        else:
            self._reasons.append(reason)
        self._draw_lines()

    async def action_skip(self) -> None:
        if self._counts:
            await self._settle(self.review.session.skip)
            await self.show_current()

    async def action_undo(self) -> None:
        undone = await self.review.preparation.in_session(self.review.session.undo)
        if undone is None:
            self.notify(NOTHING_TO_UNDO)
            return
        await self.show_current()
        sentence = taken_back(undone, self.review.class_names.name_of)
        self.notify(sentence, markup=False, timeout=3)

    async def action_left(self) -> None:
        """The image before, or to the left in a zoomed one."""
        await self._move(-1, (-1, 0))

    async def action_right(self) -> None:
        """The image after, or to the right in a zoomed one."""
        await self._move(1, (1, 0))

    async def action_up(self) -> None:
        """Up in a zoomed image."""
        await self._move(0, (0, -1))

    async def action_down(self) -> None:
        """Down in a zoomed image."""
        await self._move(0, (0, 1))

    async def _move(self, step: int, direction: tuple[int, int]) -> None:
        if self._zoom.is_on:
            self._zoom.move(*direction)
            await self._draw_zoomed()
        elif step:
            card = await self.review.preparation.in_session(self.review.session.move, step)
            if card is not None:
                await self._show(card)

    async def action_zoom(self) -> None:
        """Closer by a step; after the closest the whole again."""
        if self.card is None or self.prepared is None or self.prepared.frame is None:
            return
        self._zoom.closer()
        await self._draw_zoomed()

    async def on_picture_marked(self, event: Picture.Marked) -> None:
        """Look at the region that was marked."""
        shown = self.prepared
        if shown is not None and shown.frame is not None and shown.card.width and shown.card.height:
            image = (shown.card.width, shown.card.height)
            self._zoom.mark(event.corners, image, self._viewport().picture.pixels)
            await self._draw_zoomed()

    async def _draw_zoomed(self) -> None:
        card, preparation, region = self.card, self.review.preparation, self._zoom.region
        preparation.region = region
        if card is None:
            return
        if not self._zoom.is_on:
            self._draw(await preparation.prepared(card))
        else:
            canvas = self._viewport().picture
            drawn = await preparation.in_session(preparation.close_up, card, region, canvas)
            if drawn is not None and self.card is card:
                self.query_one(Picture).show(drawn)
            self._draw_lines()
        self.set_timer(_LULL, partial(self._look_ahead_at, region))

    def _look_ahead_at(self, region: Region) -> None:
        """Make the same part of the next images ready, once the reviewer stays there."""
        if self._zoom.region is region:
            self.review.preparation.look_ahead()

    async def action_back(self) -> None:
        """Out of the zoom; from similar images to where one was."""
        if self._zoom.is_on:
            self._zoom.out()
            await self._draw_zoomed()
        elif self.review.session.is_aside:
            await self.review.leave_similar()

    def action_flag(self) -> None:
        if self.card is not None:
            self.review.ask_flag(self.card, self.show_current)

    def action_filter(self) -> None:
        self.review.ask_filter(self.show_current)

    async def action_similar(self) -> None:
        if self.card is not None:
            await self.review.choose_similar(self.card)

    def action_history(self) -> None:
        from curator.tui.screens.history import HistoryScreen

        if self.card is not None:
            self.app.push_screen(HistoryScreen(self.card))

    def action_sheet(self) -> None:
        from curator.tui.screens.sheet import SheetScreen

        side = None if self.card is None else self.card.suggestion
        self.app.push_screen(SheetScreen(side or Label.POSITIVE))

    def action_dashboard(self) -> None:
        from curator.tui.screens.dashboard import DashboardScreen

        self.app.push_screen(DashboardScreen())

    async def action_open(self) -> None:
        if self.card is not None:
            self.notify(await self.review.open_outside(self.card), markup=False)

    async def action_quarantine(self) -> None:
        """Set a picture aside that cannot be shown."""
        card, prepared = self.card, self.prepared
        if card is None or prepared is None:
            return
        shot = prepared.shot
        if shot.reason is None:
            self.notify("This picture can be shown: label it, or flag it with f.")
            return
        await self._settle(self.review.session.set_aside, card.image_id, shot.reason, shot.problem)
        await self.show_current()

    async def action_keep_only(self) -> None:
        """Drop the near-duplicates of this image."""
        if not self._counts:
            return
        dropped = await self._settle(self.review.session.keep_only)
        self.notify(f"Dropped {count(dropped, 'near-duplicate')}; u takes it back.", timeout=3)
        await self.show_current()

    async def action_keep_all(self) -> None:
        """Leave this image and its near-duplicates as they are."""
        if self._counts:
            await self._settle(self.review.session.keep_all)
            await self.show_current()

    async def on_screen_resume(self) -> None:
        """Back from another screen: what was done there may have changed the image."""
        if self.card is not None and not self.too_small:
            await self.show_current()


def panel_width(wide: int, high: int) -> int:
    """Columns for the panel: what a picture of usual proportions leaves, within reason."""
    return max(28, min(72, wide - int(2.05 * high)))
