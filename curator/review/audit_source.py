"""The images of the open audit, as a desk takes them: blind, in the order of the draw.

What is skipped or cannot be shown is not replaced by another image: it counts as wrong unless
somebody still answers it. Only what was drawn for this audit can be taken back here, and
nothing once it is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curator.audits.audit import required
from curator.base.vocabulary import CurrentLabel, Origin, Quarantine
from curator.catalogue import audits, claims
from curator.catalogue.files import end_quarantine, quarantine_images
from curator.catalogue.queues import QueueFilter
from curator.errors import UsageError
from curator.review.cards import ImageCard
from curator.review.filter import WHOLE, QueueView
from curator.workspace import Workspace


class AuditSource:
    """A `Supply` of what the open audit still waits for. Raises DataError if none is open."""

    def __init__(self, workspace: Workspace) -> None:
        self.queue = audits.QUEUE
        self.like: int | None = None
        self.view: QueueView = WHOLE
        self.origin = Origin.AUDIT
        self.blind = True
        self._catalogue = workspace.catalogue
        self._record = required(workspace.catalogue)
        self.explanation = (
            f"audit {self._record.audit_id}, {self._record.sample:,} images drawn at random; what"
            " you skip or cannot tell counts as wrong"
        )

    def find(self, size: int, leave_out: QueueFilter) -> Mapping[int, str]:
        """The first images without an answer."""
        found = audits.waiting_ids(self._catalogue, self._record, size=size, leave_out=leave_out)
        return dict.fromkeys(found, "")

    def is_settled(self, card: ImageCard) -> bool:
        """Only an answer of its own settles an audited image."""
        return card.origin is Origin.AUDIT

    def page(self, side: CurrentLabel, size: int, leave_out: QueueFilter) -> Sequence[int]:
        """An audit is answered image by image."""
        raise UsageError("A blind sample has no contact sheet.", "Answer image by image.")

    def skip(self, image_id: int, *, actor: str, session: str) -> None:
        """It counts as wrong, unless it is answered in another session."""
        claims.skip(self._catalogue, image_id, queue=self.queue, actor=actor, session=session)

    def unskip(self, image_id: int, *, session: str) -> None:
        """It waits for an answer again."""
        claims.unskip(self._catalogue, image_id, queue=self.queue, session=session)

    def set_aside(self, image_id: int, reason: Quarantine, detail: str) -> bool:
        """It goes into quarantine and counts as wrong."""
        return quarantine_images(self._catalogue, {image_id: (reason, detail)}) == 1

    def put_back(self, image_id: int, reason: Quarantine) -> None:
        """It waits for an answer again."""
        end_quarantine(self._catalogue, image_id, reason)

    def may_undo(self, image_id: int) -> bool:
        """Answers can be taken back while this audit is open, and only its own."""
        now = audits.open_audit(self._catalogue)
        if now is None or now.audit_id != self._record.audit_id:
            return False
        return image_id in set(audits.answers_of(self._catalogue, now).image_ids.tolist())
