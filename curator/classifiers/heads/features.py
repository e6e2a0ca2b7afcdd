"""The features of one pool: read from disk or held in memory, with their scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import IntArray
from curator.classifiers.heads.model import Standardizer, standardize
from curator.classifiers.protocol import RowSource

_BLOCK = 16_384
_SUM_ROWS = 512


class PoolFeatures:
    """Features of the images whose rows are `runs`, run by run.

    `keeps_variance` is that of `StoredRows`. With `in_memory` they are held there as float32,
    which pays for rounds that follow one another: turning 16 bits into 32 takes longer than all
    that heads compute from them.
    """

    def __init__(
        self,
        source: RowSource,
        runs: Sequence[IntArray],
        *,
        fingerprint: str = "",
        in_memory: bool = False,
    ) -> None:
        self.fingerprint = fingerprint
        # Rows in memory, as of tests and benchmarks, may say so like `StoredRows`.
        self.keeps_variance: bool = getattr(source, "keeps_variance", False)
        self.rows: IntArray = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *runs]))
        self._source, self._runs = source, runs
        self._scale: Standardizer | None = None
        self._values: NDArray[np.float32] | None = None
        if in_memory:
            self._values = _as_float32(source, self.rows)

    def gather(self, rows: IntArray) -> NDArray[np.floating]:
        """The features of these rows, (rows, features); a view where they follow one another.

        Raises ValueError if a row is not in memory.
        """
        if self._values is None:
            features: NDArray[np.floating] = self._source.gather(rows)
            return features
        if len(rows):
            first = int(np.searchsorted(self.rows, rows[0]))
            part = slice(first, first + len(rows))
            if np.array_equal(self.rows[part], rows):
                return self._values[part]
        positions = np.searchsorted(self.rows, rows)
        if not np.array_equal(self.rows[np.minimum(positions, len(self.rows) - 1)], rows):
            raise ValueError("features that were not taken into memory")
        return self._values[positions]

    def scale(self) -> Standardizer:
        """Centre and scale of the pool's features, computed once.

        Raises LearnError if all features are constant.
        """
        if self._scale is None:
            total, squares = np.zeros(1), np.zeros(1)
            for run in self._runs:
                values = self.gather(run).astype(np.float32, copy=False)
                # Sums of a few rows in float32, added up in float64: exact enough, and fast.
                for start in range(0, len(values), _SUM_ROWS):
                    block = values[start : start + _SUM_ROWS]
                    total = total + block.sum(axis=0).astype(np.float64)
                    squares = squares + np.square(block).sum(axis=0).astype(np.float64)
            self._scale = standardize(
                len(self.rows), total, squares, keeps_variance=self.keeps_variance
            )
        return self._scale


def _as_float32(source: RowSource, rows: IntArray) -> NDArray[np.float32]:
    width = source.gather(rows[:1]).shape[1]
    values = np.empty((len(rows), width), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        values[part] = source.gather(rows[part])
    return values
