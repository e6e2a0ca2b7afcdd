"""An array on disk that is filled block by block and continues after an interruption.

Rows count only once they are synced to disk and a marker file says so; what a crash
leaves after them is written again. The rows can always be computed again from features.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.files import cannot_write, replacing

Make = Callable[[int, int], NDArray[Any]]
"""Computes rows: the first row, and how many."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """Rows of `width` numbers of `dtype` in one file without a header."""

    path: Path
    width: int
    dtype: str

    @property
    def row_bytes(self) -> int:
        return self.width * np.dtype(self.dtype).itemsize

    def rows(self) -> int:
        """How many rows are synced to disk."""
        try:
            marked = int(self._marker.read_text())
            stored = self.path.stat().st_size // self.row_bytes
        except (FileNotFoundError, ValueError):
            return 0
        return min(marked, stored)

    def fill(self, total: int, block: int, make: Make, advance: Callable[[int], None]) -> None:
        """Compute and write the missing ones of `total` rows, `block` rows at a time.

        Raises StorageError if the disk is full.
        """
        try:
            done = self.rows()
            advance(done)
            if done >= total:
                return
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(self.path, flags, 0o644), "r+b") as stream:
                stream.truncate(done * self.row_bytes)
                stream.seek(0, os.SEEK_END)
                while done < total:
                    rows = make(done, min(block, total - done))
                    stream.write(np.ascontiguousarray(rows, dtype=self.dtype).data)
                    stream.flush()
                    os.fsync(stream.fileno())
                    done += len(rows)
                    # The marker follows the rows to the disk: whatever it counts exists.
                    with replacing(self._marker) as marker:
                        marker.write(str(done).encode())
                    advance(len(rows))
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def read(self, total: int) -> NDArray[Any]:
        """The first `total` rows, mapped into memory."""
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(total, self.width))

    @property
    def _marker(self) -> Path:
        return self.path.with_suffix(".rows")
