"""Where a session's images come from: a queue under a filter and an order, or a blind sample.

A source says which images come next, whether they are labelled blind, and what becomes of
those that are skipped or cannot be shown. The open audit is one more queue: what is skipped
there or cannot be shown is not replaced by another image, it counts as wrong unless somebody
still answers it, and answers can be taken back only while that audit is open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from curator.audits.audit import begin
from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import CurrentLabel, Origin, Quarantine
from curator.catalogue import audit_answers, audits, claims, queues
from curator.catalogue.duplicates import duplicate_queue
from curator.catalogue.files import end_quarantine, quarantine_images
from curator.catalogue.labels import current
from curator.catalogue.queues import QueueFilter
from curator.errors import UsageError
from curator.intake.queue_origin import BLIND_ORIGINS, FORMER_NAMES
from curator.review.cards import ImageCard
from curator.review.filter import WHOLE, QueueView
from curator.review.queues import (
    QUEUES,
    QueueRequest,
    choose,
    look_alikes,
    odd,
    refuse_view,
    refuse_while_audited,
)
from curator.review.selection import NO_EXAMPLES, SimilarTo
from curator.settings.file import nearest
from curator.workspace import Workspace

REVIEWED = {name: text for name, text in QUEUES.items() if name != "quarantine"}
"""The queues that can be reviewed."""

_LABELLED = ("suspect", "conflict", "duplicates", "flagged")
"""Queues that show labelled images, too."""


class ImageSource:
    """The images of one queue.

    Raises UsageError if there is no such queue to review, DataError if it is `audit` and none
    is open, or if an audit is open that is about the images of another queue.
    """

    def __init__(
        self,
        workspace: Workspace,
        queue: str,
        *,
        seed: int,
        examples: SimilarTo = NO_EXAMPLES,
        view: QueueView = WHOLE,
        progress: Progress = SILENT,
    ) -> None:
        queue = FORMER_NAMES.get(queue, queue)
        _refuse_unknown(queue, view)
        refuse_while_audited(workspace.catalogue, queue)
        self.queue = queue
        self.examples = examples
        self.view = view
        self.origin = BLIND_ORIGINS.get(queue, Origin.REVIEW)
        self.blind = queue in BLIND_ORIGINS
        self._workspace = workspace
        self._catalogue = workspace.catalogue
        self._seed = seed
        self.progress = progress
        self._audit = begin(workspace) if queue == "audit" else None
        self._pages: list[list[int]] | None = None
        self._begun_at = queues.newest_event(workspace.catalogue) if queue in _LABELLED else 0

    @property
    def explanation(self) -> str:
        """What it holds, in a few words for the line above the picture."""
        if self._audit is not None:
            return (
                f"audit {self._audit.audit_id}, at most {self._audit.sample:,} images drawn at"
                " random; what you skip or cannot tell counts as wrong"
            )
        return REVIEWED[self.queue]

    def find(self, size: int, leave_out: QueueFilter) -> Mapping[int, str]:
        """Its first open images as of now, each with why it is there (or nothing).

        Raises DataError or UsageError where the queue has nothing to go by.
        """
        if self._audit is not None:
            return dict.fromkeys(
                audit_answers.waiting_ids(
                    self._catalogue, self._audit, size=size, leave_out=leave_out
                ),
                "",
            )
        request = self._request(size, leave_out)
        if self.view.is_empty and self.queue == "odd":
            return odd(request)
        if self.view.is_empty and self.queue == "duplicates":
            return duplicate_queue(self._catalogue, size=size, leave_out=leave_out)
        return dict.fromkeys(choose(self.queue, request), "")

    def is_settled(self, card: ImageCard) -> bool:
        """Whether an image need not be looked at any more.

        A suspect or flagged label, or one that a near-duplicate contradicts, must have been looked
        at since, and an audited image needs an answer of its own.
        """
        if self._audit is not None:
            return card.origin is Origin.AUDIT
        if self.queue not in _LABELLED:
            return card.settled
        if self.queue == "conflict" and not card.settled:
            return False
        return card.standing is not None and (card.event_id or 0) > self._begun_at

    def page(self, side: CurrentLabel, size: int, leave_out: QueueFilter) -> Sequence[int]:
        """The first open images of the queue that have or lean to a class, in its order.

        Of `clusters` it is the first page that is not decided, whatever the class.
        """
        if self.blind:
            raise UsageError("A blind sample has no contact sheet.", "Answer image by image.")
        if self.queue == "clusters":
            return self._look_alikes(size, leave_out)
        if self.view.side not in (None, side):
            return []
        view = dataclasses.replace(
            self.view, side="positive" if side is CurrentLabel.POSITIVE else "negative"
        )
        return choose(self.queue, self._request(size, leave_out, view))

    def _request(
        self, size: int, leave_out: QueueFilter, view: QueueView | None = None
    ) -> QueueRequest:
        return QueueRequest(
            workspace=self._workspace,
            size=size,
            seed=self._seed,
            examples=self.examples,
            view=view or self.view,
            leave_out=leave_out,
            progress=self.progress,
        )

    def _look_alikes(self, size: int, leave_out: QueueFilter) -> Sequence[int]:
        """What is open of the first page of look-alikes that has an open image."""
        if self._pages is None:
            # Found once: with each label they would be others.
            self._pages = look_alikes(self._request(size, leave_out))
        for page in self._pages:
            passing = set(queues.passing(self._catalogue, page, leave_out=leave_out))
            labels = current(self._catalogue, page)
            unlabelled = [i for i in page if i in passing and labels[i].standing is None]
            if unlabelled:
                return unlabelled[:size]
        return []

    def skip(self, image_id: int, *, actor: str, session: str) -> None:
        """An image was left undecided: it does not come again in this session."""
        claims.skip(self._catalogue, image_id, queue=self.queue, actor=actor, session=session)

    def unskip(self, image_id: int, *, session: str) -> None:
        """It may come again."""
        claims.unskip(self._catalogue, image_id, queue=self.queue, session=session)

    def set_aside(self, image_id: int, reason: Quarantine, detail: str) -> bool:
        """Put an image that cannot be shown into quarantine; whether that was new."""
        return quarantine_images(self._catalogue, {image_id: (reason, detail)}) == 1

    def put_back(self, image_id: int, reason: Quarantine) -> None:
        """Take it out of quarantine again."""
        end_quarantine(self._catalogue, image_id, reason)

    def may_undo(self, image_id: int) -> bool:
        """Whether a decision of an earlier session about this image may be taken back here.

        In an audit only its own answers, and only while no verdict has used them.
        """
        if self._audit is None:
            return True
        still_open = audits.open_audit(self._catalogue)
        if still_open is None or still_open.audit_id != self._audit.audit_id:
            return False
        answers = audit_answers.answers_of(self._catalogue, still_open)
        return image_id in set(answers.image_ids[answers.requested & ~answers.locked].tolist())


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
    refuse_view(queue, view)
