"""Where a desk's images come from, and what an answer about them is.

A supply is a queue seen through a reviewer's filter and order, or a blind sample. It says
which images come next, whether they are labelled blind, and what becomes of those that are
skipped or cannot be shown. A desk asks it for a few hundred at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import CurrentLabel, Origin, Quarantine
from curator.catalogue import claims, queues
from curator.catalogue.files import end_quarantine, quarantine_images
from curator.catalogue.queues import BaseQueue, BrowseQuery, QueueFilter
from curator.catalogue.sources import find_source
from curator.errors import UsageError
from curator.review.audit_source import AuditSource
from curator.review.cards import ImageCard
from curator.review.filter import WHOLE, QueueView
from curator.review.mixing import EXPLANATION
from curator.review.mixture import borderline
from curator.review.queues import BLIND_ORIGINS, QUEUES, Request, choose
from curator.settings.file import nearest
from curator.workspace import Workspace

SIFTED = 4_096
"""Images of a queue in feature space that a filter is laid on."""

REVIEWED = {name: text for name, text in QUEUES.items() if name != "quarantine"}
"""The queues that can be reviewed."""

_BASES = {
    "borderline": BaseQueue.UNLABELLED,
    "informative": BaseQueue.WITHOUT_HUMAN,
    "promoted": BaseQueue.PROMOTED,
    "random": BaseQueue.UNLABELLED,
    "conflict": BaseQueue.CONFLICT,
    "calibration": BaseQueue.WITHOUT_HUMAN,
}
_ORDERED = {"borderline": "undecided", "promoted": "undecided"}


class ImageSource(Protocol):
    """What a desk needs of a queue or a sample."""

    @property
    def queue(self) -> str:
        """Its name, under which claims and skips are kept."""

    @property
    def like(self) -> int | None:
        """The image that it started from, for `similar`."""

    @property
    def view(self) -> QueueView:
        """The filter and order in force; the empty one where none is allowed."""

    @property
    def origin(self) -> Origin:
        """What decisions about its images are recorded as."""

    @property
    def blind(self) -> bool:
        """Whether scores, classes, names and neighbours are hidden; decisions say so, too."""

    @property
    def explanation(self) -> str:
        """What it holds, in a few words for the line above the picture."""

    def find(self, size: int, leave_out: QueueFilter) -> Mapping[int, str]:
        """Its first open images as of now, each with why it is there (or nothing).

        Those that others have claimed and those skipped by this session may be left out.
        Raises what is wrong with it, DataError or UsageError.
        """

    def is_settled(self, card: ImageCard) -> bool:
        """Whether an image that was found need not be looked at any more."""

    def page(self, side: CurrentLabel, size: int, leave_out: QueueFilter) -> Sequence[int]:
        """Images that the current scores put in a class, for a contact sheet."""

    def skip(self, image_id: int, *, actor: str, session: str) -> None:
        """An image was left undecided."""

    def unskip(self, image_id: int, *, session: str) -> None:
        """That was taken back."""

    def set_aside(self, image_id: int, reason: Quarantine, detail: str) -> bool:
        """An image cannot be shown; whether that was new."""

    def put_back(self, image_id: int, reason: Quarantine) -> None:
        """That was taken back."""

    def may_undo(self, image_id: int) -> bool:
        """Whether a decision of an earlier session about this image may be taken back here."""


class QueueSource:
    """The images of one queue. Raises UsageError if there is no such queue to review."""

    def __init__(
        self,
        workspace: Workspace,
        queue: str,
        *,
        seed: int,
        like: int | None = None,
        view: QueueView = WHOLE,
        progress: Progress = SILENT,
    ) -> None:
        _refuse_unknown(queue, view)
        self.queue = queue
        self.like = like
        self.view = view
        self.origin = BLIND_ORIGINS.get(queue, Origin.REVIEW)
        self.blind = queue in BLIND_ORIGINS
        self._workspace = workspace
        self._seed = seed
        self._progress = progress
        self._look = self._look_of(view)
        self._begun_at = queues.newest_event(workspace.catalogue) if queue == "suspect" else 0

    @property
    def explanation(self) -> str:
        """What the queue holds."""
        if self.queue == "borderline" and self.view.is_empty:
            return EXPLANATION
        return REVIEWED[self.queue]

    def find(self, size: int, leave_out: QueueFilter) -> Mapping[int, str]:
        """The first images of the queue, within the view."""
        request = self._request(size, leave_out)
        if not self.view.is_empty:
            return dict.fromkeys(self._seen_through_view(request), "")
        if self.queue == "borderline":
            return borderline(request)
        return dict.fromkeys(choose(self.queue, request), "")

    def is_settled(self, card: ImageCard) -> bool:
        """Whether a person has labelled it; a suspect label must have been looked at since."""
        if self.queue == "suspect":
            return (card.event_id or 0) > self._begun_at
        return card.settled

    def page(self, side: CurrentLabel, size: int, leave_out: QueueFilter) -> Sequence[int]:
        """Images that the current scores put in a class, surest first, within the view."""
        catalogue = self._workspace.catalogue
        if self.view.is_empty:
            return queues.leaning(catalogue, side, size=size, leave_out=leave_out)
        order = self.view.order or ("-score" if side is CurrentLabel.POSITIVE else "score")
        look = dataclasses.replace(self._look, side=side, order=order)
        return queues.browse(
            catalogue, BaseQueue.WITHOUT_HUMAN, look, size=size, leave_out=leave_out
        )

    def skip(self, image_id: int, *, actor: str, session: str) -> None:
        """It does not come again in this session."""
        claims.skip(
            self._workspace.catalogue, image_id, queue=self.queue, actor=actor, session=session
        )

    def unskip(self, image_id: int, *, session: str) -> None:
        """It may come again."""
        claims.unskip(self._workspace.catalogue, image_id, queue=self.queue, session=session)

    def set_aside(self, image_id: int, reason: Quarantine, detail: str) -> bool:
        """Put it into quarantine."""
        return quarantine_images(self._workspace.catalogue, {image_id: (reason, detail)}) == 1

    def put_back(self, image_id: int, reason: Quarantine) -> None:
        """Take it out of quarantine again."""
        end_quarantine(self._workspace.catalogue, image_id, reason)

    def may_undo(self, image_id: int) -> bool:
        """One's own decisions can always be taken back."""
        return True

    def _request(self, size: int, leave_out: QueueFilter) -> Request:
        return Request(
            workspace=self._workspace,
            size=size,
            seed=self._seed,
            like=self.like,
            leave_out=leave_out,
            progress=self._progress,
        )

    def _seen_through_view(self, request: Request) -> Sequence[int]:
        catalogue = self._workspace.catalogue
        base = _BASES.get(self.queue)
        if base is None:
            wide = self._request(SIFTED, request.leave_out)
            return queues.matching(catalogue, choose(self.queue, wide), self._look)
        return queues.browse(
            catalogue, base, self._look, size=request.size, leave_out=request.leave_out
        )

    def _look_of(self, view: QueueView) -> BrowseQuery:
        source_id = None
        if view.source is not None:
            source = find_source(self._workspace.catalogue, view.source)
            if source is None:
                raise UsageError(f"There is no source `{view.source}`.", "See `curator status`.")
            source_id = source.source_id
        return BrowseQuery(
            source_id=source_id,
            side=None if view.side is None else CurrentLabel(view.side),
            low=view.low,
            high=view.high,
            round=view.round,
            order=view.order or _ORDERED.get(self.queue),
        )


def open_image_source(
    workspace: Workspace,
    queue: str,
    *,
    seed: int,
    like: int | None = None,
    view: QueueView = WHOLE,
    progress: Progress = SILENT,
) -> ImageSource:
    """The supply of this name. Raises UsageError if there is none that can be reviewed."""
    if queue == "audit":
        _refuse_unknown(queue, view)
        return AuditSource(workspace)
    return QueueSource(workspace, queue, seed=seed, like=like, view=view, progress=progress)


def _refuse_unknown(queue: str, view: QueueView) -> None:
    if queue == "quarantine":
        raise UsageError(
            "Images in quarantine cannot be opened, so there is nothing to review.",
            "List them with `curator queue quarantine`.",
        )
    if queue not in REVIEWED:
        near = nearest(queue, REVIEWED)
        hint = f"Did you mean `{near}`?" if near else f"Choose from {', '.join(REVIEWED)}."
        raise UsageError(f"There is no queue `{queue}` to review.", hint)
    if queue in BLIND_ORIGINS and not view.is_empty:
        raise UsageError(
            f"`{queue}` is a random sample, so it cannot be filtered or sorted.",
            "Choose another queue, or no filter.",
        )
