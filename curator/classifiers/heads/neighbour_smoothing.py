"""Log-odds of the heads for the whole pool, and those of each image's neighbourhood.

Each head's probabilities are averaged over the nearest neighbours of an image, several times.
The map to probabilities (`statistics/calibration.py`) adds the log-odds of that average to the
head's own margin: images of a cluster get similar scores, and an image whose neighbours disagree
gets a less certain one. Every head is smoothed by itself, and no label enters except through the
head, so a head that was not taught a fold stays so.

Margins are computed once a round, in blocks. They are held in 16 bits, which take 80
bytes an image at twenty heads; scoring only looks them up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray, positions_in
from curator.classifiers.heads.solver import LinearHeads, sigmoid32
from curator.classifiers.protocol import RowSource
from curator.statistics.calibration import Evidence

Float32 = NDArray[np.float32]
Margins = NDArray[np.floating]

STEPS = 3
_BLOCK = 16_384
_CHUNK = 65_536
_SMALLEST = 1e-4
_ONE_SIDED = 0.1
_HEADS_AT_ONCE = 10


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """The nearest neighbours of every image of a pool.

    `rows` (nodes,) are rising feature rows, one for each image; `graph` is (nodes, k), the
    positions in `rows` of the nearest neighbours of each image, without itself. `digest` depends
    on everything that it was made of.
    """

    rows: IntArray
    graph: NDArray[np.integer]
    digest: str

    @cached_property
    def weights(self) -> Float32:
        """The weight of each edge, (nodes, k); computed once."""
        return edge_weights(self.graph)

    def positions(self, rows: IntArray) -> IntArray:
        """The position of each feature row, -1 where it is not in this pool."""
        return positions_in(self.rows, rows)


@dataclass(frozen=True, slots=True, eq=False)
class PoolMargins:
    """Log-odds of K heads, (images, K), for the images with these feature rows.

    `own` are the heads' margins, `neighbours` the log-odds of each image's neighbourhood, None
    where neighbours are left out.
    """

    rows: IntArray
    own: Margins
    neighbours: Margins | None

    def at(self, rows: IntArray) -> PoolMargins:
        """The margins of these feature rows, in their order. Raises ValueError if one lacks."""
        positions = positions_in(self.rows, rows)
        if (positions < 0).any():
            raise ValueError(f"{int((positions < 0).sum())} images came after the pool was read")
        neighbours = None
        if self.neighbours is not None:
            neighbours = self.neighbours[positions].astype(np.float32)
        return PoolMargins(rows, self.own[positions].astype(np.float32), neighbours)

    def of_heads(self, heads: slice) -> PoolMargins:
        """The same of some of the heads."""
        neighbours = self.neighbours
        if neighbours is not None:
            neighbours = np.ascontiguousarray(neighbours[:, heads])
        return PoolMargins(self.rows, np.ascontiguousarray(self.own[:, heads]), neighbours)

    def together(self) -> Margins:
        """Log-odds of own and neighbours in equal parts, (images, K): no label decides them."""
        return self.own if self.neighbours is None else (self.own + self.neighbours) / 2

    def evidence(self, heads: BoolArray) -> Evidence:
        """Mean log-odds of the heads that are True for each image, `heads` (images, K)."""
        count = heads.sum(axis=1)
        own = (self.own * heads).sum(axis=1, dtype=np.float64) / count
        if self.neighbours is None:
            return Evidence(own)
        return Evidence(own, (self.neighbours * heads).sum(axis=1, dtype=np.float64) / count)

    def spread(self) -> tuple[FloatArray, FloatArray | None]:
        """Standard deviation over the images of either part, (K,)."""
        return _spread(self.own), None if self.neighbours is None else _spread(self.neighbours)


class HeadMargins:
    """Computes log-odds of all heads from raw features."""

    def __init__(self, folded: LinearHeads, beside: LinearHeads | None = None) -> None:
        # Those beside are a product of their own, so that no bit of the others depends on them.
        self._products = [heads for heads in (folded, beside) if heads is not None]

    def __call__(self, features: NDArray[np.floating]) -> Float32:
        """(rows, K) for raw features, (rows, features); behind them those beside."""
        values = features.astype(np.float32, copy=False)
        return np.concatenate([heads.margins(values) for heads in self._products], axis=1)

    def of_rows(
        self, features: RowSource, rows: IntArray, advance: Callable[[int], None]
    ) -> Margins:
        """(rows, K) in 16 bits for stored features, read in blocks."""
        width = sum(len(heads.bias) for heads in self._products)
        margins = np.empty((len(rows), width), dtype=np.float16)
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
    advance: Callable[[int], None] = lambda images: None,
    beside: LinearHeads | None = None,
) -> PoolMargins:
    """Log-odds of heads for raw features, for a pool whose rising feature rows are `rows`.

    All these images must be part of `neighbours`, if there are any. Columns of the heads `beside`
    follow those of `heads`.
    """
    margins_of = HeadMargins(heads, beside)
    if neighbours is None:
        return PoolMargins(rows, margins_of.of_rows(features, rows, advance), None)
    if (neighbours.positions(rows) < 0).any():
        raise ValueError("the neighbours are those of another pool")
    own = margins_of.of_rows(features, neighbours.rows, advance)
    smoothed = neighbour_log_odds(own, neighbours.graph, neighbours.weights)
    return PoolMargins(neighbours.rows, own, smoothed)


def neighbour_log_odds(
    margins: Margins, graph: NDArray[np.integer], weights: Float32, steps: int = STEPS
) -> Margins:
    """Log-odds of the mean probability of each image's neighbourhood, per head, (images, K).

    `margins` is (images, K); `graph` is (images, k), the rows of each image's nearest
    neighbours without itself, and `weights` those of the edges. Beside arguments and result, which
    has the type of `margins`, two columns for each of 10 heads are in memory.
    """
    log_odds = np.empty_like(margins)
    total_weights = weights.sum(axis=1, keepdims=True)
    for start in range(0, margins.shape[1], _HEADS_AT_ONCE):
        heads = slice(start, start + _HEADS_AT_ONCE)
        current = sigmoid32(margins[:, heads])
        following = np.empty_like(current)
        for step in range(steps):
            for rows in _chunks(len(graph)):
                total = _neighbour_sums(current, graph[rows], weights[rows])
                # The first step leaves an image's own probability out, so that the average adds
                # something to the margin; later steps average over image and neighbours.
                if step > 0:
                    total += current[rows]
                np.divide(total, total_weights[rows] + (step > 0), out=following[rows])
            current, following = following, current
        for rows in _chunks(len(margins)):
            clipped = np.clip(current[rows].astype(np.float64), _SMALLEST, 1 - _SMALLEST)
            log_odds[rows, heads] = np.log(clipped) - np.log1p(-clipped)
    return log_odds


def edge_weights(graph: NDArray[np.integer]) -> Float32:
    """The weight of each edge of a graph, (images, k): 1 where it is mutual, else a tenth.

    A neighbour that does not have the image among its own nearest is often the edge of another
    cluster.
    """
    itself = np.arange(len(graph), dtype=np.int64)[:, None]
    edges = itself * len(graph) + graph
    backwards = np.sort((graph * np.int64(len(graph)) + itself).ravel())
    after = np.minimum(np.searchsorted(backwards, edges), len(backwards) - 1)
    return np.where(backwards[after] == edges, np.float32(1), np.float32(_ONE_SIDED))


def _neighbour_sums(values: Float32, graph: NDArray[np.integer], weights: Float32) -> Float32:
    """The weighted sum of the values (images, K) of each row's neighbours, (rows, K)."""
    from scipy.sparse import csr_array

    rows, count = graph.shape
    ends = np.arange(0, graph.size + 1, count, dtype=graph.dtype)
    # A sparse product is several times faster than gathering (rows, k, K) and summing.
    each = csr_array((weights.ravel(), graph.ravel(), ends), shape=(rows, len(values)))
    total: Float32 = each @ values
    return total


def _spread(values: Margins) -> FloatArray:
    total, squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for rows in _chunks(len(values)):
        block = values[rows].astype(np.float64)
        total += block.sum(axis=0)
        squares += np.square(block).sum(axis=0)
    variance = squares / len(values) - np.square(total / len(values))
    # Heads that say the same of all images say nothing.
    return np.sqrt(np.maximum(variance, 1e-12))


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
