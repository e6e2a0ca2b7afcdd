"""One reviewer's desk: images are put before them, and every answer is kept at once.

A decision is in the catalogue before the next image is handed out. Images that are put on
the desk are claimed for a while, so that several people never get the same one; what
others or a round said meanwhile is told, and no decision is lost over it. Everything here
may be called from several threads; the slow search for more images holds nobody up.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from curator.base.progress import SILENT, Progress
from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Quarantine
from curator.catalogue import claims
from curator.catalogue.labels import (
    HistoryEvent,
    history,
    own_decisions,
    record_decisions,
    retract,
    sheet_decisions,
)
from curator.catalogue.leases import new_session
from curator.catalogue.queues import QueueFilter
from curator.errors import UsageError
from curator.review.cards import ImageCard, without_hints
from curator.review.claims import SessionClaims
from curator.review.filter import WHOLE, QueueView
from curator.review.image_source import ImageSource, open_image_source
from curator.review.outcome import RecordedDecision, SessionSummary, Undone
from curator.review.pace import Pace
from curator.review.reserve import UnclaimedImages
from curator.review.tally import SessionCounts
from curator.review.undo import UndoHistory, UndoStep
from curator.workspace import Workspace

BATCH = 24
"""Images that are claimed at a time."""
LOW = 12
"""With fewer open images than this, more are looked for."""


class ReviewSession:
    """A session of one reviewer on one queue after the other. Used as a context manager.

    Raises UsageError for a queue that does not exist or that cannot be reviewed, and what
    the queue raises when images are first asked for.
    """

    def __init__(
        self,
        workspace: Workspace,
        queue: str,
        *,
        actor: str,
        like: int | None = None,
        seed: int | None = None,
        view: QueueView = WHOLE,
        goal: int | None = None,
        progress: Progress = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workspace = workspace
        self.actor = actor
        self.session = new_session()
        self._seed = workspace.settings.runtime.seed if seed is None else seed
        self._progress = progress
        self._clock = clock
        self._lock = threading.RLock()
        self._searching = threading.Lock()
        self._trail = UndoHistory()
        self._holding = SessionClaims(workspace, actor=actor, session=self.session, clock=clock)
        self._tally = SessionCounts(started_at=clock(), goal=goal)
        self._returned: set[int] = set()
        self._reserve = UnclaimedImages()
        self._supply = self._new_supply(queue, like, view)
        claims.release_the_dead(workspace.catalogue)

    def __enter__(self) -> ReviewSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others have what was not decided."""
        self._holding.release()

    @property
    def pace(self) -> Pace:
        """The rhythm of the session."""
        return self._tally.pace

    @property
    def queue(self) -> str:
        """The name of the queue."""
        return self._supply.queue

    @property
    def like(self) -> int | None:
        """The image that `similar` started from."""
        return self._supply.like

    @property
    def view(self) -> QueueView:
        """The filter and order in force."""
        return self._supply.view

    @property
    def blind(self) -> bool:
        """Whether scores, classes and neighbours are hidden."""
        return self._supply.blind

    @property
    def explanation(self) -> str:
        """What the queue holds, in a few words."""
        return self._supply.explanation

    def choose(self, queue: str, *, like: int | None = None, view: QueueView = WHOLE) -> None:
        """Go on with another queue, or with another view of it; decisions stay.

        Between open and blind work there is no way back: what was seen blind must not be
        seen with its score, nor the other way round.
        """
        supply, reserve = self._new_supply(queue, like, view), UnclaimedImages()
        reserve.fill(lambda size: supply.find(size, self._leave_out(supply)))
        with self._lock:
            apart = supply.blind or self._supply.blind
            self._supply, self._reserve = supply, reserve
            self._holding.release()
            if apart:
                self._trail = UndoHistory()
                self._returned.clear()
            else:
                self._trail.clear_coming()

    def current(self) -> ImageCard | None:
        """The image to look at; None when the queue has nothing more for this session.

        An image that somebody else has settled meanwhile is passed over, unless the
        reviewer has gone back to it.
        """
        while True:
            with self._lock:
                image_id = self._trail.current
                if image_id is not None:
                    card = self._fresh(image_id)
                    revisited = self._trail.is_settled or image_id in self._returned
                    if revisited or not self._supply.is_settled(card):
                        return self._shown(card)
                    self._trail.drop()
                    continue
            if not self.refill():
                return None

    def ahead(self, count: int) -> list[ImageCard]:
        """The current card and those that follow, as far as they are known."""
        with self._lock:
            coming = [one for one in self._trail.ahead(count) if one in self._holding]
            return [self._shown(self._holding.card(one)) for one in coming]

    @property
    def runs_low(self) -> bool:
        """Whether it is time for `refill`."""
        with self._lock:
            return self._trail.open_count() < LOW and not self._reserve.exhausted

    def refill(self) -> bool:
        """Look for more images and claim them; False if the queue has nothing new."""
        with self._searching:
            while True:
                with self._lock:
                    supply, reserve = self._supply, self._reserve
                leave_out = self._leave_out(supply)
                found = reserve.draw(BATCH, lambda size: supply.find(size, leave_out))  # noqa: B023
                if not found:
                    return False
                with self._lock:
                    if supply is not self._supply:
                        continue
                    if self._put_out(found):
                        return True

    def move(self, step: int) -> ImageCard | None:
        """Look at the image before or after without deciding; None at either end."""
        with self._lock:
            moved = self._trail.move(step)
            image_id = self._trail.current
            return self._shown(self._fresh(image_id)) if moved and image_id is not None else None

    def decide(
        self, label: Label, *, reasons: Sequence[str] = (), note: str = ""
    ) -> RecordedDecision:
        """Record a decision about the current image; it is on disk when this returns."""
        self._begin()
        with self._lock:
            card = self._current_card()
            event_id = self._record([(card, label)], self._method, reasons, note)
            self._trail.settle([card.image_id], [event_id], label)
            self._count([(card, label)])
            return RecordedDecision(
                image_id=card.image_id, label=label, event_id=event_id, seen_event=card.event_id
            )

    def decide_page(self, verdicts: Sequence[tuple[ImageCard, Label]]) -> None:
        """Record a whole contact sheet, all of it or nothing; `undo` takes it back whole."""
        if not verdicts:
            return
        if self.blind:
            raise UsageError("A blind sample has no contact sheet.", "Answer image by image.")
        with self._lock:
            last = self._record(verdicts, Method.SHEET, (), "")
            first = last - len(verdicts) + 1
            ids = [card.image_id for card, _ in verdicts]
            self._trail.settle_page(ids, range(first, last + 1))
            self._count(verdicts)

    def skip(self) -> None:
        """Leave the current image undecided; it does not come again in this session."""
        self._begin()
        with self._lock:
            image_id = self._current_card().image_id
            self._skip([image_id])
            self._trail.settle([image_id], [])

    def undo(self) -> Undone | None:
        """Take the newest step back, also one of an earlier session; None if there is none."""
        with self._lock:
            step = self._trail.last_step()
            if step is None:
                return self._undo_earlier()
            if step.event_ids:
                self._take_back(step.event_ids)
            else:
                self._put_back(step)
            self._trail.back()  # only now: what could not be undone is the newest step still
            self._returned.update(step.image_ids)
            return Undone(
                image_ids=step.image_ids, label=step.label, set_aside=step.set_aside is not None
            )

    def flag(self, image_id: int, note: str) -> None:
        """Mark an image with a note for somebody to look at."""
        claims.flag(self.workspace.catalogue, image_id, note=note, actor=self.actor)
        self._tally.count("flagged")

    def set_aside(self, image_id: int, reason: Quarantine, detail: str) -> None:
        """Put an image that cannot be shown into quarantine, and go on; `undo` takes it out."""
        with self._lock:
            if self._supply.set_aside(image_id, reason, detail):
                self._tally.count("set aside")
                self._trail.put_aside(image_id, reason)
            elif self._trail.current == image_id:
                self._trail.drop()

    def news_about(self, verdict: RecordedDecision) -> HistoryEvent | None:
        """What a round or somebody else said about an image while it was looked at.

        The decision stands all the same; labelling blind, nothing is told.
        """
        if self.blind:
            return None
        events = history(self.workspace.catalogue, verdict.image_id)
        said = (EventKind.PROMOTE, EventKind.REVOKE, EventKind.ASSERT)
        others = [
            event
            for event in events
            if (verdict.seen_event or 0) < event.event_id < verdict.event_id
            and event.session != self.session
            and event.kind in said
        ]
        return others[-1] if others else None

    def page(self, side: CurrentLabel, size: int) -> list[ImageCard]:
        """A contact sheet: images that the model puts in a class, surest first, claimed."""
        with self._lock:
            ids = self._supply.page(side, size, self._leave_out(self._supply))
            mine = self._holding.claim(ids, self.queue)
            self._load(mine, {})
            return [self._holding.card(one) for one in mine if one in self._holding]

    def skip_on_page(self, image_ids: Sequence[int]) -> None:
        """Leave images of a contact sheet undecided for this session."""
        with self._lock:
            self._skip(image_ids)

    def summary(self) -> SessionSummary:
        """How the session went so far."""
        return self._tally.summary(self.queue)

    @property
    def _method(self) -> Method:
        return Method.BLIND if self.blind else Method.SINGLE

    def _new_supply(self, queue: str, like: int | None, view: QueueView) -> ImageSource:
        return open_image_source(
            self.workspace, queue, like=like, view=view, seed=self._seed, progress=self._progress
        )

    def _leave_out(self, supply: ImageSource) -> QueueFilter:
        return QueueFilter(session=self.session, queue=supply.queue)

    def _begin(self) -> None:
        """Nothing is claimed before the first image is asked for."""
        if self._trail.current is None:
            self.current()

    def _current_card(self) -> ImageCard:
        image_id = self._trail.current
        if image_id is None:
            raise UsageError("There is no image to decide on.", "Choose another queue.")
        return self._holding.card(image_id)

    def _shown(self, card: ImageCard) -> ImageCard:
        return without_hints(card) if self.blind else card

    def _put_out(self, found: dict[int, str]) -> list[int]:
        """Claim images and lay those on the desk that nobody else has."""
        mine = self._holding.claim(list(found), self.queue)
        self._reserve.refuse(found.keys() - set(mine))
        self._load(mine, found)
        return self._trail.add(
            one
            for one in mine
            if one in self._holding and not self._supply.is_settled(self._holding.card(one))
        )

    def _load(self, image_ids: Sequence[int], why: Mapping[int, str]) -> None:
        self._holding.load(image_ids, why=why, keep=self._trail.ahead(4 * BATCH))

    def _fresh(self, image_id: int) -> ImageCard:
        return self._holding.fresh(image_id, keep=self._trail.ahead(4 * BATCH))

    def _record(
        self,
        verdicts: Sequence[tuple[ImageCard, Label]],
        method: Method,
        reasons: Sequence[str],
        note: str,
    ) -> int:
        done = record_decisions(
            self.workspace.catalogue,
            [
                Decision(
                    image_id=card.image_id,
                    label=label,
                    origin=self._supply.origin,
                    method=method,
                    reasons=tuple(reasons),
                    note=note,
                    probability=card.score,
                )
                for card, label in verdicts
            ],
            actor=self.actor,
            session=self.session,
            splits=self.workspace.settings.splits,
            seed=self.workspace.settings.runtime.seed,
        )
        self._holding.renew(self._trail.ahead(2 * BATCH), self.queue)
        assert done.last_event_id is not None  # only imports may be left unrecorded
        return done.last_event_id

    def _count(self, verdicts: Sequence[tuple[ImageCard, Label]]) -> None:
        self._tally.decide(self._clock(), Counter(label for _, label in verdicts))
        if self.blind:
            return
        for card, label in verdicts:
            promoted = card.origin is Origin.PROMOTED
            self._tally.compare(label, card.suggestion, promoted=promoted)

    def _skip(self, image_ids: Sequence[int]) -> None:
        for image_id in image_ids:
            self._supply.skip(image_id, actor=self.actor, session=self.session)
        self._tally.count("skipped", len(image_ids))

    def _put_back(self, step: UndoStep) -> None:
        """Let images that were skipped or set aside come again."""
        for image_id in step.image_ids:
            if step.set_aside is not None:
                self._supply.put_back(image_id, step.set_aside)
            else:
                self._supply.unskip(image_id, session=self.session)
        self._tally.count("set aside" if step.set_aside else "skipped", -len(step.image_ids))

    def _undo_earlier(self) -> Undone | None:
        origin = self._supply.origin
        newest = own_decisions(self.workspace.catalogue, self.actor, origin=origin)
        if not newest or not self._supply.may_undo(newest[0].image_id):
            return None
        step = sheet_decisions(self.workspace.catalogue, newest[0])
        ids = tuple(one.image_id for one in reversed(step))
        self._take_back([one.event_id for one in step], counted=False)
        if newest[0].method is not Method.SHEET:
            self._returned.update(ids)
            self._load(ids, {})
            self._holding.claim(ids, self.queue)
            self._trail.reopen(ids)
        label = "page" if len(step) > 1 else str(newest[0].label)
        return Undone(image_ids=ids, label=label, earlier_session=True)

    def _take_back(self, event_ids: Sequence[int], *, counted: bool = True) -> None:
        retracted = retract(
            self.workspace.catalogue, event_ids, actor=self.actor, session=self.session
        )
        self._tally.count("undone", retracted)
        if counted:
            self.pace.undo_last(len(event_ids))
