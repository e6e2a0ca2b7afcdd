"""Images found for one session and not yet handed out, each handed out once.

A queue is asked for a few hundred images at a time, however long it is, and only ids are
remembered. What could not be kept, because somebody else had it just then, may come again
with a later search.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

SEARCH = 240
"""Images that a queue is asked for at a time."""
ENOUGH = 24
"""With fewer new ones among them, more are asked for."""

Find = Callable[[int], Mapping[int, str]]
"""The first so many images of a queue as it is now, each with why it is in it."""


class UnclaimedImages:
    """The images of one queue for one session."""

    def __init__(self) -> None:
        self.exhausted = False
        self._waiting: dict[int, str] = {}
        self._given: set[int] = set()
        self._refused: set[int] = set()

    def draw(self, count: int, find: Find) -> dict[int, str]:
        """The next images with why they are here; empty when the queue has nothing new."""
        if not self._waiting:
            self.fill(find)
        chosen = dict(list(self._waiting.items())[:count])
        for image_id in chosen:
            del self._waiting[image_id]
        self._given.update(chosen)
        return chosen

    def fill(self, find: Find) -> None:
        """Search once, if nothing is waiting; at the end also for what could not be had before."""
        if self._waiting:
            return
        if self.exhausted:
            self._given -= self._refused
            self._refused.clear()
        found = find(SEARCH)
        self._waiting = self._new(found)
        if len(self._waiting) < ENOUGH and len(found) >= SEARCH:
            # Most were given out already and have stayed in the queue, skipped for instance.
            self._waiting = self._new(find(SEARCH + len(self._given)))
        self.exhausted = not self._waiting

    def refuse(self, image_ids: Iterable[int]) -> None:
        """These were drawn, and somebody else had them."""
        self._refused.update(image_ids)

    def _new(self, found: Mapping[int, str]) -> dict[int, str]:
        return {one: why for one, why in found.items() if one not in self._given}
