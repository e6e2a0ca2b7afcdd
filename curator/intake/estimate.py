"""How long `add` will take and how much disk it will need, said after the first files.

The files are counted only when there is something to read for a while: a second run over
a folder that has not changed does not pay for it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from curator.base.progress import Progress, Stage
from curator.base.values import InspectedFile
from curator.intake.sources import SourceWalk
from curator.intake.walk import count_files

CATALOGUE_BYTES = 1_500
"""What an image takes in the catalogue with its indexes and its signature, about."""


SAMPLE_FILES = 10
SAMPLE_SECONDS = 10.0
"""So many files, or so long a time, are a sample; the very first file also pays for the start."""


class Estimate:
    """Watches the first files, counts what is to come, and says a sentence."""

    def __init__(self, jobs: Sequence[SourceWalk], folder: Path, progress: Progress) -> None:
        self._jobs = jobs
        self._folder = folder
        self._progress = progress
        self._started: float | None = None
        self._said = False
        self._read = 0
        self._preview_bytes = 0

    def begin(self) -> None:
        """Hear of a file that has to be read; the first one starts the clock."""
        if self._started is None:
            self._started = time.monotonic()

    def update(self, chunk: Sequence[InspectedFile], seen: int, stage: Stage) -> None:
        """Take the first chunks that were recorded as a sample of all; `seen` files so far."""
        if self._said or self._started is None:
            return
        self._read += len(chunk)
        self._preview_bytes += sum(len(file.preview or b"") for file in chunk)
        elapsed = time.monotonic() - self._started
        if self._read < SAMPLE_FILES and elapsed < SAMPLE_SECONDS:
            return
        self._said = True
        total = sum(count_files(j.source.root, j.under, leave_out=j.leave_out) for j in self._jobs)
        stage.expect(total)
        left = total - seen
        if left <= seen // 10:
            return  # it is over before it is read; and the count may hold what is no file
        seconds = elapsed / self._read * left
        needed = left * (self._preview_bytes / self._read + CATALOGUE_BYTES)
        free = shutil.disk_usage(self._folder).free
        text = f"{left:,} more files: about {_duration(seconds)} and {_size(needed)} of disk"
        warning = f"; only {_size(free)} are free" if needed > free else ""
        self._progress.note(f"{text}{warning}.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6)):,} MB"
