"""Log-odds of the heads for the whole pool, each image averaged with its nearest neighbours.

Each head's probabilities are averaged over the nearest neighbours of an image, several times, and
the log-odds of that average are blended with the head's own margin. Images of a cluster get
similar scores, and an image whose neighbours disagree gets a less certain one. Every head is
smoothed by itself, and no label enters except through the head, so a head that was not taught a
fold stays so. Neighbours at random all have the same average, which leaves the ranking unchanged.

Margins are computed once a round, in blocks, on the device. They take 20 bytes an image at five
heads; scoring only looks them up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import IntArray, positions_in
from curator.classifiers.heads.features import to_device
from curator.classifiers.heads.solver import LinearHeads, pad_columns
from curator.classifiers.protocol import RowSource
from curator.statistics.calibration import sigmoid

Float32 = NDArray[np.float32]

STEPS = 3
_BLOCK = 16_384
_CHUNK = 65_536
_SMALLEST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbourhood:
    """The nearest neighbours of every image of a pool.

    `rows` (nodes,) are rising feature rows, one for each image; `graph` is (nodes, k), the
    positions in `rows` of the nearest neighbours of each image, without itself. `digest` depends
    on everything that it was made of.
    """

    rows: IntArray
    graph: NDArray[np.integer]
    digest: str

    def positions(self, rows: IntArray) -> IntArray:
        """The position of each feature row, -1 where it is not in this pool."""
        return positions_in(self.rows, rows)


@dataclass(frozen=True, slots=True, eq=False)
class PoolMargins:
    """Log-odds of K heads, (images, K), for the images with these rising feature rows."""

    rows: IntArray
    values: Float32

    def at(self, rows: IntArray) -> Float32:
        """The margins of feature rows, (rows, K). Raises ValueError if one is missing."""
        positions = positions_in(self.rows, rows)
        if (positions < 0).any():
            raise ValueError(f"{int((positions < 0).sum())} images came after the pool was read")
        margins: Float32 = self.values[positions]
        return margins


class HeadMargins:
    """Computes log-odds of all heads from raw features, on the device."""

    def __init__(self, folded: LinearHeads, device: str) -> None:
        import torch

        self._heads = len(folded.bias)
        self._weights = pad_columns(torch.as_tensor(folded.weights, device=device))
        self._bias = torch.as_tensor(folded.bias, device=device)
        self._device = device

    def __call__(self, features: NDArray[np.floating]) -> Float32:
        """(rows, K) for raw features, (rows, features)."""
        values = to_device(features, self._device)
        margins = (values @ self._weights)[:, : self._heads] + self._bias
        in_memory: Float32 = margins.cpu().numpy()
        return in_memory

    def of_rows(
        self, features: RowSource, rows: IntArray, advance: Callable[[int], None]
    ) -> Float32:
        """(rows, K) for stored features, read in blocks."""
        margins = np.empty((len(rows), self._heads), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            margins[start : start + len(part)] = self(features.gather(part))
            advance(len(part))
        return margins


def pool_margins(
    heads: LinearHeads,
    features: RowSource,
    rows: IntArray,
    neighbours: Neighbourhood | None,
    share: float,
    device: str,
    advance: Callable[[int], None] = lambda images: None,
) -> PoolMargins:
    """Log-odds of heads for raw features, for a pool whose rising feature rows are `rows`.

    `neighbours`, which all these images must be part of, count with this `share`.
    """
    if neighbours is None or share == 0:
        return PoolMargins(rows, HeadMargins(heads, device).of_rows(features, rows, advance))
    if (neighbours.positions(rows) < 0).any():
        raise ValueError("the neighbours are those of another pool")
    own = HeadMargins(heads, device).of_rows(features, neighbours.rows, advance)
    smoothed = neighbour_log_odds(own, neighbours.graph)
    return PoolMargins(neighbours.rows, blend(own, smoothed, share))


def blend(margins: NDArray[np.floating], neighbours: NDArray[np.floating], share: float) -> Float32:
    """Log-odds of own and neighbours together, (rows, K); `share` is that of the neighbours."""
    blended: Float32 = ((1 - share) * margins + share * neighbours).astype(np.float32)
    return blended


def neighbour_log_odds(
    margins: NDArray[np.floating], graph: NDArray[np.integer], steps: int = STEPS
) -> Float32:
    """Log-odds of the mean probability of each image's neighbourhood, per head, (images, K).

    `margins` is (images, K); `graph` is (images, k), the rows of each image's nearest
    neighbours without itself. Beside the arguments two arrays of the result's size are in memory.
    """
    current = np.empty(margins.shape, dtype=np.float32)
    for rows in _chunks(len(margins)):
        current[rows] = sigmoid(margins[rows])
    following = np.empty_like(current)
    for step in range(steps):
        for rows in _chunks(len(graph)):
            total = _neighbour_sums(current, graph[rows])
            # The first step leaves an image's own probability out, so that the average adds
            # something to the margin; later steps average over image and neighbours.
            if step > 0:
                total += current[rows]
            np.divide(total, graph.shape[1] + (step > 0), out=following[rows])
        current, following = following, current
    for rows in _chunks(len(margins)):
        clipped = np.clip(current[rows].astype(np.float64), _SMALLEST, 1 - _SMALLEST)
        current[rows] = np.log(clipped) - np.log1p(-clipped)
    return current


def _neighbour_sums(values: Float32, graph: NDArray[np.integer]) -> Float32:
    """The sum of the values (images, K) of each row's neighbours, (rows, K)."""
    from scipy.sparse import csr_array

    rows, count = graph.shape
    ones = np.ones(graph.size, dtype=np.float32)
    ends = np.arange(0, graph.size + 1, count, dtype=graph.dtype)
    # A sparse product is several times faster than gathering (rows, k, K) and summing.
    each = csr_array((ones, graph.ravel(), ends), shape=(rows, len(values)))
    total: Float32 = each @ values
    return total


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
