"""How close a picture is looked at, and where."""

from __future__ import annotations

from curator.review.pictures import Region

ZOOMS = (1.0, 2.0, 4.0, 8.0)
PAN = 0.25
"""Part of the visible width that an arrow moves a zoomed picture by."""


class Zoom:
    """Steps closer, and a place in the picture; out again it is the whole."""

    def __init__(self) -> None:
        self._step = 0
        self._centre = (0.5, 0.5)

    @property
    def is_on(self) -> bool:
        """Whether less than the whole picture is seen."""
        return self._step > 0

    @property
    def times(self) -> float:
        """How many times larger than the whole picture on the screen."""
        return ZOOMS[self._step]

    @property
    def region(self) -> Region:
        """The part that is seen."""
        return Region(*self._centre, 1 / self.times)

    def closer(self) -> None:
        """A step closer; after the closest the whole again."""
        self._step = (self._step + 1) % len(ZOOMS)

    def out(self) -> None:
        """Back to the whole picture; a closer look begins in its middle again."""
        self._step = 0
        self._centre = (0.5, 0.5)

    def move(self, across: int, down: int) -> None:
        """Move by a part of what is seen, not beyond the edges."""
        share = PAN / self.times
        x, y = self._centre
        self._centre = (
            min(1.0, max(0.0, x + across * share)),
            min(1.0, max(0.0, y + down * share)),
        )
