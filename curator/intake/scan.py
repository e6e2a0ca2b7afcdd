"""What a source holds beside what is catalogued, in one pass over both.

Both sides come in the byte order of the whole path, so that an interrupted run goes on where it
was and a folder of a hundred thousand files is compared without holding either side in memory.
Size and modification time (or entity tag) decide whether a file has to be read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from curator.base.values import FileStamp
from curator.base.vocabulary import Quarantine
from curator.catalogue.files import KnownFile
from curator.sources.protocol import Skipped

RETRIED = frozenset({
    Quarantine.UNREADABLE,
    Quarantine.VANISHED,
    Quarantine.CHANGING,
    Quarantine.UNSUPPORTED,
    Quarantine.TOO_LARGE,
})  # fmt: skip
"""Reasons that may be gone although the file looks the same: rights, libraries, limits."""


@dataclass(frozen=True, slots=True)
class UnchangedFile:
    """A file that looks as it did when it was catalogued."""

    file: KnownFile


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A catalogued file that is not there any more."""

    file: KnownFile


def compare(
    on_disk: Iterable[FileStamp | Skipped], catalogued: Iterator[KnownFile], *, rehash: bool
) -> Iterator[FileStamp | UnchangedFile | MissingFile | Skipped]:
    """Both sides merged. Nothing below a path that was skipped counts as gone.

    Files that have to be read (new, changed, or not to be trusted) come as their stamps.
    """
    skipped: set[bytes] = set()
    known_file = next(catalogued, None)
    for stamp in on_disk:
        if isinstance(stamp, Skipped):
            skipped.add(stamp.path)
            yield stamp
            continue
        while known_file is not None and known_file.path < stamp.path:
            if not _is_below(known_file.path, skipped):
                yield MissingFile(known_file)
            known_file = next(catalogued, None)
        if known_file is None or known_file.path != stamp.path:
            yield stamp
            continue
        trusted = not rehash and _looks_the_same(known_file, stamp)
        yield UnchangedFile(known_file) if trusted else stamp
        known_file = next(catalogued, None)
    while known_file is not None:
        if not _is_below(known_file.path, skipped):
            yield MissingFile(known_file)
        known_file = next(catalogued, None)


def _looks_the_same(file: KnownFile, stamp: FileStamp) -> bool:
    return (
        file.size == stamp.size
        and file.mtime_ns == stamp.mtime_ns
        and file.image_id is not None
        and file.quarantine not in RETRIED
    )


def _is_below(path: bytes, folders: set[bytes]) -> bool:
    if not folders:
        return False
    parts = path.split(b"/")
    return any(b"/".join(parts[:depth]) in folders for depth in range(len(parts) + 1))
