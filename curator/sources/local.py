"""Local folders: their files in the byte order of whole paths, and opening one for reading only.

Names are bytes, links are followed but never in circles, and what is left out is reported, never
silently passed.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH112, PTH114, PTH116, PTH118
from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from curator.base.values import FileStamp
from curator.sources.protocol import MAX_BYTES, Skipped, SkipReason

_KERNEL_KINDS = frozenset((
    b"proc", b"sysfs", b"cgroup", b"cgroup2", b"debugfs", b"tracefs", b"securityfs", b"bpf",
    b"configfs", b"pstore", b"devpts", b"devtmpfs", b"mqueue", b"binfmt_misc", b"efivarfs",
    b"selinuxfs", b"fusectl", b"rpc_pipefs", b"nsfs",
))  # fmt: skip

Identity = tuple[int, int]
"""Device and inode: what a folder is, whatever path leads to it."""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: bytes
    identity: Identity
    through_link: bool
    names: Iterator[bytes]


class LocalFolders:
    """`Source` of paths of this computer."""

    def walk(
        self, root: bytes, under: bytes = b"", *, leave_out: Iterable[bytes] = ()
    ) -> Iterator[FileStamp | Skipped]:
        return walk_folder(root, under, leave_out=leave_out)

    def stamp(self, path: bytes) -> FileStamp:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return FileStamp(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns)

    @contextmanager
    def opened(self, path: bytes, max_bytes: int = MAX_BYTES) -> Iterator[int]:
        # What is no file (a pipe, a device) is never waited on.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)

    def local_path(self, path: bytes) -> bytes | None:
        return path

    def is_folder(self, path: bytes) -> bool:
        return os.path.isdir(path)


def walk_folder(
    root: bytes, under: bytes = b"", *, leave_out: Iterable[bytes] = ()
) -> Iterator[FileStamp | Skipped]:
    """Every file at or under `root`/`under`, paths relative to `root`.

    `under` is a folder or a single file; `leave_out` are absolute paths of folders that
    are not entered, by whatever way they are reached, and of files that are passed over.
    A file that cannot be looked at comes out with size and time 0, for the reader to find
    out why. Hidden names are left out below the start, not the start itself.
    """
    if under and not os.path.isdir(os.path.join(root, under)):
        yield _look(root, under)
        return
    yield from _Walk(root, list(leave_out), _identities_above(root, under)).descend(under)


class _Walk:
    """One walk: the folders that are open, and those that were reached through links."""

    def __init__(self, root: bytes, leave_out: Sequence[bytes], above: set[Identity]) -> None:
        self._root = root
        self._barred = _identities(leave_out)
        self._kernel_devices = _kernel_devices()
        self._barred_names = {path.rpartition(b"/")[2] for path in leave_out}
        self._above = above
        self._linked: set[Identity] = set()
        self._open: list[_Folder] = []

    def descend(self, start: bytes) -> Iterator[FileStamp | Skipped]:
        """Everything below `start`, depth first, without recursion."""
        yield from self._enter(start, through_link=False)
        while self._open:
            name = next(self._open[-1].names, None)
            if name is None:
                self._open.pop()
                continue
            path = os.path.join(self._open[-1].path, name.rstrip(b"/"))
            if name.startswith(b"."):
                yield Skipped(path=path, why=SkipReason.HIDDEN)
            elif not name.endswith(b"/"):
                yield self._look(name, path)
            else:
                is_link = os.path.islink(os.path.join(self._root, path))
                yield from self._enter(path, through_link=is_link or self._open[-1].through_link)

    def _look(self, name: bytes, path: bytes) -> FileStamp | Skipped:
        whole = os.path.join(self._root, path)
        if name in self._barred_names and _identity(whole) in self._barred:
            return Skipped(path=path, why=SkipReason.OWN)
        return _look(self._root, path)

    def _enter(self, path: bytes, *, through_link: bool) -> Iterator[Skipped]:
        """Open a folder; a folder that vanished is simply not there."""
        whole = os.path.join(self._root, path) if path else self._root
        try:
            status = os.stat(whole)
            folder = _Folder(path, (status.st_dev, status.st_ino), through_link, iter(()))
            why = self._bar(folder)
            if why is not None:
                yield Skipped(path=path, why=why)
                return
            self._open.append(replace(folder, names=iter(_sorted_names(whole))))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            is_long = error.errno == errno.ENAMETOOLONG
            why = SkipReason.PATH_TOO_LONG if is_long else SkipReason.UNREADABLE_FOLDER
            yield Skipped(path=path, why=why)

    def _bar(self, folder: _Folder) -> SkipReason | None:
        """Why a folder must not be walked, None if it may be.

        A folder reached through a link is walked once, and never from within itself.
        """
        if folder.identity in self._barred:
            return SkipReason.OWN
        if folder.identity[0] in self._kernel_devices:
            return SkipReason.KERNEL
        open_folders = {open_folder.identity for open_folder in self._open}
        if folder.identity in open_folders | self._above:
            return SkipReason.LOOP
        if folder.through_link:
            if folder.identity in self._linked:
                return SkipReason.LOOP
            self._linked.add(folder.identity)
        return None


def count_files(
    root: bytes, under: bytes = b"", *, leave_out: Iterable[bytes] = ()
) -> tuple[int, int]:
    """How many files `walk` would look at, and how many bytes they have."""
    start = os.path.join(root, under) if under else root
    if not os.path.isdir(start):
        return 1, os.stat(start).st_size
    files = size = 0
    barred, kernel_devices = _identities(leave_out), _kernel_devices()
    counted: set[Identity] = set()
    waiting = [start]
    while waiting:
        folder = waiting.pop()
        identity = _identity(folder)
        if identity is None or identity in barred or identity in counted:
            continue
        if identity[0] in kernel_devices:
            continue
        counted.add(identity)
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if _is_folder(entry):
                    waiting.append(entry.path)
                    continue
                files += 1
                with suppress(OSError):
                    size += entry.stat().st_size
    return files, size


def _sorted_names(folder: bytes) -> list[bytes]:
    """Names in `folder`, those of folders with a slash, in the order of whole paths."""
    with os.scandir(folder) as entries:
        return sorted(entry.name + b"/" if _is_folder(entry) else entry.name for entry in entries)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _look(root: bytes, path: bytes) -> FileStamp | Skipped:
    try:
        status = os.stat(os.path.join(root, path))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return Skipped(path=path, why=SkipReason.PATH_TOO_LONG)
        return FileStamp(path=path, size=0, mtime_ns=0)
    if not stat.S_ISREG(status.st_mode):
        return Skipped(path=path, why=SkipReason.SPECIAL)
    return FileStamp(path=path, size=status.st_size, mtime_ns=status.st_mtime_ns)


def _identity(path: bytes) -> Identity | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _kernel_devices() -> set[int]:
    """Device numbers of the file systems in which the kernel shows itself, none with images."""
    with suppress(OSError), open("/proc/self/mounts", "rb") as mounts:  # noqa: PTH123
        points = [line.split(b" ")[1] for line in mounts if line.split(b" ")[2] in _KERNEL_KINDS]
        return {identity[0] for point in points if (identity := _identity(point)) is not None}
    return set()


def _identities(paths: Iterable[bytes]) -> set[Identity]:
    return {identity for path in paths if (identity := _identity(path)) is not None}


def _identities_above(root: bytes, under: bytes) -> set[Identity]:
    """The folders from `root` down to the start, exclusive: links back to them are loops."""
    parts = under.split(b"/") if under else []
    paths = [os.path.join(root, *parts[:depth]) for depth in range(len(parts))]
    return _identities(paths)
