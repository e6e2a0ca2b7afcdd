"""How many images of the pool are positive, when only the seeds' shares are known.

Probabilities that were calibrated on labels take their class shares for granted. If the pool
differs from the labels in its shares alone, and not in what either class looks like, its own
share can be found from the scores. Whether that is so cannot be seen in the scores; so the
share is told, and promotes nobody.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS = 1_000
_TOLERANCE = 1e-6
_FARTHEST = 1e-4
FAR_APART = 0.1
"""Difference of shares from which on it is worth a word."""


def pool_share(probability: NDArray[np.floating], labelled_share: float) -> float:
    """The share of positives among images with these scores, (images,).

    `labelled_share` is that of the labels which the scores were calibrated on. Saerens, Latinne
    and Decaestecker (2002), Neural Computation 14, eq. 2.9: expectation and maximisation.
    """
    p = np.asarray(probability, dtype=np.float64)
    before = float(np.clip(labelled_share, _FARTHEST, 1 - _FARTHEST))
    share = before
    for _ in range(_STEPS):
        positive = p * (share / before)
        negative = (1 - p) * ((1 - share) / (1 - before))
        whole = positive + negative
        following = float(np.mean(np.divide(positive, whole, where=whole > 0, out=p.copy())))
        following = float(np.clip(following, _FARTHEST, 1 - _FARTHEST))
        if abs(following - share) < _TOLERANCE:
            return following
        share = following
    return share
