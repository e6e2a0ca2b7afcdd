"""How long work tells of itself, without knowing who listens.

Workflows take a `Progress`; the command line draws bars, tests pass `SILENT`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Stage(Protocol):
    """One measured piece of work.

    Where units differ in what they cost, `work` says how much: the time left follows from it.
    """

    def advance(self, count: int = 1, work: float = 0.0) -> None:
        """Report `count` more units as done."""

    def expect(self, total: int, work: float = 0.0) -> None:
        """Correct the expected number of units, and the work of all of them."""


class Progress(Protocol):
    """A listener for stages and for sentences."""

    def stage(
        self, name: str, total: int | None = None, unit: str = "images"
    ) -> AbstractContextManager[Stage]:
        """Open a stage; `total` is None when it is not known yet."""

    def note(self, text: str) -> None:
        """Say one sentence to the person who waits."""


class _SilentStage:
    def advance(self, count: int = 1, work: float = 0.0) -> None: ...

    def expect(self, total: int, work: float = 0.0) -> None: ...


class _SilentProgress:
    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        yield _SilentStage()

    def note(self, text: str) -> None: ...


SILENT: Progress = _SilentProgress()
"""The listener that says nothing."""
