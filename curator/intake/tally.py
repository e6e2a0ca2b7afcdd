"""Counting what `add` comes across."""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH118
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from curator.base.vocabulary import Quarantine
from curator.catalogue.files import FileOutcome, KnownFile, RecordedFile
from curator.intake.walk import Skipped, SkipReason

_MOST_FOLDERS = 100


@dataclass(slots=True)
class AddCounts:
    """Files by what became of them; see `AddReport` for what each number means."""

    files: int = 0
    added: int = 0
    known: int = 0
    duplicates: int = 0
    changed: int = 0
    missing: int = 0
    quarantined: Counter[Quarantine] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    unreadable_folders: list[bytes] = field(default_factory=list)

    @property
    def readable(self) -> int:
        """How many files hold a usable image."""
        return self.added + self.known + self.duplicates

    @property
    def settled(self) -> int:
        """How many files are dealt with; others are being read."""
        return self.readable + self.quarantined.total()

    def count_known(self, file: KnownFile) -> None:
        """A file that was catalogued and did not have to be read."""
        self.files += 1
        if file.quarantine is None:
            self.known += 1
        else:
            self.quarantined[file.quarantine] += 1

    def count_recorded(self, files: Iterable[RecordedFile]) -> None:
        """Files that were read and are recorded now."""
        for file in files:
            self.changed += file.changed
            if file.quarantine is not None:
                self.quarantined[file.quarantine] += 1
            elif file.outcome is FileOutcome.ADDED:
                self.added += 1
            elif file.outcome is FileOutcome.KNOWN:
                self.known += 1
            else:
                self.duplicates += 1

    def count_skipped(self, root: bytes, skipped: Skipped) -> None:
        """A path that was not looked at."""
        self.ignored[skipped.why.value] += 1
        if (
            skipped.why is SkipReason.UNREADABLE_FOLDER
            and len(self.unreadable_folders) < _MOST_FOLDERS
        ):
            self.unreadable_folders.append(os.path.join(root, skipped.path))
