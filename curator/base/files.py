"""Writing files that are never seen half written, and finding curator's own.

Content goes to a temporary file beside the destination, reaches the disk, and then
takes the destination's name in one step. Killed before that, the old file is unchanged.
`db/` and `seeds/` lie beside the package in a checkout, and inside it in a wheel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from curator.errors import StorageError, UsageError

_HEAD_BYTES = 65_536

NO_FOLLOW = os.O_CLOEXEC | os.O_NOFOLLOW
"""Flags for files under `.curator/`: none of them may be a symbolic link."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A stream whose content becomes `path` when the block ends without an error.

    Raises StorageError if the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        try:
            with opened(temporary, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """The error for a destination that the operating system refuses, with what to do."""
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}.",
        "Make room or choose a folder that you may write to, then run it again.",
    )


def opened(path: Path, mode: str = "rb") -> BinaryIO:
    """A file under `.curator/` in a binary mode; a symbolic link is not followed.

    Raises OSError.
    """
    return cast("BinaryIO", open(path, mode, opener=_no_follow))


def _no_follow(path: str, flags: int) -> int:
    return os.open(path, flags | NO_FOLLOW, 0o666)


def write_all(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write everything at an offset; the system may write less at once, as on a full disk."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Wait until the names of the folder's files are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_destination(destination: Path, *, force: bool) -> None:
    """Refuse early what could not be finished, and what would destroy what curator works on.

    Raises UsageError if `destination` is a folder, lies in a workspace's own folder, is its
    `curator.toml` or holds something that no command writes, as an image; StorageError if it exists
    and `force` is not given, or if the folder that it should lie in does not exist.
    """
    if destination.is_dir():
        raise UsageError(f"{destination} is a folder.", "Name a file in it.")
    refuse_own(destination)
    if os.path.lexists(destination):
        if not force:
            raise StorageError(f"{destination} exists already.", "Add --force to overwrite it.")
        if not _may_be_written_by_curator(destination):
            raise UsageError(
                f"{destination} is not a file that curator writes, and may be an image. It is not"
                " overwritten, even with --force.",
                "Name another file, or remove that one yourself.",
            )
    if not destination.parent.is_dir():
        raise StorageError(
            f"The folder {destination.parent} does not exist.", "Make it, or name another one."
        )


def refuse_own(destination: Path) -> None:
    """Raises UsageError for `curator.toml` and for whatever lies in a `.curator/`."""
    parts = Path(os.path.realpath(destination)).parts
    if destination.name == "curator.toml" or ".curator" in parts:
        raise UsageError(f"{destination} belongs to a workspace itself.", "Name another file.")


_WRITTEN = (b"PK\x03\x04", b"PAR1", b"\x08")
"""Archives, Parquet and ONNX files begin so; all else that commands write is text."""
_PICTURE_AS_TEXT = re.compile(rb"P[1-7]\s|#define\s|/\* XPM")


def _may_be_written_by_curator(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:  # a link to nothing is replaced, not followed
        return file.is_symlink()
    return head.startswith(_WRITTEN) or not (b"\0" in head or _PICTURE_AS_TEXT.match(head))


_PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder(name: str) -> Path:
    """The folder `db` or `seeds`, wherever curator was installed from.

    Raises FileNotFoundError if the installation is incomplete.
    """
    for parent in (_PACKAGE, _PACKAGE.parent):
        folder = parent / name
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"curator's own folder `{name}` is missing: install it again")
