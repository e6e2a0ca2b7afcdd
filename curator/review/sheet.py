"""One page of a contact sheet: what each image on it is going to be called.

Every image is the page's class until it is marked; a mark of None leaves it undecided.
"""

from __future__ import annotations

from curator.base.vocabulary import Label


class Sheet:
    """The marks and the focus of one page of `count` images."""

    def __init__(self, *, label: Label, count: int) -> None:
        self.label = label
        self.focus = 0
        self._count = count
        self._marks: dict[int, Label | None] = {}

    def mark(self, tile: int) -> Label | None:
        """What the image at `tile` will be called; None if it is left out."""
        return self._marks.get(tile, self.label)

    def set_mark(self, label: Label | None) -> None:
        """Mark the focused image; its page's own class takes the mark away."""
        if label is self.label:
            self._marks.pop(self.focus, None)
        else:
            self._marks[self.focus] = label

    def cycle(self) -> None:
        """The other class, then left out, then as the page says."""
        other = Label.NEGATIVE if self.label is Label.POSITIVE else Label.POSITIVE
        following = {self.label: other, other: None, None: self.label}
        self.set_mark(following.get(self.mark(self.focus), self.label))

    def move(self, step: int) -> None:
        """Move the focus by `step` places, if there is one."""
        if 0 <= self.focus + step < self._count:
            self.focus += step

    @property
    def marked_count(self) -> int:
        """Images that are not what the page says."""
        return len(self._marks)

    @property
    def accepted_count(self) -> int:
        """Images that will be called what the page says."""
        return self._count - len(self._marks)
