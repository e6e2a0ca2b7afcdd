"""What an image's neighbours say about it: the unlabelled pool put to use for the ranking.

Each head's probabilities are averaged over the nearest neighbours of an image, several times
over, and the log-odds of that are blended with the head's own margin. A cluster then speaks
with one voice, and an image whose neighbours disagree is no longer sure. Every head is
smoothed by itself, so a head that was not taught by a fold stays untaught by it: no label
enters here but through the head. How far neighbours are believed is fitted on out-of-fold
labels, and a pool whose neighbours mislead is left nearly as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.core.calibration import sigmoid

Float32 = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 3
EQUAL_SHARE = 0.5
"""What neighbours count for where no label can tell."""

_CHUNK = 65_536
_FARTHEST = 1e-4
_SPREAD = np.array([0.5, 2.0, 1.0])
_STARTS = (-1.5, 0.0, 1.5)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Blend:
    """The share of the neighbours in a blended margin, 0 to 1: one number, or one per head."""

    share: float | Floats

    def margins(self, margins: NDArray[np.floating], neighbours: NDArray[np.floating]) -> Float32:
        """Blended log-odds, (rows, K), of own and neighbours' log-odds, both (rows, K)."""
        blended: Float32 = ((1 - self.share) * margins + self.share * neighbours).astype(np.float32)
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
            total = np.zeros_like(current[rows]) if step == 0 else current[rows].copy()
            for column in graph[rows].T:
                total += current[column]
            following[rows] = total / (graph.shape[1] + (step > 0))
        current, following = following, current
    for rows in _chunks(len(margins)):
        clipped = np.clip(current[rows].astype(np.float64), _FARTHEST, 1 - _FARTHEST)
        current[rows] = np.log(clipped) - np.log1p(-clipped)
    return current


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def fit_blend(
    margins: NDArray[np.floating],
    neighbours: NDArray[np.floating],
    positive: NDArray[np.bool_],
) -> Blend:
    """How far to believe the neighbours, from out-of-fold labels; all arrays are (labels,).

    The posterior mode of (log scale, log-odds of the share, intercept) of a logistic model
    under normal priors around an equal blend, with the targets of Platt (1999) drawn in by one
    imagined example of each class. Scale and intercept are left to the calibration.
    """
    from scipy.optimize import minimize

    count = np.array([(~positive).sum(), positive.sum()])
    target = np.where(positive, (count[1] + 1) / (count[1] + 2), 1 / (count[0] + 2))

    def loss(point: Floats) -> Any:
        share = 1 / (1 + np.exp(-point[1]))
        z = np.exp(point[0]) * ((1 - share) * margins + share * neighbours) + point[2]
        return (np.logaddexp(0.0, z) - target * z).sum() + 0.5 * np.square(point / _SPREAD).sum()

    # The loss may have two hollows, one for each source of evidence.
    found = [minimize(loss, np.array([0.0, start, 0.0]), method="BFGS") for start in _STARTS]
    best = min(found, key=lambda one: float(one.fun))
    return Blend(share=float(1 / (1 + np.exp(-best.x[1]))))
