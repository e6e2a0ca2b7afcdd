"""When a classifier may have learned where images come from instead of what they show.

If one class was labelled in one source and the other class in another, everything that
tells the sources apart tells the classes apart, too, and no label out of fold can say which
of the two was learned. Three things are looked at: whether the sources of the pool itself
carry labels of both classes, whether sources go with classes, and whether the labelled
images of a class can be told from images of the pool that the scores put in that class. A
random sample of the pool settles it: what fails there has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.statistics.metrics import ErrorEstimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

ENOUGH_AT_HOME = 20
"""Labels of a class from the pool's own sources that make a shortcut by source useless."""
HOME_SHARE = 0.05
"""Share of the unlabelled images from which on a source counts as one of the pool's."""
ASSOCIATED = 0.5
"""Cramér's V of sources and classes from which on they go together."""
TOLD_APART = 0.9
"""Area under the curve from which on labelled images are recognisably not of the pool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A class whose labels come from elsewhere: `labels` of them from `sources`, few at home."""

    positive: bool
    labels: int
    at_home: int
    sources: tuple[int, ...]
    association: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundWarning:
    """Something wrong with the labels that scores cannot show, and what to do about it."""

    kind: str
    problem: str
    cure: str


def suspicions(
    source_ids: Ints, positive: Flags, pool_shares: Mapping[int, float]
) -> tuple[Suspicion, ...]:
    """Classes that may have been learned by their source.

    `source_ids` and `positive` are (labels,), of labels that teach; `pool_shares` is the
    share of the unlabelled images in each source.
    """
    if not go_together(source_ids, positive):
        return ()
    association = cramers_v(source_ids, positive)
    shares = np.array([pool_shares.get(int(one), 0.0) for one in source_ids])
    at_home = shares >= HOME_SHARE
    found = []
    for side in (True, False):
        of_class = positive == side
        home = int((of_class & at_home).sum())
        if home < ENOUGH_AT_HOME and of_class.any():
            elsewhere = source_ids[of_class & ~at_home]
            names, counts = np.unique(elsewhere, return_counts=True)
            found.append(
                Suspicion(
                    positive=side,
                    labels=int(of_class.sum()),
                    at_home=home,
                    sources=tuple(int(one) for one in names[np.argsort(-counts, kind="stable")]),
                    association=association,
                )
            )
    return tuple(found)


def go_together(source_ids: Ints, positive: Flags) -> bool:
    """Whether sources go with classes so far that one might be learned for the other."""
    return cramers_v(source_ids, positive) >= ASSOCIATED


def cramers_v(groups: Ints, positive: Flags) -> float:
    """How far groups go with two classes, 0 to 1. Cramér (1946), Mathematical Methods, ch. 21."""
    _, place = np.unique(groups, return_inverse=True)
    table = np.zeros((int(place.max(initial=-1)) + 1, 2))
    np.add.at(table, (place, positive.astype(np.int64)), 1.0)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / max(table.sum(), 1.0)
    if min(table.shape) < 2 or not (table.sum(axis=0) > 0).all():
        return 0.0
    squares = np.square(table - expected) / expected
    return float(np.sqrt(squares.sum() / table.sum()))


def area_under_curve(scores: Floats, positive: Flags) -> float:
    """The chance that a positive scores above a negative; ties count half.

    Mann and Whitney (1947), Annals of Mathematical Statistics 18.
    """
    from scipy.stats import rankdata

    ranks, count = rankdata(scores), int(positive.sum())
    others = len(positive) - count
    return float((ranks[positive].sum() - count * (count + 1) / 2) / max(count * others, 1))


def fails_on_pool(seeds: ErrorEstimate, sample: ErrorEstimate) -> bool:
    """Whether errors on a random sample of the pool are beyond those on the seeds.

    The 95% intervals must lie apart, which happens by chance in well under 1% of cases.
    """
    return sample.sample > 0 and sample.low > seeds.high
