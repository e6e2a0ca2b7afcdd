"""An array on disk that is filled block by block and continues after an interruption.

A block counts only once it is synced to disk and its digest is recorded in a file beside.
Blocks are kept up to the first that differs from its digest; the rest is computed again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from curator.base.files import NO_FOLLOW, cannot_write, opened, replacing, write_all

Make = Callable[[int, int], NDArray[Any]]
"""Computes rows: the first row, and how many."""


@dataclass(frozen=True, slots=True)
class BlockFile:
    """Rows of `width` numbers of `dtype` in one file without a header, `block` rows at a time.

    `key`, a digest in hex, names everything that the numbers depend on: a file that was
    made of something else is not taken for this one.
    """

    path: Path
    width: int
    dtype: str
    block: int
    key: str

    def intact_rows(self, total: int, note: Callable[[str], None] = lambda text: None) -> int:
        """How many of `total` rows are what was written, up to the first block that is not.

        A block that was written and is not intact is told to `note`.
        """
        recorded, stored = self._recorded(), self._mapped(total)
        for start in range(0, total, self.block):
            digest, recorded = recorded[:8], recorded[8:]
            if digest != self._digest(stored[start : start + self.block]):
                if digest:
                    note(f"{self.path} is not what was written; it is computed again.")
                return start
        return total

    def fill(self, total: int, make: Make, advance: Callable[[int], None]) -> NDArray[Any]:
        """All of `total` rows, mapped into memory; those that are not intact are computed now.

        Raises StorageError if the disk is full.
        """
        done = self.intact_rows(total)
        advance(done)
        if done < total:
            try:
                self._compute(done, total, make, advance)
            except OSError as error:
                raise cannot_write(self.path, error) from error
        return self._mapped(total)

    def _compute(self, done: int, total: int, make: Make, advance: Callable[[int], None]) -> None:
        row_bytes = self.width * np.dtype(self.dtype).itemsize
        recorded = self._recorded()[: 8 * done // self.block]
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_FOLLOW, 0o644)
        try:
            os.ftruncate(descriptor, done * row_bytes)
            while done < total:
                rows = np.ascontiguousarray(make(done, min(self.block, total - done)), self.dtype)
                write_all(descriptor, rows.view(np.uint8).reshape(-1).data, done * row_bytes)
                os.fsync(descriptor)
                recorded += self._digest(rows)
                # The digest follows the rows to the disk: whatever it names exists.
                with replacing(self._digests_path) as stream:
                    stream.write(recorded)
                done += len(rows)
                advance(len(rows))
        finally:
            os.close(descriptor)

    def _recorded(self) -> bytes:
        try:
            with opened(self._digests_path) as stream:
                return stream.read()
        except FileNotFoundError:
            return b""

    def _mapped(self, total: int) -> NDArray[Any]:
        """The rows that are there, at most `total`."""
        row_bytes = self.width * np.dtype(self.dtype).itemsize
        try:
            with opened(self.path) as stream:
                count = min(total, os.fstat(stream.fileno()).st_size // row_bytes)
                if count:
                    return np.memmap(stream, self.dtype, mode="r", shape=(count, self.width))
        except FileNotFoundError:
            pass
        return np.empty((0, self.width), self.dtype)

    def _digest(self, rows: NDArray[Any]) -> bytes:
        content = np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data
        return xxhash.xxh3_64_digest(content, seed=int(self.key[:16], 16))

    @property
    def _digests_path(self) -> Path:
        return self.path.with_suffix(".digests")
