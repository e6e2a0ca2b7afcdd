"""What an image's neighbours say about it: the unlabelled pool put to use for the ranking.

Each head's probabilities are averaged over the nearest neighbours of an image, several times
over, and the log-odds of that are blended with the head's own margin. A cluster then speaks
with one voice, and an image whose neighbours disagree is no longer sure. Every head is
smoothed by itself, and no label enters here but through the head, so a head that was not
taught by a fold stays untaught by it. Neighbours that know nothing all say the same, which
leaves the ranking as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.statistics.calibration import sigmoid

Float32 = NDArray[np.float32]
Ints = NDArray[np.int64]

STEPS = 3
_CHUNK = 65_536
_FARTHEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """Which images of a pool lie near each other.

    `rows` (nodes,) are rising feature rows, one for each image; `graph` is (nodes, k), the
    places in `rows` of the nearest neighbours of each image, without itself. `digest` says
    what it was made of.
    """

    rows: Ints
    graph: NDArray[np.integer]
    digest: str

    def places(self, rows: Ints) -> Ints:
        """The place of each feature row, -1 where it is not in this pool."""
        return places_of(self.rows, rows)


def places_of(known: Ints, rows: Ints) -> Ints:
    """Where each of `rows` stands among the rising `known`, -1 where it does not."""
    if not len(known):
        return np.full(len(rows), -1, dtype=np.int64)
    found = np.minimum(np.searchsorted(known, rows), len(known) - 1)
    return np.where(known[found] == rows, found, -1)


def blend(margins: NDArray[np.floating], neighbours: NDArray[np.floating], share: float) -> Float32:
    """Log-odds of own and neighbours together, (rows, K); `share` is that of the neighbours."""
    blended: Float32 = ((1 - share) * margins + share * neighbours).astype(np.float32)
    return blended


def neighbour_log_odds(
    margins: NDArray[np.floating], graph: NDArray[np.integer], steps: int = STEPS
) -> Float32:
    """Log-odds of the mean probability around each image, per head, (images, K) float32.

    `margins` is (images, K); `graph` is (images, k), the rows of each image's nearest
    neighbours without itself. The first step leaves an image's own probability out, so that
    it adds something to the margin; later steps average over image and neighbours. Beside
    the arguments it holds two arrays of the result's size.
    """
    current = np.empty(margins.shape, dtype=np.float32)
    for rows in _chunks(len(margins)):
        current[rows] = sigmoid(margins[rows])
    following = np.empty_like(current)
    for step in range(steps):
        for rows in _chunks(len(graph)):
            total = _sum_around(current, graph[rows])
            if step > 0:
                total += current[rows]
            np.divide(total, graph.shape[1] + (step > 0), out=following[rows])
        current, following = following, current
    for rows in _chunks(len(margins)):
        clipped = np.clip(current[rows].astype(np.float64), _FARTHEST, 1 - _FARTHEST)
        current[rows] = np.log(clipped) - np.log1p(-clipped)
    return current


def _sum_around(values: Float32, graph: NDArray[np.integer]) -> Float32:
    """The sum of the values (images, K) of each row's neighbours, (rows, K)."""
    from scipy.sparse import csr_array

    rows, count = graph.shape
    ones = np.ones(graph.size, dtype=np.float32)
    ends = np.arange(0, graph.size + 1, count, dtype=graph.dtype)
    each = csr_array((ones, graph.ravel(), ends), shape=(rows, len(values)))
    total: Float32 = each @ values
    return total


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
