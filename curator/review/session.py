"""The order of one reviewer's work: what is before their eyes, and the way back.

A deck never shows an image twice of its own accord, and going back undoes the last step,
whether that was a decision or a skip. It holds ids only; what a decision means, and that
it is safely recorded before the next image appears, is for the workflow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One image that was dealt with; `event_id` is None if it was skipped."""

    image_id: int
    event_id: int | None


class Deck:
    """The images of a session: those to come and those dealt with."""

    def __init__(self) -> None:
        self._coming: deque[int] = deque()
        self._steps: list[Step] = []
        self._seen: set[int] = set()

    @property
    def current(self) -> int | None:
        """The image to look at, None when more have to be added."""
        return self._coming[0] if self._coming else None

    @property
    def decided(self) -> int:
        """Decisions of this session that stand."""
        return sum(step.event_id is not None for step in self._steps)

    def add(self, image_ids: Iterable[int]) -> None:
        """Put images at the end, those left out that were here before."""
        for image_id in image_ids:
            if image_id not in self._seen:
                self._seen.add(image_id)
                self._coming.append(image_id)

    def drop(self) -> None:
        """Pass over the current image as if it had not been there."""
        self._coming.popleft()

    def settle(self, event_id: int | None) -> None:
        """The current image was decided by this event, or skipped (None). Go on."""
        self._steps.append(Step(self._coming.popleft(), event_id))

    def back(self) -> Step | None:
        """Return to the last image; what has to be taken back, or None at the beginning."""
        if not self._steps:
            return None
        step = self._steps.pop()
        self._coming.appendleft(step.image_id)
        return step
