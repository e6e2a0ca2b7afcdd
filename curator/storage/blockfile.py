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

from curator.base.files import cannot_write, opened, replacing, write_all
from curator.storage.rows import for_writing, mapped

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
        recorded, stored = self._recorded(), mapped(self.path, self._row)[:total]
        for start in range(0, total, self.block):
            digest, recorded = recorded[:8], recorded[8:]
            if digest != self._digest(stored[start : start + self.block]):
                if digest:
                    note(f"{self.path} is damaged or was changed; it is computed again.")
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
        return mapped(self.path, self._row)[:total]

    def _compute(self, done: int, total: int, make: Make, advance: Callable[[int], None]) -> None:
        row_bytes = self._row.itemsize
        recorded = self._recorded()[: 8 * done // self.block]
        descriptor = for_writing(self.path, done * row_bytes)
        try:
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

    @property
    def _row(self) -> np.dtype[Any]:
        return np.dtype((self.dtype, (self.width,)))

    def _digest(self, rows: NDArray[Any]) -> bytes:
        content = np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data
        return xxhash.xxh3_64_digest(content, seed=int(self.key[:16], 16))

    @property
    def _digests_path(self) -> Path:
        return self.path.with_suffix(".digests")
