"""Batches of images that a loop such as `finish` asks for, and the pages that label them.

The loop waits in a thread of its own and knows nothing of pages; what all pages decide counts for
the batch in front.
"""

from __future__ import annotations

import threading

RESULT_SECONDS = 5.0
"""How long the server stays to show how the loop ended; pages ask every second."""


class Batches:
    """What a loop such as `finish` asks for, one batch after the other; all pages share them."""

    def __init__(self) -> None:
        self.queue: str | None = None
        """Queue of the batch in front; None while the loop computes, and at the end."""
        self.number = self.size = self.decided = 0
        self.news = ""
        """What the loop said since the last batch."""
        self.result: str | None = None
        self._dry: dict[int, bool] = {}
        """Pages that are open, and whether the batch has nothing more for them."""
        self._changed = threading.Condition()

    def say(self, text: str) -> None:
        """Show a sentence on the pages."""
        self.news = f"{self.news} {text}".strip()

    def ask(self, queue: str, most: int) -> bool:
        """Wait for `most` decisions; False if Ctrl-C or an empty queue came before them."""
        with self._changed:
            self.queue, self.size, self.decided = queue, most, 0
            self.number += 1
            self._dry = dict.fromkeys(self._dry, False)
            self._changed.notify_all()
            try:
                self._changed.wait_for(
                    lambda: (
                        self.decided >= most
                        or self.result is not None
                        or (self._dry and all(self._dry.values()))
                    )
                )
            except KeyboardInterrupt:
                return False
            finally:
                self.queue, self.news = None, ""
            return self.decided >= most

    def end(self, text: str) -> None:
        """Show how the loop ended, and wait until the pages have it; only the first text counts."""
        with self._changed:
            if self.result is None:
                self.result = text
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._dry, RESULT_SECONDS)

    def wait(self) -> tuple[int, str | None]:
        """Wait for something to label: the number and queue of the batch; at the end no queue."""
        with self._changed:
            self._changed.wait_for(lambda: self.queue is not None or self.result is not None)
            return self.number, self.queue

    def follow(self, page: int, number: int, decisions: int) -> tuple[int, str | None]:
        """A page made `decisions` for batch `number`: the number and queue to go on with."""
        with self._changed:
            self._dry.setdefault(page, False)
            if number == self.number:
                self.decided += decisions
            self._changed.notify_all()
            return self.number, self.queue if self.decided < self.size else None

    def note_dry(self, page: int, dry: bool) -> None:
        """Say whether the batch in front has nothing more for a page."""
        with self._changed:
            self._dry[page] = dry
            self._changed.notify_all()

    def leave(self, page: int) -> None:
        """A page is gone, perhaps with the result."""
        with self._changed:
            self._dry.pop(page, None)
            self._changed.notify_all()
