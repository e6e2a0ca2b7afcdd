"""Features on disk: one append-only file of float16 rows for each encoder's fingerprint.

A row is worth something only once the catalogue has recorded it, and the catalogue is
told only after the bytes have reached the disk. So a crash leaves at worst a tail that
nobody knows of, which the next writer cuts off. Each append also leaves a checksum, so
that damage can be told from data. Everything here can be made again from the images.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from curator.base.files import cannot_write
from curator.errors import StorageError

Float16 = NDArray[np.float16]
Rows = NDArray[np.int64]

_STORED = np.dtype("<f2")
_SUM = struct.Struct("<QQ16s")
_CHECK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFile:
    """Where the features of one fingerprint lie, and how wide a row is."""

    folder: Path
    fingerprint: str
    dimension: int

    @property
    def path(self) -> Path:
        """The rows, float16, little-endian, without a header."""
        return self.folder / f"{self.fingerprint[:32]}-{self.dimension}.f16"

    @property
    def sums_path(self) -> Path:
        """The checksums: first row, number of rows, digest, for each append."""
        return self.path.with_suffix(".sums")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.dimension * _STORED.itemsize

    def stored_rows(self) -> int:
        """Whole rows in the file, recorded or not; 0 if there is no file."""
        try:
            return self.path.stat().st_size // self.row_bytes
        except FileNotFoundError:
            return 0


class FeatureReader:
    """The first `rows` rows of a feature file, mapped into memory and never changed."""

    def __init__(self, file: FeatureFile, rows: int) -> None:
        """Map the file. Raises StorageError if it holds fewer rows than the catalogue says."""
        if file.stored_rows() < rows:
            raise StorageError(
                f"{file.path} holds {file.stored_rows():,} of {rows:,} rows of features.",
                "Run `curator encode`, or import them again if they were your own.",
            )
        self.file = file
        self.rows = rows
        self.dimension = file.dimension
        self._mapped: Float16 = (
            np.memmap(file.path, dtype=_STORED, mode="r", shape=(rows, file.dimension))
            if rows
            else np.zeros((0, file.dimension), _STORED)
        )

    def gather(self, rows: Rows) -> Float16:
        """A copy of these rows in the order given, (len(rows), dimension).

        Raises IndexError for a row that is not there; -1 is not the last one.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= self.rows):
            raise IndexError(f"rows outside 0 to {self.rows - 1}")
        return np.asarray(self._mapped[rows])

    def chunks(self, size: int) -> Iterator[tuple[int, Float16]]:
        """All rows in order: the first row of a chunk, and a view of at most `size` rows."""
        for start in range(0, self.rows, size):
            yield start, self._mapped[start : start + size]

    def check(self) -> list[range]:
        """Ranges of rows that are not what was written, or that no checksum vouches for."""
        damaged, checked = [], 0
        for start, count, digest in _read_sums(self.file.sums_path):
            if start + count > self.rows:
                break
            if _digest(self._mapped[start : start + count]) != digest:
                damaged.append(range(start, start + count))
            checked = start + count
        if checked < self.rows:
            damaged.append(range(checked, self.rows))
        return damaged


class FeatureWriter:
    """Appends rows to a feature file. Only one may be open; the caller holds a lease."""

    def __init__(self, file: FeatureFile, recorded_rows: int) -> None:
        """Open the file behind its `recorded_rows` rows, and cut off what lies beyond.

        Raises StorageError if rows are missing or the file cannot be written.
        """
        self._file = file
        self._rows = recorded_rows
        try:
            file.folder.mkdir(parents=True, exist_ok=True)
            if file.stored_rows() < recorded_rows:
                raise StorageError(
                    f"{file.path} holds fewer rows than the {recorded_rows:,} that were recorded.",
                    "Delete it and run `curator encode`.",
                )
            self._data = _open_appending(file.path)
            self._sums = _open_appending(file.sums_path)
            self._data.truncate(recorded_rows * file.row_bytes)
            self._mend_sums()
        except OSError as error:
            raise cannot_write(file.path, error) from error

    def append(self, features: Float16) -> Rows:
        """Write rows (n, dimension), wait until they are on the disk; their row numbers.

        Raises StorageError if they cannot be written; then nothing was appended.
        """
        if features.ndim != 2 or features.shape[1] != self._file.dimension:
            raise ValueError(f"features of shape {features.shape} do not fit this file")
        if not len(features):
            return np.zeros(0, np.int64)
        first, count = self._rows, len(features)
        stored = np.ascontiguousarray(features, _STORED)
        try:
            self._data.seek(first * self._file.row_bytes)
            _write_all(self._data, _bytes_of(stored))
            os.fsync(self._data.fileno())
            self._append_sum(first, count, _digest(stored))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._data.truncate(first * self._file.row_bytes)
            raise cannot_write(self._file.path, error) from error
        self._rows += count
        return np.arange(first, first + count, dtype=np.int64)

    def close(self) -> None:
        """Close the files."""
        self._data.close()
        self._sums.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _append_sum(self, first: int, count: int, digest: bytes) -> None:
        self._sums.seek(0, os.SEEK_END)
        position = self._sums.tell()
        try:
            _write_all(self._sums, memoryview(_SUM.pack(first, count, digest)))
            os.fsync(self._sums.fileno())
        except OSError:
            with contextlib.suppress(OSError):
                self._sums.truncate(position)
            raise

    def _mend_sums(self) -> None:
        """Drop checksums of rows that were cut off, and vouch for rows that have none."""
        kept, checked = 0, 0
        for start, count, _ in _read_sums(self._file.sums_path):
            if start != checked or start + count > self._rows:
                break
            kept, checked = kept + 1, start + count
        self._sums.truncate(kept * _SUM.size)
        step = max(1, _CHECK_BYTES // self._file.row_bytes)
        for start in range(checked, self._rows, step):
            count = min(step, self._rows - start)
            self._data.seek(start * self._file.row_bytes)
            content = bytearray(count * self._file.row_bytes)
            _read_all(self._data, memoryview(content))
            self._append_sum(start, count, hashlib.blake2b(content, digest_size=16).digest())


def _open_appending(path: Path) -> FileIO:
    """A file for reading and writing anywhere, unbuffered, made if need be, never emptied."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    return FileIO(descriptor, "r+")


def _write_all(stream: FileIO, content: memoryview) -> None:
    """Write everything; the system may take less at once, as when the disk fills up."""
    while content:
        content = content[stream.write(content) or 0 :]


def _read_all(stream: FileIO, target: memoryview) -> None:
    while target:
        count = stream.readinto(target)
        if not count:
            raise OSError("the file ended early")
        target = target[count:]


def _read_sums(path: Path) -> Iterator[tuple[int, int, bytes]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = len(content) // _SUM.size * _SUM.size
    yield from _SUM.iter_unpack(content[:whole])


def _digest(rows: Float16) -> bytes:
    return hashlib.blake2b(_bytes_of(rows), digest_size=16).digest()


def _bytes_of(rows: Float16) -> memoryview:
    """The bytes of an array in memory order, without a copy where it is contiguous."""
    return memoryview(np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data)
