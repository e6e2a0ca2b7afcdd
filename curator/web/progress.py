"""How long work is shown in the page: the newest stage as a line that the page asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from curator.base.progress import Stage


class PageProgress:
    """The stage that runs now, as `text`; empty while nothing takes long."""

    def __init__(self) -> None:
        self.text = ""

    def note(self, text: str) -> None:
        """Show one sentence until the next stage says something."""
        self.text = text

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        """Show the stage until the block ends."""
        try:
            yield _PageStage(self, name, total, unit)
        finally:
            self.text = ""


class _PageStage:
    def __init__(self, progress: PageProgress, name: str, total: int | None, unit: str) -> None:
        self._progress, self._name, self._total, self._unit = progress, name, total, unit
        self._done = 0
        self._lock = threading.Lock()
        self.advance(0)

    def advance(self, count: int = 1, work: float = 0.0) -> None:
        with self._lock:
            self._done += count
            of_all = "" if self._total is None else f" of {self._total:,}"
            self._progress.text = f"{self._name}: {self._done:,}{of_all} {self._unit}"

    def expect(self, total: int, work: float = 0.0) -> None:
        self._total = total
