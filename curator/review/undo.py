"""The images of one reviewer in order: those done, the current one, those to come.

No image is in it twice. Deciding goes on to the next image that is still open,
moving looks at others without settling anything, and going back undoes the newest step,
whatever it was: one image or a whole page. It holds ids only, and of the past only the
newest, so that a session may last as long as it likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from curator.base.vocabulary import Quarantine

PAST_LIMIT = 2_000
"""Images that were dealt with and can still be walked back to."""


@dataclass(frozen=True, slots=True)
class UndoStep:
    """One thing that was done: its images, and the events that record it (none for a skip).

    `set_aside` is the reason why its image was put into quarantine, `dropped` the number of the
    step in which the others than the first image were dropped as its near-duplicates.
    """

    image_ids: tuple[int, ...]
    event_ids: tuple[int, ...]
    label: str = ""
    is_page: bool = False
    set_aside: Quarantine | None = None
    dropped: int | None = None


class UndoHistory:
    """The images of a session, with the position of the reviewer, and the steps to undo."""

    def __init__(self) -> None:
        self._order: list[int] = []
        self._seen: set[int] = set()
        self._settled: set[int] = set()
        self._at = 0
        self._steps: list[UndoStep] = []

    @property
    def current(self) -> int | None:
        """The image to look at, None at the end."""
        return self._order[self._at] if self._at < len(self._order) else None

    @property
    def is_settled(self) -> bool:
        """Whether the current image was dealt with before and is only looked at again."""
        return self.current in self._settled

    def add(self, image_ids: Iterable[int]) -> list[int]:
        """Put images at the end; which of them are new."""
        new = [i for i in dict.fromkeys(image_ids) if i not in self._seen]
        self._order += new
        self._seen.update(new)
        self._trim()
        return new

    def ahead(self, count: int) -> list[int]:
        """The current image and the open ones after it, at most `count`."""
        coming = self._order[self._at : self._at + 1]
        for image_id in self._order[self._at + 1 :]:
            if len(coming) >= count:
                break
            if image_id not in self._settled:
                coming.append(image_id)
        return coming

    def open_count(self) -> int:
        """How many images from here on are not settled."""
        return sum(i not in self._settled for i in self._order[self._at :])

    def move(self, step: int) -> bool:
        """Look at a neighbour without deciding; False at either end."""
        target = self._at + step
        if not 0 <= target < len(self._order):
            return False
        self._at = target
        return True

    def settle(self, image_ids: Sequence[int], event_ids: Sequence[int], label: str = "") -> None:
        """These images were decided or skipped. Go on to the next open one."""
        self._steps.append(UndoStep(tuple(image_ids), tuple(event_ids), label))
        self._settled.update(image_ids)
        self._seen.update(image_ids)
        self._advance()

    def settle_page(self, image_ids: Sequence[int], event_ids: Sequence[int]) -> None:
        """A contact sheet was accepted: its images need not come one by one any more."""
        self._steps.append(UndoStep(tuple(image_ids), tuple(event_ids), "page", is_page=True))
        self._settled.update(image_ids)
        self._advance()

    def put_aside(self, image_id: int, reason: Quarantine) -> None:
        """This image was put into quarantine. Go on to the next open one."""
        self._steps.append(UndoStep((image_id,), (), set_aside=reason))
        self._settled.add(image_id)
        self._advance()

    def keep_one(self, image_ids: Sequence[int], dropped: int) -> None:
        """The others than the first of these images were dropped. Go on to the next open one."""
        self._steps.append(UndoStep(tuple(image_ids), (), dropped=dropped))
        self._settled.update(image_ids)
        self._seen.update(image_ids)
        self._advance()

    def drop(self) -> None:
        """Pass over the current image: somebody else has dealt with it."""
        if self.current is not None:
            self._settled.add(self.current)
            self._advance()

    def last_step(self) -> UndoStep | None:
        """What `back` would undo."""
        return self._steps[-1] if self._steps else None

    def back(self) -> UndoStep | None:
        """Forget the newest step and return to its image; None at the beginning.

        A page opens again on the contact sheet; one by one, only what had come stays.
        """
        if not self._steps:
            return None
        step = self._steps.pop()
        if step.is_page:
            self._settled.difference_update(step.image_ids)
        else:
            self.reopen(step.image_ids)
        return step

    def reopen(self, image_ids: Sequence[int]) -> None:
        """Make images open again, and go to the first of them; absent ones are put in here."""
        self._settled.difference_update(image_ids)
        for image_id in reversed(image_ids):
            if image_id not in self._order:
                self._order.insert(self._at, image_id)
                self._seen.add(image_id)
        if image_ids:
            self._at = self._order.index(image_ids[0])

    def clear_coming(self) -> None:
        """Forget what has not been settled, as when another queue is chosen."""
        coming = [i for i in self._order[self._at :] if i not in self._settled]
        self._seen.difference_update(coming)
        self._order = [i for i in self._order if i in self._settled]
        self._at = len(self._order)

    def return_to(self, image_ids: Sequence[int]) -> None:
        """Let these come again in place of what is coming, and look at the first of them."""
        self.clear_coming()
        self.add(image_ids)
        if image_ids and image_ids[0] in self._order:
            self._at = self._order.index(image_ids[0])

    @property
    def settled(self) -> Set[int]:
        """The images that were dealt with in this session."""
        return self._settled

    def _advance(self) -> None:
        while self._at < len(self._order) and self._order[self._at] in self._settled:
            self._at += 1

    def _trim(self) -> None:
        surplus = self._at - PAST_LIMIT
        if surplus > 0:
            del self._order[:surplus]
            self._at -= surplus
