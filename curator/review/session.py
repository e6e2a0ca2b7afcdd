"""A review session: images are put before one person, and every answer is stored at once.

A decision is in the catalogue before the next image is handed out. Images that are handed
out are claimed for a while, so that several people never get the same one; what others or a
round said meanwhile is reported, and no decision is lost over it. Everything here may be
called from several threads; the slow search for more images holds nobody up.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

from curator.base.progress import SILENT, Progress
from curator.base.values import Decision
from curator.base.vocabulary import CurrentLabel, EventKind, Label, Method, Origin, Quarantine
from curator.catalogue import claims
from curator.catalogue.duplicates import near_duplicate_ids
from curator.catalogue.exclusions import exclude, restore
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
from curator.errors import LostConnectionError, UsageError
from curator.review.cards import ImageCard, load_image_cards, without_hints
from curator.review.claims import SessionClaims
from curator.review.filter import WHOLE, QueueView
from curator.review.image_source import ImageSource
from curator.review.outcome import RecordedDecision, SessionSummary, Undone
from curator.review.pace import Pace
from curator.review.selection import NO_EXAMPLES, SimilarTo
from curator.review.undo import UndoHistory
from curator.workspace import Workspace

BATCH = 24
"""Images that are claimed at a time."""
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How long a decision waits each time before it is sent again to a server that was lost."""
LOW = 12
"""With fewer open images than this, more are looked for."""


class ReviewSession:
    """A session of one reviewer on one queue after the other. Used as a context manager.

    Its state is in three parts: the claims on images of the present queue, the history of
    what was done, and the pace. It ends after `most` decisions. Raises UsageError for a queue
    that does not exist or cannot be reviewed, and what the queue raises when images are first
    asked for.
    """

    def __init__(
        self,
        workspace: Workspace,
        queue: str,
        *,
        actor: str,
        examples: SimilarTo = NO_EXAMPLES,
        seed: int | None = None,
        view: QueueView = WHOLE,
        goal: int | None = None,
        most: int | None = None,
        progress: Progress = SILENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.workspace = workspace
        self.actor = actor
        self.session = new_session()
        self.pace = Pace(started_at=clock(), goal=goal)
        self._most = most
        self._seed = workspace.settings.runtime.seed if seed is None else seed
        self._progress = progress
        self._clock = clock
        self._lock = threading.RLock()
        self._sent_in_vain = False
        self._searching = threading.Lock()
        self._history = UndoHistory()
        self._revisited: set[int] = set()
        self._origins: list[tuple[SessionClaims, list[int]]] = []
        self._claims = self._open(queue, examples, view)
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
        # Where the server is away, claims end with this process, or by themselves.
        with suppress(LostConnectionError):
            self._claims.release()

    def resume(self) -> None:
        """Claim again what is to come, after `close`; what others hold now is left to them.

        The image in front stays, because its reviewer may have decided about it already.
        """
        with self._lock:
            self._return_to(self._history.ahead(4 * BATCH))

    @property
    def source(self) -> ImageSource:
        """Where the images come from: the queue, its view, whether it is blind."""
        return self._claims.source

    @property
    def queue(self) -> str:
        return self.source.queue

    @property
    def blind(self) -> bool:
        """Whether scores, classes and neighbours are hidden."""
        return self.source.blind

    @property
    def explanation(self) -> str:
        """What the queue holds, in a few words."""
        return self.source.explanation

    def report_to(self, progress: Progress) -> None:
        """Report long work to another listener from now on."""
        self._progress = self.source.progress = progress

    def choose(
        self, queue: str, *, examples: SimilarTo = NO_EXAMPLES, view: QueueView = WHOLE
    ) -> None:
        """Go on with another queue, or with another view of it; decisions stay.

        Between open and blind work there is no way back: what was seen blind must not be
        seen with its score, nor the other way round.
        """
        following = self._open(queue, examples, view)
        following.search()  # what is wrong with the queue is raised before anything is let go
        with self._lock:
            if queue != "similar":
                self._origins.clear()
            apart = following.source.blind or self.blind
            self._claims.release()
            self._claims = following
            if apart:
                self._history = UndoHistory()
                self._revisited.clear()
            else:
                self._history.clear_coming()

    def choose_similar(self, image_id: int) -> None:
        """Go on with the images most like one; `leave_similar` returns to where this began."""
        origin = (self._claims, self._history.ahead(4 * BATCH))
        self.choose("similar", examples=SimilarTo(like=(image_id,)))
        self._origins.append(origin)

    @property
    def is_aside(self) -> bool:
        """Whether `leave_similar` has a queue to return to."""
        return bool(self._origins)

    def leave_similar(self) -> bool:
        """Return to the queue and the image where `choose_similar` began; False if there is none.

        What others have claimed meanwhile is left to them, but for that image.
        """
        with self._lock:
            if not self._origins:
                return False
            self._claims.release()
            self._claims, coming = self._origins.pop()
            self._return_to(coming)
            return True

    def _return_to(self, coming: Sequence[int]) -> None:
        """Claim again what was coming; the first stays, as its reviewer may have decided on it."""
        claimed = self._claims.claim(coming)
        self._history.return_to(list(dict.fromkeys([*coming[:1], *claimed])))

    def current(self) -> ImageCard | None:
        """The image to look at; None when the queue has nothing more for this session.

        An image that somebody else has settled meanwhile is passed over, unless the
        reviewer has gone back to it.
        """
        while True:
            with self._lock:
                image_id = self._history.current
                revisited = self._history.is_settled or image_id in self._revisited
                if self.is_complete and not revisited:
                    return None
                if image_id is not None:
                    card = self._fresh(image_id)
                    if revisited or not self.source.is_settled(card):
                        return self._shown(card)
                    self._history.drop()
                    continue
            if not self.refill():
                return None

    def ahead(self, count: int) -> list[ImageCard]:
        """The current card and those that follow, as far as they are loaded."""
        with self._lock:
            coming = self._history.ahead(count)
            return [self._shown(self._claims.card(i)) for i in coming if i in self._claims]

    @property
    def is_complete(self) -> bool:
        """Whether as many decisions were made as it was opened for."""
        return self._most is not None and self.pace.decided >= self._most

    @property
    def runs_low(self) -> bool:
        """Whether it is time for `refill`."""
        with self._lock:
            return self._history.open_count() < LOW and not self._claims.exhausted

    def refill(self) -> bool:
        """Look for more images and claim them; False if the queue has nothing new."""
        with self._searching:
            while True:
                with self._lock:
                    present = self._claims
                # The search takes long on a large pool, so it runs without the lock ...
                drawn = present.draw(BATCH)
                if not drawn:
                    return False
                with self._lock:
                    # ... and another queue may have been chosen in the meantime.
                    if present is self._claims:
                        ready = present.claim_drawn(drawn, keep=self._history.ahead(4 * BATCH))
                        if self._history.add(ready):
                            return True

    def move(self, step: int) -> ImageCard | None:
        """Look at the image before or after without deciding; None at either end."""
        with self._lock:
            moved = self._history.move(step)
            image_id = self._history.current
            return self._shown(self._fresh(image_id)) if moved and image_id is not None else None

    def decide(
        self, label: Label, *, reasons: Sequence[str] = (), note: str = ""
    ) -> RecordedDecision:
        """Record a decision about the current image; it is on disk when this returns."""
        self._begin()
        with self._lock:
            card = self._current_card()
            method = Method.BLIND if self.blind else Method.SINGLE
            event_id = self._record([(card, label)], method, reasons, note)
            self._history.settle([card.image_id], [event_id], label)
            self._count([(card, label)])
            return RecordedDecision(
                image_id=card.image_id, label=label, event_id=event_id, seen_event=card.newest_event
            )

    def decide_page(self, decisions: Sequence[tuple[ImageCard, Label]]) -> None:
        """Record a whole contact sheet, all of it or nothing; `undo` takes it back whole."""
        if not decisions:
            return
        if self.blind:
            raise UsageError("A blind sample has no contact sheet.", "Answer image by image.")
        with self._lock:
            last = self._record(decisions, Method.SHEET, (), "")
            first = last - len(decisions) + 1
            ids = [card.image_id for card, _ in decisions]
            self._history.settle_page(ids, range(first, last + 1))
            self._count(decisions)

    def skip(self) -> None:
        """Leave the current image undecided; it does not come again in this session."""
        self._begin()
        with self._lock:
            image_id = self._current_card().image_id
            self.skip_on_page([image_id])
            self._history.settle([image_id], [])

    def skip_on_page(self, image_ids: Sequence[int]) -> None:
        with self._lock:
            for image_id in image_ids:
                self.source.skip(image_id, actor=self.actor, session=self.session)
            self.pace.counts["skipped"] += len(image_ids)

    def undo(self) -> Undone | None:
        """Take the newest step back, also one of an earlier session; None if there is none."""
        with self._lock:
            step = self._history.last_step()
            if step is None:
                return self._undo_earlier()
            if step.event_ids:
                self._retract(step.event_ids)
                self.pace.undo_last(len(step.event_ids))
            elif step.dropped is not None:
                restored = restore(
                    self.workspace.catalogue, step.dropped, actor=self.actor, session=self.session
                )
                self.pace.counts["dropped"] -= len(restored)
            elif step.set_aside is not None:
                for image_id in step.image_ids:
                    self.source.put_back(image_id, step.set_aside)
                self.pace.counts["set_aside"] -= len(step.image_ids)
            else:
                for image_id in step.image_ids:
                    self.source.unskip(image_id, session=self.session)
                self.pace.counts["skipped"] -= len(step.image_ids)
            self._history.back()  # only now: what could not be undone is the newest step still
            self._revisited.update(step.image_ids)
            return Undone(
                image_ids=step.image_ids,
                label=step.label,
                set_aside=step.set_aside is not None,
                dropped=step.dropped is not None,
            )

    def flag(self, image_id: int, note: str) -> str:
        """Mark an image with a note for somebody to look at; what was done, in a sentence.

        On a flagged image the note replaces the other one, and an empty one clears the flag.
        """
        with self._lock:
            card = load_image_cards(self.workspace.catalogue, [image_id], why={}).get(image_id)
            is_flagged = card is not None and card.flag is not None
            is_cleared = is_flagged and not note
            claims.flag(
                self.workspace.catalogue,
                image_id,
                note=None if is_cleared else note,
                actor=self.actor,
            )
            if image_id in self._claims:
                why = {image_id: self._claims.card(image_id).why}
                self._claims.load([image_id], why=why, keep=self._history.ahead(4 * BATCH))
            self.pace.counts["flagged"] += not is_flagged
            if is_cleared:
                return "The flag is cleared."
            return "The note of the flag is changed." if is_flagged else "Flagged."

    def set_aside(self, image_id: int, reason: Quarantine, detail: str) -> None:
        """Put an image that cannot be shown into quarantine, and go on; `undo` takes it out."""
        with self._lock:
            if self.source.set_aside(image_id, reason, detail):
                self.pace.counts["set_aside"] += 1
                self._history.put_aside(image_id, reason)
            elif self._history.current == image_id:
                self._history.drop()

    def keep_only(self) -> int:
        """Keep the current image and drop its near-duplicates; how many were dropped.

        They leave the pool, by events; `undo` takes that back. Raises DataError while an audit is
        open, UsageError for an image without near-duplicates.
        """
        self._begin()
        with self._lock:
            keeper_id, *mates = self._near_duplicates()
            step, dropped = exclude(
                self.workspace.catalogue,
                dict.fromkeys(mates, keeper_id),
                actor=self.actor,
                session=self.session,
            )
            self._history.keep_one([keeper_id, *mates], step)
            self.pace.counts["dropped"] += len(dropped)
            return len(dropped)

    def keep_all(self) -> int:
        """Leave the current image and its near-duplicates as they are; how many images these are.

        They do not come again in this session.
        """
        self._begin()
        with self._lock:
            image_ids = self._near_duplicates()
            self.skip_on_page(image_ids)
            self._history.settle(image_ids, [])
            return len(image_ids)

    def _near_duplicates(self) -> list[int]:
        """The current image, and the usable images of its near-duplicate group."""
        current = self._current_card().image_id
        groups = near_duplicate_ids(self.workspace.catalogue, of_image=current)
        mates = [image_id for ids in groups.values() for image_id in ids if image_id != current]
        if not mates or self.blind:
            raise UsageError(
                "This image has no near-duplicates.",
                "`curator review duplicates` shows those that have some.",
            )
        return [current, *mates]

    def news_about(self, decision: RecordedDecision) -> HistoryEvent | None:
        """What a round or somebody else said about an image while it was looked at.

        The decision stands all the same; labelling blind, nothing is said, and nothing of events
        that do not stand any more.
        """
        if self.blind:
            return None
        news = [
            event
            for event in history(self.workspace.catalogue, decision.image_id)
            if decision.seen_event < event.event_id < decision.event_id
            and not (event.retracted or event.undone)
            and event.session != self.session
            and event.kind in (EventKind.PROMOTE, EventKind.REVOKE, EventKind.ASSERT)
        ]
        return news[-1] if news else None

    def page(self, side: CurrentLabel, size: int) -> list[ImageCard]:
        """A contact sheet: images of the queue that have or lean to a class, in its order, claimed.

        What was dealt with in this session does not come again, though its queue may still have it.
        """
        with self._lock:
            leave_out = QueueFilter(session=self.session, queue=self.queue)
            settled = self._history.settled
            image_ids = self.source.page(side, size + len(settled), leave_out)
            open_ids = [image_id for image_id in image_ids if image_id not in settled]
            claimed = self._claims.claim(open_ids[:size])
            self._load(claimed)
            cards = [self._claims.card(i) for i in claimed if i in self._claims]
            return [card for card in cards if not self.source.is_settled(card)]

    def summary(self) -> SessionSummary:
        return self.pace.summary(self.queue)

    def _open(self, queue: str, examples: SimilarTo, view: QueueView) -> SessionClaims:
        """A queue of which nothing is claimed yet."""
        source = ImageSource(
            self.workspace,
            queue,
            examples=examples,
            view=view,
            seed=self._seed,
            progress=self._progress,
        )
        return SessionClaims(
            self.workspace, source, actor=self.actor, session=self.session, clock=self._clock
        )

    def _begin(self) -> None:
        """Nothing is claimed before the first image is asked for."""
        if self._history.current is None:
            self.current()

    def _current_card(self) -> ImageCard:
        image_id = self._history.current
        if image_id is None:
            raise UsageError("There is no image to decide on.", "Choose another queue.")
        return self._claims.card(image_id)

    def _shown(self, card: ImageCard) -> ImageCard:
        return without_hints(card) if self.blind else card

    def _load(self, image_ids: Sequence[int]) -> None:
        self._claims.load(image_ids, why={}, keep=self._history.ahead(4 * BATCH))

    def _fresh(self, image_id: int) -> ImageCard:
        return self._claims.fresh(image_id, keep=self._history.ahead(4 * BATCH))

    def _record(
        self,
        decisions: Sequence[tuple[ImageCard, Label]],
        method: Method,
        reasons: Sequence[str],
        note: str,
    ) -> int:
        """Record decisions in one transaction; the id of the last event.

        When the server of the catalogue is lost they are kept and sent again for a while, and
        recorded once also where only its answer was lost. Raises LostConnectionError after that;
        the image is then still the current one.
        """
        catalogue = self.workspace.catalogue
        newest = max(card.newest_event for card, _ in decisions)
        for pause in (*RETRY_SECONDS, None):
            try:
                recorded = record_decisions(
                    catalogue,
                    [
                        Decision(
                            image_id=card.image_id,
                            label=label,
                            origin=self.source.origin,
                            method=method,
                            reasons=tuple(reasons),
                            note=note,
                            probability=card.score,
                        )
                        for card, label in decisions
                    ],
                    actor=self.actor,
                    session=self.session,
                    splits=self.workspace.settings.splits,
                    seed=self.workspace.settings.runtime.seed,
                    unless_after=newest if self._sent_in_vain else None,
                )
                self._claims.renew(self._history.ahead(2 * BATCH))
                break
            except LostConnectionError:
                self._sent_in_vain = True
                if pause is None:
                    raise
                time.sleep(pause)
        self._sent_in_vain = False
        assert recorded.last_event_id is not None  # only imports may be left unrecorded
        return recorded.last_event_id

    def _count(self, decisions: Sequence[tuple[ImageCard, Label]]) -> None:
        at = self._clock()
        for label, number in Counter(label for _, label in decisions).items():
            self.pace.decide(at, label, number)
        for card, label in decisions:
            suggestion = None if self.blind else card.suggestion
            self.pace.compare(label, suggestion, promoted=card.origin is Origin.PROMOTED)

    def _undo_earlier(self) -> Undone | None:
        """Take back the newest decision of an earlier session of the same kind of work."""
        catalogue = self.workspace.catalogue
        newest = own_decisions(catalogue, self.actor, origin=self.source.origin)
        if not newest or not self.source.may_undo(newest[0].image_id):
            return None
        open_sessions = {session for _, session in claims.live_sessions(catalogue)}
        if newest[0].session in open_sessions - {self.session}:
            # Somebody of the same name may be at work there, and it is their newest decision.
            raise UsageError(
                "Your newest decision was made in another window, which is still open.",
                "Take it back there, or leave the review there first.",
            )
        step = sheet_decisions(catalogue, newest[0])
        image_ids = tuple(decision.image_id for decision in reversed(step))
        self._retract([decision.event_id for decision in step])
        if newest[0].method is not Method.SHEET:
            self._revisited.update(image_ids)
            self._load(image_ids)
            self._claims.claim(image_ids)
            self._history.reopen(image_ids)
        label = "page" if len(step) > 1 else str(newest[0].label)
        return Undone(image_ids=image_ids, label=label, earlier_session=True)

    def _retract(self, event_ids: Sequence[int]) -> None:
        retracted = retract(
            self.workspace.catalogue, event_ids, actor=self.actor, session=self.session
        )
        self.pace.counts["undone"] += retracted
