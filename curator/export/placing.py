"""Bringing one image's file to its place in a folder that is being made.

The file is read and compared with its SHA-256, so that what is placed is that image
and no other. Folders are entered by descriptor and without following links, so that
nothing outside the destination can be touched whatever somebody plants in it. A source
is opened for reading only.
"""

# Places are named by folder descriptor and name, which pathlib does not know.
# ruff: noqa: PTH116
from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from io import FileIO

from curator.errors import StorageError
from curator.sources.addresses import is_url
from curator.sources.files import files_of
from curator.sources.remote import NoAnswerError, refusal

_CHUNK = 1 << 20
_REFLINK = 0x40049409  # FICLONE of linux/fs.h
_PART = ".placing"
_CONVERSION = "conversion"

_NOT_HERE = {
    errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS,
    errno.EPERM, errno.EMLINK, errno.EACCES, errno.ETXTBSY,
}  # fmt: skip
"""What a file system says that cannot, or will not, share a file."""


class Way(StrEnum):
    """How a file comes to its place, as `--files` names it."""

    AUTO = "auto"
    REFLINK = "reflink"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"


class Trouble(StrEnum):
    """Why a file is not what the catalogue says; it is left out and counted."""

    VANISHED = "vanished"
    UNREADABLE = "unreadable"
    CHANGED = "changed"


class SourceError(Exception):
    """An image's own file cannot be read; other errors are those of the destination."""


@contextmanager
def opened(path: bytes) -> Iterator[FileIO]:
    """The regular file at `path`, to read; that of a server is downloaded.

    Raises OSError if there is none, DataError if the server does not answer.
    """
    try:
        with (
            files_of(path).opened(path) as descriptor,
            FileIO(descriptor, closefd=False) as stream,
        ):
            yield stream
    except NoAnswerError as error:
        # The export ends: one without all the images of a server would look like the whole.
        raise refusal(path, error) from error


def check_file(path: bytes, sha256: bytes) -> Trouble | None:
    """Whether the file at `path` still is the image with this hash; None if so."""
    try:
        with opened(path) as stream:
            digest = _digest(stream)
    except SourceError:
        return Trouble.UNREADABLE
    except OSError as error:
        return trouble_of(error)
    return None if digest == sha256 else Trouble.CHANGED


def trouble_of(error: OSError) -> Trouble:
    """Why a file could not be opened."""
    gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
    return Trouble.VANISHED if gone else Trouble.UNREADABLE


def chunks_of(stream: FileIO) -> Iterator[bytes]:
    """The content of an image's file. Raises SourceError if the disk does not give it."""
    try:
        while chunk := stream.read(_CHUNK):
            yield chunk
    except OSError as error:
        raise SourceError from error


class Placer:
    """Puts files into folders in one way, or in the best way that works for each disk."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._best: dict[int, Way] = {}
        self.placed: Counter[str] = Counter()

    @property
    def made_copies(self) -> bool:
        """Whether some of the files may be new data, perhaps made by an interrupted run."""
        return any(self.placed[way] for way in (Way.COPY, "kept", _CONVERSION))

    def place(self, file: bytes, folder: int, name: str, sha256: bytes) -> Trouble | None:
        """Put the image at `file` into `folder` (a descriptor) as `name`.

        A file from an interrupted run stays if it is that image.
        Raises StorageError if the way that was asked for does not work here, OSError if
        nothing can be written.
        """
        # Before it is downloaded.
        if is_url(file) and _is_placed(folder, name, sha256, file, self._way):
            self.placed["kept"] += 1
            return None
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(opened(file))
            except OSError as error:
                return trouble_of(error)
            if _is_placed(folder, name, sha256, file, self._way):
                self.placed["kept"] += 1
                return None
            try:
                return self._place_file(stream, file, folder, name, sha256)
            except SourceError:
                _remove(folder, _part_name(name))
                return Trouble.UNREADABLE

    def place_content(self, content: bytes, folder: int, name: str) -> None:
        """Write a converted image into `folder` (a descriptor) as `name`."""
        part = _part_name(name)
        _remove(folder, part)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(part, flags, 0o666, dir_fd=folder), "wb") as target:  # noqa: PTH123
            target.write(content)
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        self.placed[_CONVERSION] += 1

    def _place_file(
        self, stream: FileIO, file: bytes, folder: int, name: str, sha256: bytes
    ) -> Trouble | None:
        _remove(folder, name)
        part = _part_name(name)
        _remove(folder, part)
        for way in self._ways(stream):
            try:
                digest = _put(way, stream, file, folder, part)
            except OSError as error:
                _remove(folder, part)
                if error.errno in _NOT_HERE and way is not Way.COPY:
                    self._note_unsupported(way, stream, error)
                    continue
                raise
            if digest != sha256:
                _remove(folder, part)
                return Trouble.CHANGED
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            self.placed[way] += 1
            return None
        raise AssertionError("copying is the last way, and never passed over")

    def _ways(self, stream: FileIO) -> tuple[Way, ...]:
        if self._way is not Way.AUTO:
            return (self._way,)
        # No hard links: who edits a file of the folder would edit the source.
        ways = (Way.REFLINK, Way.COPY)
        best = self._best.get(os.fstat(stream.fileno()).st_dev, Way.REFLINK)
        return ways[ways.index(best) :]

    def _note_unsupported(self, way: Way, stream: FileIO, error: OSError) -> None:
        if self._way is not Way.AUTO:
            raise StorageError(
                f"Files cannot be put there as {way}s: {error.strerror}.",
                "Choose another way with --files, or `auto` for the best that works.",
            ) from error
        # A single file may have all the links it can have; the next one may have room.
        if error.errno != errno.EMLINK:
            self._best[os.fstat(stream.fileno()).st_dev] = Way.COPY


def _part_name(name: str) -> str:
    return name[:100] + _PART


def _put(way: Way, stream: FileIO, file: bytes, folder: int, name: str) -> bytes:
    """Make `name` in `folder`; the SHA-256 of its content."""
    if way is Way.SYMLINK:
        os.symlink(os.path.abspath(file), name, dir_fd=folder)  # noqa: PTH100 - bytes
        return _digest(stream)
    if way is Way.HARDLINK:
        os.link(file, name, dst_dir_fd=folder, follow_symlinks=True)
        linked = os.stat(name, dir_fd=folder, follow_symlinks=False)
        # Somebody may have replaced the source file between opening and linking it.
        is_same = os.path.samestat(linked, os.fstat(stream.fileno()))
        return _digest(stream) if is_same else b""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with FileIO(os.open(name, flags, 0o666, dir_fd=folder), "w") as target:
        if way is Way.REFLINK:
            fcntl.ioctl(target.fileno(), _REFLINK, stream.fileno())
            return _digest(stream)
        return _digest(stream, copy=target)


def _digest(stream: FileIO, copy: FileIO | None = None) -> bytes:
    """The SHA-256 of a file, which goes to `copy` as it is read."""
    digest = hashlib.sha256()
    stream.seek(0)
    for chunk in chunks_of(stream):
        digest.update(chunk)
        left = memoryview(chunk) if copy is not None else b""
        while copy is not None and left:
            left = left[copy.write(left) :]
    return digest.digest()


def _is_placed(folder: int, name: str, sha256: bytes, file: bytes, way: Way) -> bool:
    """Whether `name` is there, in the way asked for, and holds the image."""
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(there.st_mode):
            right = way is Way.SYMLINK and os.fsencode(os.readlink(name, dir_fd=folder)) == file
            return right and check_file(file, sha256) is None
        if way is Way.SYMLINK or not stat.S_ISREG(there.st_mode):
            return False
        linked = not is_url(file) and os.path.samestat(there, os.stat(file))
        if (way is Way.HARDLINK) != linked and way is not Way.AUTO:
            return False
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with FileIO(os.open(name, flags, dir_fd=folder)) as stream:
            return hashlib.file_digest(stream, "sha256").digest() == sha256
    except OSError:
        return False


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
