"""How strictly heads are fitted, and how much each human label counts, before heads are fitted.

Both are measured by heads that leave out two folds: what is decided for head k comes from heads
that saw neither fold k nor the label in question. So nothing that head k learns depends on fold
k, and its margins there stay out of fold. There are many such heads and few labels; they are
fitted at once, in the span of the labelled images.

A label that such a head contradicts firmly is probably wrong. How firmly is not for the head
alone to say: where classes overlap, contradictions are usual. So slope and intercept of the
heads' log-odds are fitted together with the share of labels that are wrong whatever the image
shows. Contradictions near the border raise the overlap, those far from it the share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.classifiers.heads.pseudo_labels import class_weights
from curator.classifiers.heads.solver import fit_heads
from curator.settings.sections import ClassifierSettings
from curator.statistics.calibration import sigmoid

Float32 = NDArray[np.float32]

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""The values of C to choose from, rising."""
USUAL_STRENGTH = 0.1
"""C of a head for which there are too few labels to choose by."""
CHOOSING = 500
"""So many labels, drawn at random, are enough to choose C by."""

_LEAST_WEIGHT = 1e-3
_JITTER = 1e-6
_TOLERANCE = 1e-3

# Standard deviations of the priors of log slope and intercept, and labels that the prior of the
# share adds as right ones.
_SLOPE_SPREAD, _INTERCEPT_SPREAD = 1.5, 2.0
_RIGHT_BEFOREHAND = 10.0
_FIRST_GUESS, _LARGEST_SHARE = 0.1, 0.4
_STEPS = 60
_LARGEST_MOVE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNoise:
    """What was measured of human labels before heads were fitted.

    `regularization` is the median C of the heads, `automatic` says whether labels chose it.
    `wrong_share` is the share of labels that seem wrong, `doubted` the number of those that
    are more likely wrong than right and hardly count in training.
    """

    regularization: float
    automatic: bool
    wrong_share: float
    doubted: int

    def as_json(self) -> dict[str, Any]:
        """As it is stored with a round."""
        return {
            "regularization": self.regularization,
            "chosen": self.automatic,
            "wrong_share": self.wrong_share,
            "doubted": self.doubted,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LabelNoise:
        """Read back what `as_json` wrote."""
        values = dict(stored)
        return cls(automatic=values.pop("chosen"), **values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TeachingLabels:
    """Human labels that train: standardised features (rows, features), the rest (rows,).

    `measures` marks labels that count in an error: seeds and a random sample.
    """

    features: Float32
    positive: BoolArray
    folds: IntArray
    confirmed: BoolArray
    measures: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelWeights:
    """C of each head, (K,), and the probability that each label is right, (rows, K).

    `errors` of `measured` labels, both (K,), are on the wrong side for heads that were trained
    neither on fold k nor on the fold of the label: what head k may know of how good heads are.
    `wrong_share` is the share of labels that seem wrong, `doubted` the number that are more
    likely wrong than right.
    """

    strength: FloatArray
    trust: Float32
    errors: IntArray
    measured: IntArray
    wrong_share: float
    doubted: int

    def noise(self, *, automatic: bool) -> LabelNoise:
        """In a few numbers; `automatic` says whether labels chose C."""
        return LabelNoise(
            regularization=float(np.median(self.strength)),
            automatic=automatic,
            wrong_share=self.wrong_share,
            doubted=self.doubted,
        )


def weigh_labels(labels: TeachingLabels, settings: ClassifierSettings) -> LabelWeights:
    """Choose C if the setting is `auto`, and weigh labels unless the setting `doubt` is off.

    Heads that would see one class only do not count; where none counts, C is `USUAL_STRENGTH`,
    and every label has its full weight.
    """
    heads, balanced = settings.folds, settings.class_weight == "balanced"
    automatic = settings.regularization == "auto"
    strength = np.full(
        heads, USUAL_STRENGTH if settings.regularization == "auto" else settings.regularization
    )
    held_out = None
    if automatic:
        few = len(labels.positive) <= CHOOSING
        sample = labels if few else _drawn(labels)
        compared = _fit_held_out(sample, heads, STRENGTHS, balanced)
        for head in range(heads):
            counted = compared.counted[:, head]
            if counted.any():
                side = np.where(sample.positive[counted], 1.0, -1.0)[:, None]
                loss = np.logaddexp(0.0, -side * compared.margins[counted, head])
                strength[head] = STRENGTHS[largest_within_noise(loss)]
        held_out = compared if few else None
    held_out = held_out or _fit_held_out(labels, heads, sorted(set(strength.tolist())), balanced)
    columns = [held_out.strengths.index(value) for value in strength]
    margins = held_out.margins[:, np.arange(heads), columns]
    measured = held_out.counted & labels.measures[:, None]
    wrong = measured & ((margins > 0) != labels.positive[:, None])
    errors, measured_labels = wrong.sum(axis=0), measured.sum(axis=0)
    if not settings.doubt:
        everything = np.ones((len(labels.positive), heads), dtype=np.float32)
        return LabelWeights(
            strength=strength,
            trust=everything,
            errors=errors,
            measured=measured_labels,
            wrong_share=0.0,
            doubted=0,
        )
    noise = estimate_label_noise(
        margins, labels.positive, held_out.counted, confirmed=labels.confirmed
    )
    return LabelWeights(
        strength=strength,
        trust=np.maximum(noise.right, _LEAST_WEIGHT).astype(np.float32),
        errors=errors,
        measured=measured_labels,
        wrong_share=float(noise.wrong_share.mean()),
        doubted=int((_mean_where(noise.right, held_out.counted) < 0.5).sum()),
    )


def _drawn(labels: TeachingLabels) -> TeachingLabels:
    count = len(labels.positive)
    drawn = np.sort(np.random.default_rng(0).choice(count, CHOOSING, replace=False))
    return TeachingLabels(
        features=labels.features[drawn],
        positive=labels.positive[drawn],
        folds=labels.folds[drawn],
        confirmed=labels.confirmed[drawn],
        measures=labels.measures[drawn],
    )


def _mean_where(values: FloatArray, counted: BoolArray) -> FloatArray:
    """The mean over the columns that count, (rows,); 1 where none does."""
    columns = counted.sum(axis=1)
    mean: FloatArray = (values * counted).sum(axis=1) / np.maximum(columns, 1)
    return np.where(columns > 0, mean, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _HeldOut:
    """Margins of heads without fold k for labels that they were not taught either.

    `margins` are (rows, K, C) for the values of C in `strengths`; `counted`, (rows, K), says
    where there is such a head: never in fold k itself.
    """

    strengths: Sequence[float]
    margins: Float32
    counted: BoolArray


def _fit_held_out(
    labels: TeachingLabels, heads: int, strengths: Sequence[float], balanced: bool
) -> _HeldOut:
    """Fit a head for each two folds that are left out and each C, all at once."""
    margins = np.zeros((len(labels.positive), heads, len(strengths)), dtype=np.float32)
    counted = np.zeros((len(labels.positive), heads), dtype=np.bool_)
    pairs, columns = [], []
    for pair in combinations(range(heads), 2):
        teaching = ~np.isin(labels.folds, pair)
        if labels.positive[teaching].any() and not labels.positive[teaching].all():
            pairs.append(pair)
            columns.append(teaching)
    if not pairs:
        return _HeldOut(strengths=strengths, margins=margins, counted=counted)
    weights = class_weights(labels.positive, np.stack(columns, axis=1), balanced=balanced)
    space = _span(labels.features)
    # C multiplies the weights in the objective, so heads with several C are one call at C = 1.
    fitted = fit_heads(
        space,
        labels.positive,
        np.concatenate([weights * strength for strength in strengths], axis=1),
        regularization=1.0,
        tolerance=_TOLERANCE,
    )
    all_margins = fitted.margins(space).reshape(len(space), len(strengths), len(pairs))
    for index, (first, second) in enumerate(pairs):
        for fold, head in ((first, second), (second, first)):
            rows = labels.folds == fold
            margins[rows, head] = all_margins[rows, :, index]
            counted[rows, head] = True
    return _HeldOut(strengths=strengths, margins=margins, counted=counted)


def _span(features: Float32) -> Float32:
    """Coordinates with the same inner products, as few as there are rows."""
    rows, width = features.shape
    if rows >= width:
        return features
    products = features.astype(np.float64) @ features.T.astype(np.float64)
    products[np.diag_indices(rows)] += _JITTER * max(products.trace() / rows, 1e-12)
    coordinates: Float32 = np.linalg.cholesky(products).astype(np.float32)
    return coordinates


@dataclass(frozen=True, slots=True, eq=False)
class NoiseEstimate:
    """`wrong_share` is (columns,); `right`, (rows, columns), is the probability that each label
    is right, 1 where a row does not count in a column."""

    wrong_share: FloatArray
    right: FloatArray


def estimate_label_noise(
    margins: NDArray[np.floating], positive: BoolArray, counted: BoolArray, *, confirmed: BoolArray
) -> NoiseEstimate:
    """Compare labels with margins of heads that were not taught them.

    `margins` and `counted` are (rows, columns), `positive` and `confirmed` are (rows,). A confirmed
    label is right, whatever its margin: it shows how classes overlap. The posterior mode of
    slope, intercept and share of wrong labels in each column, by expectation maximisation
    (Dempster, Laird and Rubin, 1977). A label is flipped with the same probability whatever the
    image, as in Bootkrajang and Kabán (2012), "Label-noise robust logistic regression".
    """
    m = np.where(counted, margins, 0.0).astype(np.float64)
    side = np.where(positive, 1.0, -1.0)[:, None]
    rows = (counted & ~confirmed[:, None]).sum(axis=0)
    log_slope, intercept = np.zeros(m.shape[1]), np.zeros(m.shape[1])
    wrong_share = np.full(m.shape[1], _FIRST_GUESS)
    for _ in range(_STEPS):
        claimed = sigmoid(np.exp(log_slope) * m + intercept)
        right = np.where(confirmed[:, None], 1.0, _right(claimed, side, wrong_share))
        target = np.where(side > 0, right, 1 - right)
        log_slope, intercept = _newton_step(log_slope, intercept, m, claimed, target, counted)
        wrong = ((1 - right) * counted).sum(axis=0)
        wrong_share = np.minimum(wrong / (rows + _RIGHT_BEFOREHAND), _LARGEST_SHARE)
    claimed = sigmoid(np.exp(log_slope) * m + intercept)
    doubtful = counted & ~confirmed[:, None]
    right = np.where(doubtful, _right(claimed, side, wrong_share), 1.0)
    return NoiseEstimate(wrong_share=wrong_share, right=right)


def largest_within_noise(loss: FloatArray) -> int:
    """The last of rising candidates whose mean loss is within one standard error of the least.

    `loss` is (rows, candidates). The standard error is that of the difference to the best
    candidate on the same rows.
    """
    best = int(loss.mean(axis=0).argmin())
    behind = loss - loss[:, [best]]
    noise = behind.std(axis=0) / np.sqrt(len(loss))
    return int(np.flatnonzero(behind.mean(axis=0) <= noise).max())


def _right(claimed: FloatArray, side: FloatArray, wrong_share: FloatArray) -> FloatArray:
    """P(the label is right), by Bayes' rule."""
    likelihood = np.where(side > 0, claimed, 1 - claimed)
    believed = (1 - wrong_share) * likelihood
    right: FloatArray = believed / np.maximum(believed + wrong_share * (1 - likelihood), 1e-300)
    return right


def _newton_step(
    log_slope: FloatArray,
    intercept: FloatArray,
    m: FloatArray,
    claimed: FloatArray,
    target: FloatArray,
    counted: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """One Newton step of every column towards the targets; moves are limited."""
    residual = (claimed - target) * counted
    curvature = claimed * (1 - claimed) * counted
    lever = np.exp(log_slope) * m
    slope_gradient = (residual * lever).sum(axis=0) + log_slope / _SLOPE_SPREAD**2
    shift_gradient = residual.sum(axis=0) + intercept / _INTERCEPT_SPREAD**2
    first = (curvature * lever**2).sum(axis=0) + 1 / _SLOPE_SPREAD**2
    mixed = (curvature * lever).sum(axis=0)
    second = curvature.sum(axis=0) + 1 / _INTERCEPT_SPREAD**2
    determinant = first * second - mixed**2
    slope_move = (second * slope_gradient - mixed * shift_gradient) / determinant
    shift_move = (first * shift_gradient - mixed * slope_gradient) / determinant
    return (
        log_slope - np.clip(slope_move, -_LARGEST_MOVE, _LARGEST_MOVE),
        intercept - np.clip(shift_move, -_LARGEST_MOVE, _LARGEST_MOVE),
    )
