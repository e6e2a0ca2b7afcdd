"""Rows on disk: the features of an encoder, or the pixels of a pack, one file for each set.

The catalogue says which row belongs to which image, and has a digest of each row. A row
counts only once the catalogue has recorded it, which happens after its bytes are synced; a
crash leaves at worst bytes that nobody refers to. Rows are compared with their digests
before they are used, so a file that was changed, cut, permuted or exchanged for another is
noticed. All of it can be computed again from the images.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.base.files import NO_FOLLOW, cannot_write, opened, sync_folder, write_all
from curator.base.scaled_rows import pack_scaled, scaled_dtype, unpack_scaled
from curator.errors import StorageError

Content = bytes | memoryview
DigestArray = NDArray[np.uint64]
"""A digest for each row, 0 where none is known."""

_PLACE = np.dtype([("offset", "<u8"), ("length", "<u8")])


def row_digest(content: Content) -> int:
    """XXH3 of a row's bytes, 64 bits, never 0.

    It notices damage, not forgery: who can write the workspace can write its labels, too.
    """
    return xxhash.xxh3_64_intdigest(content) or 1


class DamagedRowsError(StorageError):
    """A file does not hold what was written to it."""


@dataclass(frozen=True, kw_only=True)
class RowFile:
    """Where the rows of a set lie, and what one row is.

    Rows are arrays of `shape`, of numbers of `dtype`, and lie one behind the other. With
    `decode` a row is what it gives for a row's bytes, and the places of the rows, which then
    have no common length, stand in a file beside. With `scaled`, rows are packed as in
    `base/scaled_rows.py`. `mend` is the advice for damage.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    mend: str
    decode: Callable[[Content], NDArray[Any]] | None = None
    scaled: bool = False

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row, decoded."""
        if self.scaled:
            return scaled_dtype(*self.shape).itemsize
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def contents(self, rows: NDArray[Any]) -> list[Content]:
        """The bytes of each of these rows, for a `RowWriter`."""
        return contents_of(pack_scaled(rows) if self.scaled else rows.astype(self.dtype))

    @property
    def places_path(self) -> Path:
        """Offset and length of each row, where rows differ in length."""
        return self.path.with_suffix(".places")

    def bytes_on_disk(self) -> int:
        """Bytes of the file, 0 if there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    def remove(self) -> None:
        """Delete all rows."""
        self.path.unlink(missing_ok=True)
        self.places_path.unlink(missing_ok=True)


class RowReader:
    """The first rows of a file, mapped into memory and compared with their digests."""

    def __init__(self, file: RowFile, digests: DigestArray) -> None:
        """Map the file; `digests` (rows,) are those of the catalogue."""
        self.file = file
        self._digests = digests
        # Rows without a digest are holes that no image refers to, or older than digests.
        self._checked = digests == 0
        self._data = mapped(file.path, np.dtype(np.uint8))
        self._bytes: memoryview[int] = self._data.data
        if file.decode is None:
            whole = len(self._data) // file.row_bytes
            fixed = self._data[: whole * file.row_bytes]
            self._rows: NDArray[Any] = (
                fixed.view(scaled_dtype(*file.shape))
                if file.scaled
                else fixed.view(file.dtype).reshape(whole, *file.shape)
            )
        else:
            self._places = mapped(file.places_path, _PLACE)

    @property
    def rows(self) -> int:
        """How many rows are recorded, holes included."""
        return len(self._digests)

    @property
    def has_digests(self) -> bool:
        """Whether the rows can be compared with anything."""
        return bool(self._digests.any())

    def gather(self, rows: IntArray) -> NDArray[Any]:
        """A copy of these rows in this order, (len(rows), *shape).

        Raises IndexError for a row outside the file (-1 is not the last one), and
        DamagedRowsError if a row is not what was written.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= self.rows):
            raise IndexError(f"rows outside 0 to {self.rows - 1}")
        damaged = self.damaged(rows)
        if len(damaged):
            raise self.error(damaged)
        decode = self.file.decode
        if decode is None:
            gathered = np.asarray(self._rows[rows])
            return unpack_scaled(gathered) if self.file.scaled else gathered
        gathered = np.empty((len(rows), *self.file.shape), self.file.dtype)
        starts, ends = self._bounds(rows)
        for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
            gathered[position] = decode(self._bytes[start:end])
        return gathered

    def damaged(
        self, rows: IntArray | None = None, advance: Callable[[int], None] = lambda count: None
    ) -> IntArray:
        """Those of these rows, or of all, that are not what was written, rising.

        A row that was compared once is not read again.
        """
        rows = np.arange(self.rows) if rows is None else rows
        unread: IntArray = np.unique(rows[~self._checked[rows]])
        same = self.computed(unread, advance) == self._digests[unread]
        self._checked[unread[same]] = True
        damaged: IntArray = unread[~same]
        return damaged

    def computed(
        self, rows: IntArray, advance: Callable[[int], None] = lambda count: None
    ) -> DigestArray:
        """The digests of these rows as they are now."""
        digests = np.empty(len(rows), np.uint64)
        for at in range(0, len(rows), _CHECKED_AT_ONCE):
            part = rows[at : at + _CHECKED_AT_ONCE]
            # What lies behind the end of a file that was cut is shorter, and so differs.
            digests[at : at + len(part)] = [
                row_digest(self._bytes[start:end])
                for start, end in zip(*self._bounds(part), strict=True)
            ]
            advance(len(part))
        return digests

    def content(self, first: int, count: int) -> Content:
        """The bytes of `count` rows of one length, fewer where the file ends."""
        return self._bytes[first * self.file.row_bytes : (first + count) * self.file.row_bytes]

    def error(self, damaged: IntArray) -> DamagedRowsError:
        """What to tell about damaged rows."""
        return DamagedRowsError(
            f"{len(damaged):,} of {self.rows:,} rows of {self.file.path} are damaged or were"
            " changed.",
            self.file.mend,
        )

    def _bounds(self, rows: IntArray) -> tuple[list[int], list[int]]:
        """Where these rows begin and end in the file."""
        if self.file.decode is None:
            starts = rows * self.file.row_bytes
            return starts.tolist(), (starts + self.file.row_bytes).tolist()
        bounds = np.zeros(len(rows), _PLACE)
        present = rows < len(self._places)
        bounds[present] = self._places[rows[present]]
        return bounds["offset"].tolist(), (bounds["offset"] + bounds["length"]).tolist()


_CHECKED_AT_ONCE = 16_384


class RowWriter:
    """Writes rows, first into holes and then at the end. Only one may be open, under a lease."""

    def __init__(self, file: RowFile, end: int, holes: IntArray) -> None:
        """Open the file; `end` is behind its last recorded row, and what follows is cut off.

        `holes` are rows before it, rising, that no image refers to. Raises StorageError if
        the file cannot be written.
        """
        self._file, self._end, self._holes = file, end, holes
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            self._data = for_writing(file.path, end * file.row_bytes if not file.decode else None)
            self._places = -1
            if file.decode is not None:
                self._places = for_writing(file.places_path, end * _PLACE.itemsize)
            sync_folder(file.path.parent)
        except OSError as error:
            raise cannot_write(file.path, error) from error

    def append(self, contents: Sequence[Content]) -> tuple[IntArray, DigestArray]:
        """Write rows and wait until they are on the disk; their numbers and digests.

        Raises StorageError if they cannot be written; then nothing was appended.
        """
        count, holes = len(contents), self._holes[: len(contents)]
        rows = np.append(holes, np.arange(self._end, self._end + count - len(holes)))
        digests = np.array([row_digest(content) for content in contents], np.uint64)
        before = os.fstat(self._data).st_size
        try:
            if self._file.decode is None:
                offsets = rows * self._file.row_bytes
            else:
                lengths = [len(content) for content in contents]
                # Rows of other lengths do not fit into holes: only their places are reused.
                offsets = before + np.cumsum([0, *lengths])[:-1]
            _write_runs(self._data, offsets, contents)
            if self._file.decode is not None:
                entries = np.zeros(count, _PLACE)
                entries["offset"], entries["length"] = offsets, lengths
                _write_runs(self._places, rows * _PLACE.itemsize, contents_of(entries))
        except OSError as error:
            # Gives the space of rows that were written in part back to a full disk.
            with contextlib.suppress(OSError):
                os.ftruncate(self._data, before)
            raise cannot_write(self._file.path, error) from error
        self._holes, self._end = self._holes[len(holes) :], self._end + count - len(holes)
        return rows.astype(np.int64), digests

    def close(self) -> None:
        for descriptor in (self._data, self._places):
            if descriptor >= 0:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def contents_of(rows: NDArray[Any]) -> list[Content]:
    """The bytes of each row of an array, without a copy where it is contiguous."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
    return [row.data for row in flat]


def mapped(path: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The whole items of a file, mapped into memory; none if it is missing."""
    try:
        with opened(path) as stream:
            count = os.fstat(stream.fileno()).st_size // dtype.itemsize
            if count:
                return np.memmap(stream, dtype=dtype, mode="r", shape=(count,))
    except FileNotFoundError:
        pass
    return np.empty(0, dtype)


def for_writing(path: Path, size: int | None) -> int:
    """A descriptor; the file is created if missing, and cut to `size` if it is longer."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o644)
    if size is not None and os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)
    return descriptor


def _write_runs(descriptor: int, offsets: IntArray, contents: Sequence[Content]) -> None:
    """Write each content at its offset, those that adjoin in one piece, and sync."""
    ends = offsets + np.array([len(content) for content in contents])
    starts_run = np.append(True, offsets[1:] != ends[:-1])
    numbered = zip(np.cumsum(starts_run).tolist(), offsets.tolist(), contents, strict=True)
    for _, run in groupby(numbered, key=lambda item: item[0]):
        pieces = list(run)
        write_all(descriptor, b"".join(content for *_, content in pieces), pieces[0][1])
    os.fsync(descriptor)
