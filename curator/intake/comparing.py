"""What is on the disk beside what is catalogued, in one pass over both.

Both come in the byte order of their paths, so that a folder of a hundred thousand files
is compared without holding either side in memory. Size and modification time decide
whether a file has to be read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from curator.base.values import FileStamp
from curator.base.vocabulary import Quarantine
from curator.catalogue.files import KnownFile
from curator.intake.walk import Skipped

RETRIED = frozenset({
    Quarantine.UNREADABLE,
    Quarantine.VANISHED,
    Quarantine.CHANGING,
    Quarantine.UNSUPPORTED,
    Quarantine.TOO_LARGE,
})  # fmt: skip
"""Reasons that may be gone although the file looks the same: rights, libraries, limits."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that has to be read: new, changed, or not to be trusted."""

    stamp: FileStamp


@dataclass(frozen=True, slots=True)
class UnchangedFile:
    """A file that looks as it did when it was catalogued."""

    known: KnownFile


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A catalogued file that is not there any more."""

    known: KnownFile


def compare(
    found: Iterable[FileStamp | Skipped], known: Iterator[KnownFile], *, rehash: bool
) -> Iterator[NewFile | UnchangedFile | MissingFile | Skipped]:
    """Both sides merged. Nothing below a path that was skipped counts as gone."""
    skipped: set[bytes] = set()
    catalogued = next(known, None)
    for item in found:
        if isinstance(item, Skipped):
            skipped.add(item.path)
            yield item
            continue
        while catalogued is not None and catalogued.path < item.path:
            if not _is_below(catalogued.path, skipped):
                yield MissingFile(catalogued)
            catalogued = next(known, None)
        if catalogued is None or catalogued.path != item.path:
            yield NewFile(item)
            continue
        trusted = not rehash and _looks_the_same(catalogued, item)
        yield UnchangedFile(catalogued) if trusted else NewFile(item)
        catalogued = next(known, None)
    while catalogued is not None:
        if not _is_below(catalogued.path, skipped):
            yield MissingFile(catalogued)
        catalogued = next(known, None)


def _looks_the_same(known: KnownFile, stamp: FileStamp) -> bool:
    return (
        known.size == stamp.size
        and known.mtime_ns == stamp.mtime_ns
        and known.image_id is not None
        and known.quarantine not in RETRIED
    )


def _is_below(path: bytes, folders: set[bytes]) -> bool:
    if not folders:
        return False
    parts = path.split(b"/")
    return any(b"/".join(parts[:depth]) in folders for depth in range(len(parts) + 1))
