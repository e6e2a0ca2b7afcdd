"""The nearest neighbours of every image in feature space, found approximately.

Features are scaled to unit length and projected on their leading directions, so that a pool
of a million takes less than two hundred megabytes to search. An inverted file (faiss) looks only
into the cells nearest to each image and compares the first directions alone; the best of what it
finds are compared in all of them. Everything follows from the features and from which images there
are: the same pool gives the same graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import FloatArray, IntArray
from curator.classifiers.protocol import RowSource
from curator.errors import LearnError

Float32 = NDArray[np.float32]

DIRECTIONS = 128
"""Most directions that features are projected on."""
SAMPLE = 5_000
"""Most images from which the directions are found."""
RECIPE = "unit-pca128-ivf48-refined-2"
"""Names this way of finding neighbours; part of what a graph depends on."""

_EXACT_UP_TO = 4_096
_FIRST_DIRECTIONS = 48
"""Directions in which cells are searched: half the time of all of them, for 4 of 100 neighbours."""
_COMPARED = 2
"""Candidates of the cells, in multiples of what is asked, that are compared in all directions."""
_CELLS_SEARCHED = 8
_ROUNDS_OF_CELLS = 4
_PER_CELL, _SAMPLED_PER_CELL = 64, 18
_ADDED_AT_ONCE = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Unit-length features to a few directions.

    `mean` is (features,), `directions` (features, d).
    """

    mean: Float32
    directions: Float32

    def apply(self, features: NDArray[np.floating]) -> Float32:
        """Projected rows, (rows, d) float32; Euclidean distance stands in for the angle.

        Raises LearnError if a feature is not a finite number.
        """
        centred = unit_length(features) - self.mean
        projected: Float32 = (centred @ self.directions).astype(np.float32, copy=False)
        return projected


def find_projection(features: RowSource, rows: IntArray) -> Projection:
    """The leading directions of at most `SAMPLE` of these rows, evenly taken.

    Raises LearnError if a feature is not a finite number.
    """
    step = max(1, -(-len(rows) // SAMPLE))
    sample = unit_length(features.gather(rows[::step]))
    mean = sample.mean(axis=0)
    centred = sample - mean
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    leading = vectors[:, ::-1][:, :DIRECTIONS].astype(np.float32)
    # An eigenvector may come out either way round; its largest part is made positive.
    largest = np.abs(leading).argmax(axis=0)
    leading *= np.sign(leading[largest, np.arange(leading.shape[1])])
    return Projection(mean=mean, directions=np.ascontiguousarray(leading))


class NeighbourIndex:
    """Finds the nearest of some vectors (images, d). Threads are those of faiss."""

    def __init__(self, vectors: NDArray[np.floating]) -> None:
        import faiss

        count, width = vectors.shape
        self._index: Any
        if count <= _EXACT_UP_TO:
            self._index = faiss.IndexFlatL2(width)
            self._index.add(np.asarray(vectors, dtype=np.float32))
            return
        cells = min(4_096, count // _PER_CELL)
        first = min(width, _FIRST_DIRECTIONS)
        kind = faiss.ScalarQuantizer.QT_8bit
        in_cells = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(first), first, cells, kind, faiss.METRIC_L2, False
        )
        in_cells.cp.niter = _ROUNDS_OF_CELLS
        in_cells.cp.min_points_per_centroid = 1
        in_cells.nprobe = _CELLS_SEARCHED
        # The stub of faiss knows another constructor than this one, which keeps the first ones.
        first_ones = faiss.RemapDimensionsTransform(width, first, False)  # type: ignore[arg-type]
        by_cells = faiss.IndexPreTransform(first_ones, in_cells)
        exactly = faiss.IndexScalarQuantizer(width, kind, faiss.METRIC_L2)
        step = max(1, count // (_SAMPLED_PER_CELL * cells))
        sample = np.asarray(vectors[::step], dtype=np.float32)
        by_cells.train(sample)
        exactly.train(sample)
        self._index = faiss.IndexRefine(by_cells, exactly)
        self._index.k_factor = _COMPARED
        for start in range(0, count, _ADDED_AT_ONCE):
            self._index.add(np.asarray(vectors[start : start + _ADDED_AT_ONCE], dtype=np.float32))

    def nearest(self, vectors: NDArray[np.floating], count: int) -> NDArray[np.int64]:
        """The positions of the `count` nearest vectors, (rows, count); -1 where there are fewer."""
        _, positions = self._index.search(np.asarray(vectors, dtype=np.float32), count)
        nearest: IntArray = positions
        return nearest

    def nearest_of_own(
        self, vectors: NDArray[np.floating], first: int, count: int
    ) -> NDArray[np.int32]:
        """For vectors `first`, `first` + 1, … of the index: their neighbours without themselves.

        (rows, count) int32. Where the cells searched hold fewer, the nearest one is repeated.
        """
        positions = self.nearest(vectors, count + 1)
        itself = (first + np.arange(len(positions)))[:, None]
        own = positions == itself
        # The search is approximate: where an image did not find itself, the farthest one goes.
        own[~own.any(axis=1), -1] = True
        neighbours = positions[~own].reshape(len(positions), count)
        nearest = np.where(neighbours[:, :1] < 0, itself, neighbours[:, :1])
        return np.where(neighbours < 0, nearest, neighbours).astype(np.int32)


def nearest_distances(
    vectors: NDArray[np.floating], references: NDArray[np.floating]
) -> FloatArray:
    """Distance of each of `vectors` (images, d) to the nearest of `references` (n, d), exactly."""
    import faiss

    index = faiss.IndexFlatL2(references.shape[1])
    index.add(np.asarray(references, dtype=np.float32))
    distances = np.empty(len(vectors))
    for start in range(0, len(vectors), _ADDED_AT_ONCE):
        part = np.asarray(vectors[start : start + _ADDED_AT_ONCE], dtype=np.float32)
        squares, _ = index.search(part, 1)
        distances[start : start + len(part)] = np.sqrt(np.maximum(squares[:, 0], 0.0))
    return distances


def use_search_threads(count: int) -> None:
    """Fix the threads of faiss."""
    import faiss

    faiss.omp_set_num_threads(count)


def unit_length(features: NDArray[np.floating]) -> Float32:
    """Rows scaled to length 1; rows of zeros stay zeros. Raises LearnError if not finite."""
    rows = features.astype(np.float32)
    if not np.isfinite(rows).all():
        raise LearnError(
            "Some features are not finite numbers.",
            "Check the features that you imported, or encode again with another encoder.",
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float32 = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled
