"""Where a file for the user may go: never over another one unless told to."""

from __future__ import annotations

import os
from pathlib import Path

from curator.errors import StorageError, UsageError


def check_destination(destination: Path, *, force: bool) -> None:
    """Refuse early what could not be finished.

    Raises UsageError if `destination` is a folder; StorageError if it exists and `force`
    is not given, or if the folder that it should lie in does not exist.
    """
    if destination.is_dir():
        raise UsageError(f"{destination} is a folder.", "Name a file in it.")
    if not force and os.path.lexists(destination):
        raise StorageError(f"{destination} exists already.", "Add --force to overwrite it.")
    if not destination.parent.is_dir():
        raise StorageError(
            f"The folder {destination.parent} does not exist.", "Make it, or name another one."
        )
