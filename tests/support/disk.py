"""Disks that refuse: full ones, and folders that nobody may write to."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.needs import skip_unavoidably


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """A full disk, as a process meets it: writing beyond `size` bytes fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def locked_folder(within: Path) -> Path:
    """A folder that this process cannot write to."""
    folder = within / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):  # as root, who may write anywhere but where nobody can
        folder = Path("/proc/self")
    if not folder.is_dir():
        skip_unavoidably("a folder that root cannot write to")
    return folder
