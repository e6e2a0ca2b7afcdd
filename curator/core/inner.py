"""Heads inside heads: how far each head may believe its neighbours, found without its fold.

The share of the neighbours in the blend of head k is fitted on labels that its fold has no
part in, neither as a judge nor as a teacher: inner heads leave out two parts of the folds,
the one that k lies in and another one, and judge the labels of that other one. So nothing
about a label of fold k reaches the score that head k gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curator.core.neighbours import EQUAL_SHARE, fit_blend
from curator.core.pseudo import class_weights

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

MOST_PARTS = 5


@dataclass(frozen=True, slots=True)
class InnerHeads:
    """The pairs of parts that inner heads leave out; fold f lies in part f modulo `parts`."""

    folds: int
    parts: int
    pairs: tuple[tuple[int, int], ...]

    def weights(self, positive: Flags, folds: Ints, *, balanced: bool) -> NDArray[np.float32]:
        """Training weights of labels in these heads, (labels, pairs).

        `positive` and `folds` are (labels,); balanced, both classes weigh the same.
        """
        part = (folds % self.parts)[:, None]
        left_out = np.array(self.pairs, dtype=np.int64).reshape(-1, 2)
        included = (part != left_out[:, 0]) & (part != left_out[:, 1])
        return class_weights(positive, included, balanced=balanced)

    def shares(
        self,
        margins: NDArray[np.floating],
        neighbours: NDArray[np.floating],
        folds: Ints,
        positive: Flags,
    ) -> Floats:
        """The neighbours' share in each of the K heads, (K,), from what inner heads say.

        `margins` and `neighbours` are (labels, pairs); `folds` and `positive` (labels,).
        Where nothing can be judged it is an equal share.
        """
        part = folds % self.parts
        found = np.full(self.parts, EQUAL_SHARE)
        for own in range(self.parts):
            columns = [
                (place, a + b - own) for place, (a, b) in enumerate(self.pairs) if own in (a, b)
            ]
            judged = [np.flatnonzero(part == other) for _, other in columns]
            if not sum(map(len, judged)):
                continue
            places = [place for place, _ in columns]
            own_says = [margins[rows, place] for rows, place in zip(judged, places, strict=True)]
            around = [neighbours[rows, place] for rows, place in zip(judged, places, strict=True)]
            truth = positive[np.concatenate(judged)]
            share = fit_blend(np.concatenate(own_says), np.concatenate(around), truth).share
            found[own] = float(share)
        return found[np.arange(self.folds) % self.parts]


def inner_heads(folds: int, labels_of: Ints, positive: Flags) -> InnerHeads:
    """The inner heads that see both classes.

    `labels_of` and `positive` are (labels,): the fold and class of each training label.
    """
    parts = min(folds, MOST_PARTS)
    part = labels_of % parts
    pairs = []
    for a, b in combinations(range(parts), 2):
        left = positive[(part != a) & (part != b)]
        if left.any() and not left.all():
            pairs.append((a, b))
    return InnerHeads(folds, parts, tuple(pairs))
