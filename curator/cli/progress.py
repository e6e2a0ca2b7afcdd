"""How long work is shown to the person who waits, on standard error.

On a terminal each stage is a bar with its rate and the time left; anywhere else it is a
plain line now and then, so that a log stays readable. Work reports to both through
`curator.base.progress`, from any thread, and knows neither.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from curator.base.progress import SILENT, Progress, Stage
from curator.base.text import duration
from curator.cli.output import narrate, shown

LINE_SECONDS = 10.0
"""How often a long stage reports where there is no terminal."""

NOTABLE_SECONDS = 0.5
"""A stage that took less leaves no line behind."""


def progress_for(*, quiet: bool) -> Progress:
    """The listener that suits this run: silent, bars on a terminal, or plain lines."""
    if quiet:
        return SILENT
    if not sys.stderr.isatty():
        return ProgressLines()
    from curator.cli.bars import ProgressBars

    return ProgressBars()


class ProgressLines:
    """Reports as lines of text."""

    def note(self, text: str) -> None:
        """Print one sentence."""
        narrate(shown(text))

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Stage]:
        """Print a line every `LINE_SECONDS`, and one at the end."""
        stage = _LineStage(name, total, unit)
        yield stage
        seconds = stage.elapsed()
        if seconds >= NOTABLE_SECONDS:
            narrate(finished(name, stage.done, unit, seconds))


class _LineStage:
    def __init__(self, name: str, total: int | None, unit: str) -> None:
        self.done = 0
        self._name, self._total, self._unit = name, total, unit
        self._work = self._expected_work = 0.0
        self._started = self._reported = time.monotonic()
        self._lock = threading.Lock()

    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def advance(self, count: int = 1, work: float = 0.0) -> None:
        with self._lock:
            self.done += count
            self._work += work
            now = time.monotonic()
            if now - self._reported >= LINE_SECONDS:
                self._reported = now
                share = self._work / self._expected_work if self._expected_work else None
                narrate(
                    underway(self._name, self.done, self._total, self._unit, self.elapsed(), share)
                )

    def expect(self, total: int, work: float = 0.0) -> None:
        self._total, self._expected_work = total, work


def underway(
    name: str,
    done: int,
    total: int | None,
    unit: str,
    seconds: float,
    share: float | None = None,
) -> str:
    """`encode: 1,200 of 2,624 images, 120/s, 11.9 s left`.

    `share` of the work is done, where that is another than the share of the units.
    """
    rate = speed(done / seconds)
    if total is None:
        return f"{shown(name)}: {done:,} {unit}, {rate}"
    if share is None:
        share = done / total if total else 0.0
    left = f", {duration(seconds * (1 / share - 1))} left" if 0 < share <= 1 else ""
    return f"{shown(name)}: {done:,} of {total:,} {unit}, {rate}{left}"


def finished(name: str, done: int, unit: str, seconds: float) -> str:
    """`encode: 2,624 images in 21.3 s (123/s)`."""
    if not done:
        return f"{shown(name)}: done in {duration(seconds)}"
    units = unit.removesuffix("s") if done == 1 else unit
    return f"{shown(name)}: {done:,} {units} in {duration(seconds)} ({speed(done / seconds)})"


def speed(rate: float) -> str:
    """`120/s`, or `7.5/min` for work of which a piece takes longer than a second."""
    if rate >= 1:
        return f"{rate:,.0f}/s"
    return f"{60 * rate:.1f}/min"
