"""Which labelled images only say when to stop training.

A unit of images that belong together is validated on as a whole or not at all, and both
classes are there in about the proportions of the labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from curator.statistics.folds import sampling_rank

_STREAM = 0x5EED
"""Sets this draw apart from the others that are made with the same seed."""


def validation_members(
    unit_keys: NDArray[np.int64], positive: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """True for the images of about `share` of the units, all arrays (rows,).

    Of each class at least one unit validates where there are two or more, unless `share`
    is 0. A unit with both classes counts as what its first image is.
    """
    units, first, member_of = np.unique(unit_keys, return_index=True, return_inverse=True)
    rank = sampling_rank(units, seed + _STREAM)
    chosen = np.zeros(len(units), dtype=np.bool_)
    for side in (positive[first], ~positive[first]):
        members = np.flatnonzero(side)
        wanted = round(share * len(members)) if len(members) > 1 else 0
        if share > 0 and len(members) > 1:
            wanted = min(max(1, wanted), len(members) - 1)
        chosen[members[np.argsort(rank[members], kind="stable")[:wanted]]] = True
    validates: NDArray[np.bool_] = chosen[member_of]
    return validates


def nested_subset(
    unit_keys: NDArray[np.int64], positive: NDArray[np.bool_], share: float, seed: int
) -> NDArray[np.bool_]:
    """True for the images of about `share` of the units; smaller shares lie within larger ones.

    Units are taken class by class, at least one of each, so that every subset can be
    learned from.
    """
    units, first, member_of = np.unique(unit_keys, return_index=True, return_inverse=True)
    rank = sampling_rank(units, seed + 2 * _STREAM)
    chosen = np.zeros(len(units), dtype=np.bool_)
    for side in (positive[first], ~positive[first]):
        members = np.flatnonzero(side)
        wanted = max(1, round(share * len(members)))
        chosen[members[np.argsort(rank[members], kind="stable")[:wanted]]] = True
    inside: NDArray[np.bool_] = chosen[member_of]
    return inside
