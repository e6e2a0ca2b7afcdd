"""The threads behind the screens: one for the session, others that make pictures ahead.

The session has a thread of its own, in which everything happens in the order of the keys;
pictures, panels and neighbours of the coming images are made by a few others, within a
fixed memory. The interface's thread only awaits.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Generic, ParamSpec, TypeVar

from rich.style import Style
from textual.strip import Strip

from curator.base.vocabulary import CurrentLabel
from curator.catalogue.sources import list_sources
from curator.review.cards import NO_CONTEXT, ImageCard, load_context, load_image_cards
from curator.review.labelled_neighbours import LabelledNeighbours
from curator.review.pictures import EVERYTHING, LoadedPicture, Pictures, Region
from curator.review.session import ReviewSession
from curator.tui.lines import Inks, row
from curator.tui.pictures import Canvas, RenderedFrame, cell_rows, frame
from curator.tui.widgets.panel import Panel, Thumb
from curator.workspace import Workspace

AHEAD = 6
"""Images that are made ready before they are asked for."""
AHEAD_CLOSE = 2
"""The same while a part of them is looked at."""
KEPT = 14
"""Images that are kept ready, those before among them."""
_THUMBS_KEPT = 600

Key = TypeVar("Key", bound=Hashable)
Product = TypeVar("Product")
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
    """A card on a viewport; a label event in between makes it another request."""

    image_id: int
    event_id: int | None
    blind: bool
    flag: str | None
    explanation: str
    region: Region
    viewport_number: int
    card: ImageCard = field(compare=False)
    viewport: Viewport = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedScreen:
    """Everything of one image that the screen shows; `frame` is None where there is none."""

    card: ImageCard
    shot: LoadedPicture
    frame: RenderedFrame | None
    panel: Sequence[Strip]


class Preparation:
    """Owns the threads and the open files of one session; `close` ends them."""

    def __init__(self, workspace: Workspace, session: ReviewSession) -> None:
        self.workspace = workspace
        self.session = session
        self.pictures = Pictures(workspace)
        self.neighbours = LabelledNeighbours(workspace)
        # One thread: whatever keys ask for happens in the order in which they were pressed.
        self._session_thread = ThreadPoolExecutor(1, thread_name_prefix="session")
        self._search_thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._ahead: Ahead[PreparationRequest, PreparedScreen] = Ahead(self._prepare, keep=KEPT)
        self._thumbs: OrderedDict[tuple[int, int, int], Sequence[Strip]] = OrderedDict()
        self._thumb_lock = threading.Lock()
        self.region = EVERYTHING
        """The part of an image that is looked at; it stays when the next one comes."""
        self.explained: int | None = None
        """The image whose panel says what its queue holds: the first one of the queue."""
        self._viewport: Viewport | None = None
        self._viewport_number = 0

    def close(self) -> None:
        """End the threads, let go of claims and files."""
        self._ahead.close()
        self._search_thread.shutdown(wait=True, cancel_futures=True)
        self._session_thread.shutdown(wait=True)
        self.session.close()
        self.pictures.close()

    async def in_session(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in the session's thread, after everything that was sent there before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._session_thread, lambda: work(*args, **kwargs))

    def set_viewport(self, viewport: Viewport) -> None:
        """Everything is made anew for another size or other inks."""
        if viewport != self._viewport:
            self._viewport = viewport
            self._viewport_number += 1
            with self._thumb_lock:
                self._thumbs.clear()
            self._ahead.clear()

    def look_ahead(self) -> None:
        """Make the coming images ready, and find more where they run out."""
        # Close looks take the whole file, which is slower, and not all of them are come to.
        count = AHEAD if self.region is EVERYTHING else AHEAD_CLOSE
        self._ahead.prepare([self._request(card) for card in self.session.ahead(count)])
        if self.session.runs_low:
            self._search_thread.submit(self._refill)

    async def prepared(self, card: ImageCard) -> PreparedScreen:
        """The image made ready, at once if that was done ahead."""
        request = self._request(card)
        ready = self._ahead.ready(request)
        if ready is not None:
            return ready
        return await asyncio.wrap_future(self._ahead.get(request))

    def close_up(self, card: ImageCard, region: Region, canvas: Canvas) -> RenderedFrame | None:
        """A part of an image, enlarged; None if it cannot be shown."""
        shot = self.pictures.close_up(card, region, *canvas.pixels)
        return None if shot.pixels is None else frame(shot.pixels, canvas)

    def source_names(self) -> tuple[str, ...]:
        return tuple(source.name for source in list_sources(self.workspace.catalogue))

    async def next_frame(self) -> RenderedFrame | None:
        """The picture after the current one, as soon as it is ready; None if there is none."""
        following = self.session.ahead(2)[1:]
        return (await self.prepared(following[0])).frame if following else None

    def is_ready(self, card: ImageCard) -> bool:
        """Whether the image can be shown without waiting."""
        return self._ahead.ready(self._request(card)) is not None

    def forget(self, card: ImageCard) -> None:
        """Make an image ready anew, as when its file has come back."""
        self._ahead.forget(self._request(card))

    def thumb(self, card: ImageCard, canvas: Canvas) -> Sequence[Strip]:
        """A small picture in cells; an empty field with a word where there is none."""
        key = (card.image_id, canvas.columns, canvas.rows)
        with self._thumb_lock:
            stored = self._thumbs.get(key)
            if stored is not None:
                self._thumbs.move_to_end(key)
                return stored
        shot = self.pictures.shot(card, canvas.columns * 2, canvas.rows * 4)
        thumb = _no_picture(canvas) if shot.pixels is None else cell_rows(shot.pixels, canvas)
        with self._thumb_lock:
            self._thumbs[key] = thumb
            while len(self._thumbs) > _THUMBS_KEPT:
                self._thumbs.popitem(last=False)
        return thumb

    def _refill(self) -> None:
        if self.session.runs_low:
            self.session.refill()

    def _request(self, card: ImageCard) -> PreparationRequest:
        if self._viewport is None:
            raise RuntimeError("the viewport is not set")
        return PreparationRequest(
            card.image_id, card.event_id, card.blind, card.flag,
            self.session.explanation if card.image_id == self.explained else "",
            self.region, self._viewport_number, card, self._viewport,
        )  # fmt: skip

    def _prepare(self, request: PreparationRequest) -> PreparedScreen:
        card, viewport = request.card, request.viewport
        room = viewport.picture.pixels
        if request.region is EVERYTHING:
            shot = self.pictures.shot(card, *room)
        else:
            shot = self.pictures.close_up(card, request.region, *room, keep=False)
        drawn = None if shot.pixels is None else frame(shot.pixels, viewport.picture)
        context = (
            NO_CONTEXT if card.blind else load_context(self.workspace.catalogue, card.image_id)
        )
        panel = Panel(self.workspace.settings, viewport.inks, viewport.panel)
        explained = panel.explanation(request.explanation)
        above = panel.lines(card, replace(context, events=()), {}, shot.remark, explained)
        below = replace(viewport.panel, rows=viewport.panel.rows - len(above))
        thumbs = {} if card.blind else self._neighbour_thumbs(card, below)
        lines = panel.lines(card, context, thumbs, shot.remark, explained)
        return PreparedScreen(card=card, shot=shot, frame=drawn, panel=lines)

    def _neighbour_thumbs(
        self, card: ImageCard, room: Canvas
    ) -> Mapping[CurrentLabel, Sequence[Thumb]]:
        canvas, count = _thumb_canvas(room)
        if canvas is None:
            return {}
        neighbours = self.neighbours.nearest(card.image_id, count)
        ids = [image_id for side in neighbours.values() for image_id in side]
        cards = load_image_cards(self.workspace.catalogue, ids, why={}) if ids else {}
        return {
            label: [self.thumb(cards[image_id], canvas) for image_id in side if image_id in cards]
            for label, side in neighbours.items()
        }


class Ahead(Generic[Key, Product]):
    """Makes and stores products by key, off the caller's thread.

    What is no longer coming is dropped before it is begun, and of what was made only the
    newest stay, so that a queue of a million images costs no more than one of fifty. All
    methods are called from one thread.
    """

    def __init__(self, make: Callable[[Key], Product], *, keep: int, workers: int = 2) -> None:
        self._make = make
        self._keep = keep
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ahead")
        self._futures: OrderedDict[Key, Future[Product]] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, keys: Sequence[Key]) -> None:
        """Make these, in this order; older requests that have not begun are dropped."""
        with self._lock:
            coming = set(keys)
            for key, future in list(self._futures.items()):
                if key not in coming and not future.done() and future.cancel():
                    del self._futures[key]
            for key in keys:
                self._start(key)
            self._trim(coming)

    def get(self, key: Key) -> Future[Product]:
        """The product, perhaps still in the making; it is begun if nobody asked for it before."""
        with self._lock:
            return self._start(key)

    def ready(self, key: Key) -> Product | None:
        """The product if it is there already and was made without an error."""
        with self._lock:
            future = self._futures.get(key)
        if future is None or not future.done() or future.cancelled() or future.exception():
            return None
        return future.result()

    def forget(self, key: Key) -> None:
        """Make it anew when it is asked for again."""
        with self._lock:
            self._futures.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            for future in self._futures.values():
                future.cancel()
            self._futures.clear()

    def close(self) -> None:
        """Stop; what is being made is finished first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        """How many products are stored or in the making."""
        return len(self._futures)

    def _start(self, key: Key) -> Future[Product]:
        future = self._futures.get(key)
        if future is None:
            future = self._pool.submit(self._make, key)
            self._futures[key] = future
        self._futures.move_to_end(key)
        return future

    def _trim(self, coming: set[Key]) -> None:
        surplus = len(self._futures) - max(self._keep, len(coming))
        for key in [key for key in self._futures if key not in coming][: max(0, surplus)]:
            del self._futures[key]


def _thumb_canvas(room: Canvas) -> tuple[Canvas | None, int]:
    """How large the small pictures in this part of the panel are, and how many of each class."""
    count = 3 if room.columns >= 48 else 2
    columns = (room.columns - 2 - count) // count
    rows = min(columns // 2, (room.rows - 3) // 2)  # below a blank line and a heading each
    if rows < 3:
        return None, 0
    return replace(room, columns=min(columns, rows * 2 + 2), rows=rows), count


def _no_picture(canvas: Canvas) -> Sequence[Strip]:
    blank = row((), canvas.columns, Style())
    middle = row([("no picture".center(canvas.columns), Style())], canvas.columns, Style())
    return [middle if number == canvas.rows // 2 else blank for number in range(canvas.rows)]
