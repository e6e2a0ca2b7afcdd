"""An array on disk that is filled block by block and can be taken up where it was left.

Rows count only once they have reached the disk and a marker beside them says so; what a
crash leaves beyond the marker is written again. Everything kept this way can be made
again from features.
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
"""The rows from a place on, so many of them."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """Rows of `width` numbers of `dtype` in one file without a header."""

    path: Path
    width: int
    dtype: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * np.dtype(self.dtype).itemsize

    def rows(self) -> int:
        """How many rows are safely there."""
        try:
            marked = int(self._marker.read_text())
            stored = self.path.stat().st_size // self.row_bytes
        except (FileNotFoundError, ValueError):
            return 0
        return min(marked, stored)

    def fill(self, total: int, block: int, make: Make, advance: Callable[[int], None]) -> None:
        """Add what is missing of `total` rows, `block` rows at a time.

        Raises StorageError if the disk does not take them.
        """
        try:
            self._fill(total, block, make, advance)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _fill(self, total: int, block: int, make: Make, advance: Callable[[int], None]) -> None:
        done = self.rows()
        advance(done)
        if done >= total:
            return
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        with os.fdopen(descriptor, "r+b") as stream:
            stream.truncate(done * self.row_bytes)
            stream.seek(0, os.SEEK_END)
            while done < total:
                made = make(done, min(block, total - done))
                stream.write(np.ascontiguousarray(made, dtype=self.dtype).data)
                stream.flush()
                os.fsync(stream.fileno())
                done += len(made)
                with replacing(self._marker) as marker:
                    marker.write(str(done).encode())
                advance(len(made))

    def read(self, total: int) -> NDArray[Any]:
        """The first `total` rows, mapped into memory."""
        return np.memmap(self.path, dtype=self.dtype, mode="r", shape=(total, self.width))

    @property
    def _marker(self) -> Path:
        return self.path.with_suffix(".rows")
