"""Features on disk: one append-only file of float16 rows for each encoder's fingerprint.

A row counts only once the catalogue has recorded it, which happens after its bytes are
synced to disk. So a crash leaves at worst unrecorded rows at the end, which the next
writer cuts off. Each append also writes a checksum, so that damage is noticed. All of it
can be computed again from the images.
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
from typing import Self

import numpy as np

from curator.base.arrays import Float16Array, IntArray
from curator.base.files import cannot_write, write_synced
from curator.errors import StorageError

_STORED = np.dtype("<f2")
_SUM = struct.Struct("<QQ16s")
_CHECK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFile:
    """The file of the features of one fingerprint, and the width of its rows."""

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
        self._mapped: Float16Array = (
            np.memmap(file.path, dtype=_STORED, mode="r", shape=(rows, file.dimension))
            if rows
            else np.zeros((0, file.dimension), _STORED)
        )

    def gather(self, rows: IntArray) -> Float16Array:
        """A copy of these rows in this order, (len(rows), dimension).

        Raises IndexError for a row outside the file; -1 is not the last one.
        """
        if len(rows) and (rows.min() < 0 or rows.max() >= self.rows):
            raise IndexError(f"rows outside 0 to {self.rows - 1}")
        return np.asarray(self._mapped[rows])

    def chunks(self, size: int) -> Iterator[tuple[int, Float16Array]]:
        """All rows in order: the first row of a chunk, and a view of at most `size` rows."""
        for start in range(0, self.rows, size):
            yield start, self._mapped[start : start + size]

    def check(self) -> list[range]:
        """Ranges of rows that differ from what was written, or that have no checksum."""
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
    """Appends rows to a feature file. Only one may be open; the caller has a lease."""

    def __init__(self, file: FeatureFile, recorded_rows: int) -> None:
        """Open the file after its `recorded_rows` rows, and cut off what follows.

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

    def append(self, features: Float16Array) -> IntArray:
        """Write rows (n, dimension), wait until they are on the disk, and return their numbers.

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
            write_synced(self._data, _bytes_of(stored))
            self._append_sum(first, count, _digest(stored))
        except OSError as error:
            # Gives the space of rows that were written in part back to a full disk.
            with contextlib.suppress(OSError):
                self._data.truncate(first * self._file.row_bytes)
            raise cannot_write(self._file.path, error) from error
        self._rows += count
        return np.arange(first, first + count, dtype=np.int64)

    def close(self) -> None:
        self._data.close()
        self._sums.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append_sum(self, first: int, count: int, digest: bytes) -> None:
        self._sums.seek(0, os.SEEK_END)
        position = self._sums.tell()
        try:
            write_synced(self._sums, _SUM.pack(first, count, digest))
        except OSError:
            with contextlib.suppress(OSError):
                self._sums.truncate(position)
            raise

    def _mend_sums(self) -> None:
        """Drop checksums of rows that were cut off, and add those that are missing."""
        sums, checked = 0, 0
        for start, count, _ in _read_sums(self._file.sums_path):
            # A checksum counts only if those before it cover all rows before its own.
            if start != checked or start + count > self._rows:
                break
            sums, checked = sums + 1, start + count
        self._sums.truncate(sums * _SUM.size)
        step = max(1, _CHECK_BYTES // self._file.row_bytes)
        for start in range(checked, self._rows, step):
            count = min(step, self._rows - start)
            self._data.seek(start * self._file.row_bytes)
            content = bytearray(count * self._file.row_bytes)
            rest = memoryview(content)
            while rest:
                read = self._data.readinto(rest)
                if not read:
                    raise OSError("the file ended early")
                rest = rest[read:]
            self._append_sum(start, count, hashlib.blake2b(content, digest_size=16).digest())


def _open_appending(path: Path) -> FileIO:
    """A file for reading and writing, unbuffered; created if missing, never truncated."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
    return FileIO(descriptor, "r+")


def _read_sums(path: Path) -> Iterator[tuple[int, int, bytes]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = len(content) // _SUM.size * _SUM.size
    yield from _SUM.iter_unpack(content[:whole])


def _digest(rows: Float16Array) -> bytes:
    return hashlib.blake2b(_bytes_of(rows), digest_size=16).digest()


def _bytes_of(rows: Float16Array) -> memoryview:
    """The bytes of an array in memory order, without a copy where it is contiguous."""
    return memoryview(np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data)
