"""What to make of human labels before heads are fitted: how strictly, and which to doubt.

Both are read from heads that leave out two folds: what is decided for head k is asked of
heads that saw neither fold k nor the label in question. So nothing that head k learns depends
on fold k, and its margins there stay an honest judge. Such heads are many and their labels few;
they are fitted at once, in the span of the labelled images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curator.classifiers.heads.label_noise import (
    LabelNoise,
    estimate_label_noise,
    largest_within_noise,
)
from curator.classifiers.heads.pseudo_labels import class_weights
from curator.classifiers.heads.solver import fit_heads

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Float32 = NDArray[np.float32]

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""The values of C to choose from, rising."""
USUAL_STRENGTH = 0.1
"""C of a head for which there are too few labels to choose by."""
CHOOSING = 500
"""So many labels, drawn at random, are enough to choose C by."""

_LEAST_TRUST = 1e-3
_JITTER = 1e-6
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeachingLabels:
    """Human labels that train: standardised features (rows, features), the rest (rows,)."""

    features: Float32
    positive: Flags
    folds: Ints

    def among(self, places: Ints) -> TeachingLabels:
        """Some of them."""
        return TeachingLabels(
            features=self.features[places], positive=self.positive[places], folds=self.folds[places]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelWeights:
    """What is made of labels: C of each head, (K,), and the trust in each label, (rows, K).

    `wrong_share` is the share of labels that are believed to be wrong, `doubted` the number
    that are more likely wrong than right.
    """

    strength: NDArray[np.float64]
    trust: Float32
    wrong_share: float
    doubted: int

    def told(self, *, chosen: bool) -> LabelNoise:
        """In a few numbers; `chosen` says whether labels chose C."""
        return LabelNoise(
            regularization=float(np.median(self.strength)),
            chosen=chosen,
            wrong_share=self.wrong_share,
            doubted=self.doubted,
        )


def weigh_labels(
    known: TeachingLabels, heads: int, *, strength: float | None, doubt: bool, balanced: bool
) -> LabelWeights:
    """Choose C where `strength` is None, and weigh labels where one may `doubt`.

    Heads that would see one class only have no say; where none has, C is `USUAL_STRENGTH`,
    and everything is believed.
    """
    chosen = np.full(heads, USUAL_STRENGTH if strength is None else strength)
    held = None
    if strength is None:
        few = len(known.positive) <= CHOOSING
        some = known if few else known.among(_drawn(len(known.positive)))
        asked = _held_out(some, heads, STRENGTHS, balanced)
        for head in range(heads):
            if asked.counted[:, head].any():
                chosen[head] = STRENGTHS[_chosen(asked, some.positive, head)]
        held = asked if few else None
    if not doubt:
        everything = np.ones((len(known.positive), heads), dtype=np.float32)
        return LabelWeights(strength=chosen, trust=everything, wrong_share=0.0, doubted=0)
    held = held or _held_out(known, heads, sorted(set(chosen.tolist())), balanced)
    belief = estimate_label_noise(held.at(chosen), known.positive, held.counted)
    return LabelWeights(
        strength=chosen,
        trust=np.maximum(belief.right, _LEAST_TRUST).astype(np.float32),
        wrong_share=float(belief.wrong_share.mean()),
        doubted=int((_mean_where(belief.right, held.counted) < 0.5).sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _HeldOut:
    """What heads without fold k say of labels that they did not meet either.

    `margins` are (rows, K, C) for the values of C in `strengths`; `counted`, (rows, K), says
    where there is such a head: never in fold k itself.
    """

    strengths: Sequence[float]
    margins: Float32
    counted: Flags

    def at(self, strength: NDArray[np.float64]) -> Float32:
        """The margins under one C for each head, (rows, K)."""
        places = [self.strengths.index(one) for one in strength]
        found: Float32 = self.margins[:, np.arange(len(strength)), places]
        return found


def _drawn(labels: int) -> Ints:
    return np.sort(np.random.default_rng(0).choice(labels, CHOOSING, replace=False))


def _chosen(asked: _HeldOut, positive: Flags, head: int) -> int:
    counted = asked.counted[:, head]
    side = np.where(positive[counted], 1.0, -1.0)[:, None]
    return largest_within_noise(np.logaddexp(0.0, -side * asked.margins[counted, head]))


def _mean_where(values: NDArray[np.float64], counted: Flags) -> NDArray[np.float64]:
    """The mean over the columns that count, (rows,); 1 where none does."""
    found = counted.sum(axis=1)
    mean: NDArray[np.float64] = (values * counted).sum(axis=1) / np.maximum(found, 1)
    return np.where(found > 0, mean, 1.0)


def _held_out(
    known: TeachingLabels, heads: int, strengths: Sequence[float], balanced: bool
) -> _HeldOut:
    """Fit a head for each two folds that are left out and each C, all at once."""
    margins = np.zeros((len(known.positive), heads, len(strengths)), dtype=np.float32)
    counted = np.zeros((len(known.positive), heads), dtype=np.bool_)
    pairs, weights = [], []
    for pair in combinations(range(heads), 2):
        seen = ~np.isin(known.folds, pair)
        if known.positive[seen].any() and not known.positive[seen].all():
            pairs.append(pair)
            weights.append(seen)
    if not pairs:
        return _HeldOut(strengths=strengths, margins=margins, counted=counted)
    each = class_weights(known.positive, np.stack(weights, axis=1), balanced=balanced)
    space = _span(known.features)
    fitted = fit_heads(
        space,
        known.positive,
        np.concatenate([each * strength for strength in strengths], axis=1),
        regularization=1.0,
        tolerance=_TOLERANCE,
    )
    said = fitted.margins(space).reshape(len(space), len(strengths), len(pairs))
    for place, (one, other) in enumerate(pairs):
        for fold, head in ((one, other), (other, one)):
            rows = known.folds == fold
            margins[rows, head] = said[rows, :, place]
            counted[rows, head] = True
    return _HeldOut(strengths=strengths, margins=margins, counted=counted)


def _span(features: Float32) -> Float32:
    """Coordinates with the same inner products, as few as there are rows."""
    rows, width = features.shape
    if rows >= width:
        return features
    products = features.astype(np.float64) @ features.T.astype(np.float64)
    products[np.diag_indices(rows)] += _JITTER * max(products.trace() / rows, 1e-12)
    found: Float32 = np.linalg.cholesky(products).astype(np.float32)
    return found
