"""A folder that is either complete, under its own name, or recognisably not.

It is made beside its destination as `NAME.unfinished`, which holds a marker that says what
it is to become, and takes its name in one step at the end. Interrupted, the same export
goes on where it stopped; another one starts afresh. A process keeps it locked while it
works.
"""

# Places are named by folder descriptor and name, which pathlib does not know.
from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from curator.base.files import cannot_write, refuse_own
from curator.errors import BusyError, StorageError, UsageError

MARKER = ".unfinished.json"
"""The file whose presence says that a folder is not complete."""

ABOUT = "curator.json"
"""The file in a finished folder that says how it came about."""

MANIFEST = "manifest.csv"
"""The manifest in a finished folder; its paths are relative to the folder."""

_OPEN_FOLDERS = 64


def unfinished_path(destination: Path) -> Path:
    """Where a folder is made before it takes its name."""
    return destination.with_name(f"{destination.name}.unfinished")


class Building:
    """A folder that is being made; everything in it is reached without following links.

    `root` is its path now, `resumed` tells whether an interrupted run left parts in it.
    """

    def __init__(self, root: Path, *, resumed: bool) -> None:
        self.root = root
        self.resumed = resumed
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._folders: dict[tuple[str, ...], int] = {}

    def folder(self, parts: tuple[str, ...], *, make: bool = True) -> int:
        """A descriptor of the folder at these components under the root, made if need be.

        Raises StorageError if one of them is anything but a folder.
        """
        if not parts:
            return self._root
        if parts not in self._folders:
            if len(self._folders) >= _OPEN_FOLDERS:
                self._close_folders()
            self._folders[parts] = self._entered(parts, make)
        return self._folders[parts]

    def _entered(self, parts: tuple[str, ...], make: bool) -> int:
        at = os.dup(self._root)
        for part in parts:
            check_component(part)
            above = at
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=above)
                at = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            except NotADirectoryError:
                raise _obstacle_error(self.root.joinpath(*parts)) from None
            except OSError as error:
                if os.path.islink(self.root.joinpath(*parts)):  # noqa: PTH114
                    raise _obstacle_error(self.root.joinpath(*parts)) from error
                raise
            finally:
                os.close(above)
        return at

    @contextmanager
    def new_file(self, *parts: str) -> Iterator[BinaryIO]:
        """A stream whose content becomes the file at these components when it is whole."""
        *above, name = parts
        check_component(name)
        # A folder of its own: others may be let go of while this file is written.
        folder = os.dup(self.folder(tuple(above)))
        try:
            part = f".{name[:100]}.part"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(part, flags, 0o666, dir_fd=folder), "w+b") as stream:  # noqa: PTH123
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(folder)

    def read(self, *parts: str) -> bytes | None:
        """The content of a file that an earlier run finished; None if it did not."""
        *above, name = parts
        check_component(name)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=self.folder(tuple(above)))
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as stream:  # noqa: PTH123
            return stream.read()

    def remove(self, *parts: str) -> None:
        """Take a file out of the folder, if it is there."""
        *above, name = parts
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.folder(tuple(above)))

    def remove_folder(self, name: str) -> None:
        """Take an empty folder out of the root, if it is there."""
        check_component(name)
        self._close_folders()
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=self._root)

    def finish(self, destination: Path, *, copies: bool) -> Path | None:
        """Everything to disk, the marker away, and the name in one step.

        `copies` says that there are new files which nobody has brought to disk yet. A folder
        that stands at the destination makes way, and is removed as `discard` does
        it; what is left of it then, because no export wrote it, is returned.
        """
        if copies:
            os.sync()  # once, instead of a wait for each file
        self.remove(MARKER)
        self._close_folders()
        os.fsync(self._root)
        former = None
        if destination.is_dir() and any(destination.iterdir()):
            former = _free_name(destination.with_name(f"{destination.name}.replaced"))
            destination.rename(former)
        self.root.rename(destination)
        if former is not None:
            discard(former)
        return former if former is not None and former.exists() else None

    def close(self) -> None:
        """Close the descriptors of the folders."""
        self._close_folders()
        os.close(self._root)

    def _close_folders(self) -> None:
        while self._folders:
            os.close(self._folders.popitem()[1])


def _free_name(path: Path) -> Path:
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1_000)))
    return next(name for name in names if not os.path.lexists(name))


def discard(folder: Path) -> None:
    """Remove a folder that an export wrote, but nothing that it did not write.

    What somebody else put there stays, in the folder.
    """
    export = Building(folder, resumed=False)
    try:
        for parts in written_files(folder):
            with contextlib.suppress(OSError, ValueError, StorageError):
                check_component(parts[-1])
                os.unlink(parts[-1], dir_fd=export.folder(parts[:-1], make=False))
    finally:
        export.close()
    for at, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(at)  # noqa: PTH106


def written_files(folder: Path) -> Iterator[tuple[str, ...]]:
    """Components of every file that the export which made `folder` wrote, itself last."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    with (folder / MANIFEST).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            yield tuple(row["path"].split("/"))
    for name in about["files"]:
        yield tuple(name.split("/"))
    yield (MANIFEST,)
    yield (ABOUT,)


def is_an_export(folder: Path) -> bool:
    """Whether an export made this folder, and finished it."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return isinstance(about["files"], list) and (folder / MANIFEST).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_component(name: str) -> None:
    """Refuse whatever could lead out of the folder; a bug elsewhere must not write there."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a file")


def check_folder(destination: Path, *, force: bool) -> None:
    """Refuse early where a folder cannot be made.

    Raises UsageError for a file and within `.curator/`, StorageError for a folder that is there
    already (unless it is empty, or `force` is given) or a parent that is not.
    """
    if not destination.name or destination.name in {".", ".."}:
        raise UsageError(f"{destination} is not a name for a new folder.", "Name one to be made.")
    refuse_own(destination)
    if not destination.parent.is_dir():
        raise StorageError(
            f"The folder {destination.parent} does not exist.", "Make it, or name another one."
        )
    if not os.path.lexists(destination):
        return
    if destination.is_symlink() or not destination.is_dir():
        raise StorageError(
            f"{destination} exists already and is not a folder.", "Name a folder to be made."
        )
    if not any(destination.iterdir()):
        return
    if not force:
        raise StorageError(
            f"{destination} exists already and is not empty.",
            "Add --force to replace a folder that curator wrote, or name another one.",
        )
    if not is_an_export(destination):
        raise StorageError(
            f"{destination} is not a folder that an export wrote, so it is not replaced.",
            "Name another one, or remove it yourself.",
        )


@contextmanager
def building(destination: Path, purpose: str) -> Iterator[Building]:
    """Make, or go on making, the folder that is to be `destination`.

    `purpose` is a digest of everything that the content follows from. What an interrupted
    run with another purpose left is removed. Left without `Building.finish`, the folder
    stays as it is, unfinished. Raises BusyError if another process is at it, StorageError
    if something stands in its place that curator did not make.
    """
    root = unfinished_path(destination)
    try:
        with _locked(destination):
            resumed = _cleared(root, purpose)
            if not resumed:
                root.mkdir()
                (root / MARKER).write_text(json.dumps({"purpose": purpose}), encoding="ascii")
            folder = Building(root, resumed=resumed)
            try:
                yield folder
            finally:
                folder.close()
    except OSError as error:
        raise cannot_write(destination, error) from error


@contextmanager
def _locked(destination: Path) -> Iterator[None]:
    """A lock on the folder that the destination lies in, for as long as this takes.

    The lock is that of an open file, so it ends with its process however that ends.
    """
    lock = destination.with_name(f".{destination.name}.lock")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(lock, flags, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file between these two lines.
            mine = os.path.samestat(os.fstat(descriptor), lock.lstat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise BusyError(
                f"Another process is exporting to {destination}.", "Wait until it has finished."
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _cleared(root: Path, purpose: str) -> bool:
    """Whether `root` can be continued; if not, and curator made it, it is removed."""
    if not os.path.lexists(root):
        return False
    former_purpose = _purpose_of(root)
    if former_purpose is None:
        raise StorageError(
            f"{root} is in the way, and curator did not make it.", "Move it, or remove it."
        )
    if former_purpose == purpose:
        return True
    shutil.rmtree(root)
    return False


def _purpose_of(root: Path) -> str | None:
    """What an unfinished folder was to become; None if it is none."""
    if root.is_symlink() or not root.is_dir():
        return None
    marker = root / MARKER
    try:
        if not stat.S_ISREG(marker.lstat().st_mode):
            return None
        return str(json.loads(marker.read_text(encoding="ascii"))["purpose"])
    except (OSError, ValueError, KeyError, TypeError):
        # Killed between the last two steps of finishing, only the marker is missing.
        ours = (root / ABOUT).is_file() or not any(root.iterdir())
        return "" if ours else None


def _obstacle_error(path: Path) -> StorageError:
    return StorageError(
        f"{path} is in the way: it should be a folder.", "Remove it, then run the export again."
    )
