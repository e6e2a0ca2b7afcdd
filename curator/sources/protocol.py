"""What can be done with the files of a source, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from curator.base.values import FileStamp

MAX_BYTES = 2_000_000_000
"""No file of a server is read beyond this, whatever it says about its size."""


class SkipReason(StrEnum):
    """Why a path was left out."""

    HIDDEN = "hidden"
    SPECIAL = "special"  # a pipe, a socket or a device
    KERNEL = "kernel"  # a file system of the kernel's, where links lead everywhere
    LOOP = "loop"  # a link to a folder that is walked anyway
    UNREADABLE_FOLDER = "unreadable-folder"
    PATH_TOO_LONG = "path-too-long"  # longer than the system allows, or nested too deeply
    OWN = "own"  # the workspace's own files, or those of another source
    ELSEWHERE = "link-elsewhere"  # a link of a listing that leads out of its folder
    BAD_NAME = "unusable-name"  # an object whose name is no path: `..`, or nothing between slashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A path, relative to the root, that was left out with all that is under it."""

    path: bytes
    why: SkipReason


class Source(Protocol):
    """The files of one kind of place. Paths are absolute; relative ones are said to be so."""

    def walk(
        self, root: bytes, under: bytes = b"", *, leave_out: Iterable[bytes] = ()
    ) -> Iterator[FileStamp | Skipped]:
        """Every file at or under `root`/`under`, relative to `root`, in byte order of the paths.

        Raises DataError where the start cannot be listed, so that this never looks like an empty
        folder.
        """

    def stamp(self, path: bytes) -> FileStamp:
        """The file's size and time, or entity tag, now; its path is `path`. Raises OSError."""

    def opened(self, path: bytes, max_bytes: int = MAX_BYTES) -> AbstractContextManager[int]:
        """A descriptor of a local file with the bytes of `path`, at the first of them.

        Raises OSError; EFBIG for a file of a server with more than `max_bytes`.
        """

    def local_path(self, path: bytes) -> bytes | None:
        """Where programs of this computer find the file, None if they cannot."""

    def is_folder(self, path: bytes) -> bool:
        """Whether files lie under `path`. Raises DataError if a server does not say."""
