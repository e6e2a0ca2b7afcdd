"""Reviewing one image after the other, without a screen.

Each decision is in the catalogue before the next image is handed out, so that nothing is
lost whenever the reviewer stops, and several of them do not get the same image.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from curator.catalogue import claims
from curator.catalogue.images import ImageDetails, image_details
from curator.catalogue.labels import SplitShares, record_decisions, retract
from curator.catalogue.queues import QueueFilter
from curator.core.progress import SILENT, Progress
from curator.core.records import Decision
from curator.core.words import Label, Method, Origin, Standing
from curator.errors import UsageError
from curator.review.session import Deck
from curator.workflows.queue import QueueRow, Request, choose, queue_rows
from curator.workflows.workspace import Workspace

BATCH = 24
"""Images that a session claims at a time."""

SEARCH = 240
"""Images that a session asks its queue for at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """The image to look at, and what stands for it now.

    `label` is the user's name of the standing label (or `unsure`, `conflict`), empty
    without one; `origin` says where that comes from.
    """

    row: QueueRow
    label: str
    origin: str


class Review:
    """One reviewer's session on one queue. Used as a context manager.

    Raises what `queue` raises, when the first image is asked for.
    """

    def __init__(
        self,
        workspace: Workspace,
        queue: str,
        *,
        actor: str,
        like: int | None = None,
        seed: int | None = None,
        progress: Progress = SILENT,
    ) -> None:
        if queue == "quarantine":
            raise UsageError(
                "Images in quarantine cannot be opened, so there is nothing to review.",
                "List them with `curator queue quarantine`.",
            )
        self._workspace = workspace
        self._queue = queue
        self._actor = actor
        self._like = like
        self._seed = workspace.settings.runtime.seed if seed is None else seed
        self._progress = progress
        self._session = uuid.uuid4().hex
        self._deck = Deck()
        self._reserve: list[int] = []
        self._offered: set[int] = set()
        self._returned: set[int] = set()
        self._searched = 0

    def __enter__(self) -> Review:
        """Nothing is claimed before the first image is asked for."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let others have what was not decided."""
        claims.release(self._workspace.catalogue, session=self._session)

    @property
    def decided(self) -> int:
        """Decisions of this session that stand."""
        return self._deck.decided

    def current(self) -> ReviewItem | None:
        """The image to look at; None when the queue has nothing more for this session."""
        while True:
            if self._deck.current is None:
                self._draw()
            image_id = self._deck.current
            if image_id is None:
                return None
            image = image_details(self._workspace.catalogue, [image_id])[image_id]
            if image_id in self._returned or not _settled(image):
                return self._item_of(image)
            self._deck.drop()

    def decide(self, label: Label, *, reasons: Sequence[str] = (), note: str = "") -> None:
        """Record a decision about the current image, and go on once it is on disk."""
        item = self._item()
        splits = self._workspace.settings.splits
        done = record_decisions(
            self._workspace.catalogue,
            [
                Decision(
                    image_id=item.row.image_id,
                    label=label,
                    origin=Origin.REVIEW,
                    method=Method.SINGLE,
                    reasons=tuple(reasons),
                    note=note,
                    probability=item.row.probability,
                )
            ],
            actor=self._actor,
            session=self._session,
            shares=SplitShares(
                calibration=splits.calibration_share,
                test=splits.test_share,
                seed=self._workspace.settings.runtime.seed,
            ),
        )
        self._deck.settle(done.last_event_id)

    def skip(self) -> None:
        """Leave the current image undecided; it does not come again in this session."""
        claims.skip(
            self._workspace.catalogue,
            self._item().row.image_id,
            queue=self._queue,
            actor=self._actor,
            session=self._session,
        )
        self._deck.settle(None)

    def undo(self) -> ReviewItem | None:
        """Go back to the last image and take its decision back; None at the beginning."""
        step = self._deck.back()
        if step is None:
            return None
        self._returned.add(step.image_id)
        if step.event_id is not None:
            retract(
                self._workspace.catalogue,
                [step.event_id],
                actor=self._actor,
                session=self._session,
            )
        return self.current()

    def _item(self) -> ReviewItem:
        item = self.current()
        if item is None:
            raise UsageError("There is no image to decide on.", "Choose another queue.")
        return item

    def _draw(self) -> None:
        """Put images into the deck that nobody else has, and that still need a decision."""
        while self._deck.current is None:
            if not self._reserve and not self._search():
                return
            batch, self._reserve = self._reserve[:BATCH], self._reserve[BATCH:]
            claimed = claims.claim(
                self._workspace.catalogue,
                batch,
                queue=self._queue,
                actor=self._actor,
                session=self._session,
            )
            self._deck.add(claimed)

    def _search(self) -> bool:
        """Fill the reserve from the queue; False if the queue has nothing new."""
        self._searched += SEARCH
        ids = choose(
            self._queue,
            Request(
                workspace=self._workspace,
                size=self._searched,
                seed=self._seed,
                like=self._like,
                leave_out=QueueFilter(session=self._session, queue=self._queue),
                progress=self._progress,
            ),
        )
        self._reserve = [one for one in ids if one not in self._offered]
        self._offered.update(self._reserve)
        return bool(self._reserve)

    def _item_of(self, image: ImageDetails) -> ReviewItem:
        names = self._workspace.settings.classes
        return ReviewItem(
            row=queue_rows(self._workspace, [image.image_id])[0],
            label=names.name_of(image.standing) if image.standing else "",
            origin=str(image.origin or ""),
        )


def _settled(image: ImageDetails) -> bool:
    """Whether a person has labelled it, perhaps since the queue was drawn up."""
    people = image.origin not in (None, Origin.PROMOTED)
    return people and image.standing is not Standing.CONFLICT
