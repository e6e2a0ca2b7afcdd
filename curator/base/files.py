"""Writing a file so that nobody ever sees half of it.

The content goes to a temporary file beside the destination, reaches the disk, and then
takes the destination's name in one step. Killed before that, the old file stands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from curator.errors import StorageError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content becomes `path` when the block ends without an error.

    Raises StorageError if the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        try:
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The error for a destination that the operating system refuses, with what to do."""
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Make room or choose a folder that you may write to, then run it again.",
    )


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself last; not every system lets a folder be opened for that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
