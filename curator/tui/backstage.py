"""What goes on behind the screens: the desk, the pictures, and work done ahead.

The desk has a thread of its own, in which everything happens in the order of the keys;
pictures, panels and neighbours of the coming images are made by a few others. The
interface's thread only awaits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from textual.strip import Strip

from curator.base.vocabulary import CurrentLabel
from curator.catalogue.sources import list_sources
from curator.review.cards import NO_CONTEXT, ImageCard, load_context, load_image_cards
from curator.review.labelled_neighbours import LabelledNeighbour, LabelledNeighbours
from curator.review.pictures import LoadedPicture, Pictures, Region
from curator.review.session import ReviewSession
from curator.tui.ahead import Ahead
from curator.tui.frames import Canvas, RenderedFrame, frame, half_cell_rows
from curator.tui.lines import Inks
from curator.tui.widgets.panel import Names, Panel, Thumb
from curator.workspace import Workspace

AHEAD = 6
"""Images that are made ready before they are asked for."""
KEPT = 14
"""Images that are kept ready, those before among them."""
_THUMBS_KEPT = 600

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Viewport:
    """The room on the screen: where the picture goes, where the panel, and in which inks."""

    picture: Canvas
    panel: Canvas
    inks: Inks


@dataclass(frozen=True, slots=True)
class PreparationRequest:
    """A card on a stage; what was said about the image meanwhile makes it another wish."""

    image_id: int
    event_id: int | None
    blind: bool
    stage_number: int
    card: ImageCard = field(compare=False)
    stage: Viewport = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedScreen:
    """Everything of one image that the screen shows; `frame` is None where there is none."""

    card: ImageCard
    shot: LoadedPicture
    frame: RenderedFrame | None
    panel: Sequence[Strip]


class Preparation:
    """Owns the threads and the open files of one session; `close` ends them."""

    def __init__(self, workspace: Workspace, desk: ReviewSession) -> None:
        settings = workspace.settings
        self.workspace = workspace
        self.desk = desk
        self.pictures = Pictures(workspace)
        self.neighbours = LabelledNeighbours(workspace)
        self.names = Names(
            positive=settings.classes.positive,
            negative=settings.classes.negative,
            reasons=settings.classes.reasons,
            promote_above=settings.promotion.promote_above,
            promote_below=settings.promotion.promote_below,
        )
        self._desk_thread = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._search_thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._ahead: Ahead[PreparationRequest, PreparedScreen] = Ahead(self._prepare, keep=KEPT)
        self._thumbs: OrderedDict[tuple[int, int, int], Sequence[Strip]] = OrderedDict()
        self._thumb_lock = threading.Lock()
        self._stage: Viewport | None = None
        self._stage_number = 0

    def close(self) -> None:
        """End the threads, let go of claims and files."""
        self._ahead.close()
        self._search_thread.shutdown(wait=True, cancel_futures=True)
        self._desk_thread.shutdown(wait=True)
        self.desk.close()
        self.pictures.close()

    async def at_desk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do something at the desk, after everything that was asked of it before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._desk_thread, lambda: work(*args, **kwargs))

    def set_stage(self, stage: Viewport) -> None:
        """Everything is made anew for another size or other inks."""
        if stage != self._stage:
            self._stage = stage
            self._stage_number += 1
            with self._thumb_lock:
                self._thumbs.clear()
            self._ahead.clear()

    def look_ahead(self) -> None:
        """Make the coming images ready, and find more where they run out."""
        self._ahead.want([self._wish(card) for card in self.desk.ahead(AHEAD)])
        if self.desk.runs_low:
            self._search_thread.submit(self._refill)

    async def prepared(self, card: ImageCard) -> PreparedScreen:
        """The image made ready, at once if that was done ahead."""
        wish = self._wish(card)
        ready = self._ahead.ready(wish)
        if ready is not None:
            return ready
        return await asyncio.wrap_future(self._ahead.get(wish))

    def close_up(self, card: ImageCard, region: Region, canvas: Canvas) -> RenderedFrame | None:
        """A part of an image, enlarged; None if it cannot be shown."""
        shot = self.pictures.close_up(card, region, *canvas.pixels)
        return None if shot.pixels is None else frame(shot.pixels, canvas)

    def sources(self) -> tuple[str, ...]:
        """The names of all sources."""
        return tuple(source.name for source in list_sources(self.workspace.catalogue))

    async def next_frame(self) -> RenderedFrame | None:
        """The picture after the current one, as soon as it is ready; None if there is none."""
        following = self.desk.ahead(2)[1:]
        return (await self.prepared(following[0])).frame if following else None

    def is_ready(self, card: ImageCard) -> bool:
        """Whether the image can be shown without waiting."""
        return self._ahead.ready(self._wish(card)) is not None

    def forget(self, card: ImageCard) -> None:
        """Make an image ready anew, as when its file has come back."""
        self._ahead.forget(self._wish(card))

    def thumb(self, card: ImageCard, canvas: Canvas) -> Sequence[Strip]:
        """A small picture in half cells; an empty field with a word where there is none."""
        key = (card.image_id, canvas.columns, canvas.rows)
        with self._thumb_lock:
            known = self._thumbs.get(key)
            if known is not None:
                self._thumbs.move_to_end(key)
                return known
        shot = self.pictures.shot(card, canvas.columns * 2, canvas.rows * 4)
        made = _no_picture(canvas) if shot.pixels is None else half_cell_rows(shot.pixels, canvas)
        with self._thumb_lock:
            self._thumbs[key] = made
            while len(self._thumbs) > _THUMBS_KEPT:
                self._thumbs.popitem(last=False)
        return made

    def _refill(self) -> None:
        if self.desk.runs_low:
            self.desk.refill()

    def _wish(self, card: ImageCard) -> PreparationRequest:
        if self._stage is None:
            raise RuntimeError("the stage is not set")
        return PreparationRequest(
            card.image_id, card.event_id, card.blind, self._stage_number, card, self._stage
        )

    def _prepare(self, wish: PreparationRequest) -> PreparedScreen:
        card, stage = wish.card, wish.stage
        shot = self.pictures.shot(card, *stage.picture.pixels)
        drawn = None if shot.pixels is None else frame(shot.pixels, stage.picture)
        context = NO_CONTEXT if card.blind else load_context(self.workspace, card.image_id)
        thumbs = {} if card.blind else self._neighbour_thumbs(card, stage)
        panel = Panel(self.names, stage.inks, stage.panel)
        lines = panel.lines(card, context, thumbs, shot.remark)
        return PreparedScreen(card=card, shot=shot, frame=drawn, panel=lines)

    def _neighbour_thumbs(
        self, card: ImageCard, stage: Viewport
    ) -> Mapping[CurrentLabel, Sequence[Thumb]]:
        canvas, count = _thumb_canvas(stage.panel)
        if canvas is None:
            return {}
        found = self.neighbours.nearest(card.image_id, count)
        ids = [one.image_id for some in found.values() for one in some]
        cards = load_image_cards(self.workspace, ids, why={}, blind=False) if ids else {}

        def thumb(one: LabelledNeighbour) -> Thumb:
            return Thumb(strips=self.thumb(cards[one.image_id], canvas), likeness=one.likeness)

        return {
            side: [thumb(one) for one in some if one.image_id in cards]
            for side, some in found.items()
        }


def _thumb_canvas(panel: Canvas) -> tuple[Canvas | None, int]:
    """How large the small pictures beside a large one are, and how many of each class."""
    count = 3 if panel.columns >= 48 else 2
    columns = (panel.columns - 2 - count) // count
    rows = min(columns // 2, (panel.rows - 12) // 2)
    if rows < 3:
        return None, 0
    return Canvas(min(columns, rows * 2 + 2), rows, panel.depth, panel.ground), count


def _no_picture(canvas: Canvas) -> Sequence[Strip]:
    from rich.style import Style

    from curator.tui.lines import row

    blank = row((), canvas.columns, Style())
    middle = row([("no picture".center(canvas.columns), Style())], canvas.columns, Style())
    return [middle if number == canvas.rows // 2 else blank for number in range(canvas.rows)]
