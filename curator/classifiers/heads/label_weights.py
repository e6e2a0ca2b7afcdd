"""How much each human label counts, before heads are fitted, and what may judge it.

Both come from heads that leave out two groups of folds: what is decided for head k comes from heads
that saw neither fold k nor the label in question. So nothing that head k learns, or is calibrated
with, depends on fold k. They are few, and fitted at once in the span of the labelled images.

A label that such a head contradicts firmly is probably wrong. How firmly is not for the head
alone to say: where classes overlap, contradictions are usual. So slope and intercept of the
heads' log-odds are fitted together with the share of labels that are wrong whatever the image
shows. Contradictions near the border raise the overlap, those far from it the share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray
from curator.classifiers.heads.pseudo_labels import class_weights
from curator.classifiers.heads.solver import LinearHeads, fit_heads
from curator.settings.sections import ClassifierSettings
from curator.statistics.calibration import sigmoid

Float32 = NDArray[np.float32]

GROUPS = 5
"""Groups of folds; with more of them held-out heads would be more alike, and many more."""

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

    `regularization` is the C of the heads. `wrong_share` is the share of labels that seem wrong,
    `doubted` the number of those that are more likely wrong than right and hardly count in
    training.
    """

    regularization: float
    wrong_share: float
    doubted: int

    def as_json(self) -> dict[str, Any]:
        """As it is stored with a round."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> LabelNoise:
        """Read back what `as_json` wrote, or an earlier version."""
        return cls(**{field.name: stored[field.name] for field in fields(cls)})


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
class HeldOutHeads:
    """Heads without two groups of folds, for standardised features, and what each may judge.

    `judges` (rows, K) is the column of `heads` that was taught neither fold k nor the label, -1
    where there is none: always in fold k itself.
    """

    heads: LinearHeads
    judges: IntArray

    def of_labels(self, values: NDArray[np.floating]) -> FloatArray:
        """What each label's judge says, (rows, K), from `values` (rows, heads); 0 without one."""
        judged = self.judges >= 0
        picked = np.take_along_axis(values, np.where(judged, self.judges, 0), axis=1)
        return np.where(judged, picked, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelWeights:
    """The probability that each label is right, `trust` (rows, K), and what it was measured with.

    `errors` of `measured` labels, both (K,), are on the wrong side for heads that were trained
    neither on fold k nor on the fold of the label: what head k may know of how good heads are.
    """

    trust: Float32
    errors: IntArray
    measured: IntArray
    noise: LabelNoise
    held_out: HeldOutHeads | None

    @property
    def right(self) -> FloatArray:
        """The probability that each label is right to all heads together, (rows,)."""
        if self.held_out is None:
            return np.ones(len(self.trust))
        return _mean_where(self.trust, self.held_out.judges >= 0)


def weigh_labels(labels: TeachingLabels, settings: ClassifierSettings) -> LabelWeights:
    """Fit held-out heads, and weigh labels by them unless the setting `doubt` is off.

    Heads that would see one class only do not count; where none counts, every label has its full
    weight.
    """
    held_out = fit_held_out(labels, settings)
    trust = np.ones((len(labels.positive), settings.folds))
    counted = np.zeros(trust.shape, dtype=np.bool_)
    margins = np.zeros(trust.shape)
    if held_out is not None:
        counted = held_out.judges >= 0
        margins = held_out.of_labels(held_out.heads.margins(labels.features))
    measured = counted & labels.measures[:, None]
    wrong = measured & ((margins > 0) != labels.positive[:, None])
    wrong_share = 0.0
    if settings.doubt and held_out is not None:
        noise = estimate_label_noise(margins, labels.positive, counted, confirmed=labels.confirmed)
        wrong_share, trust = float(noise.wrong_share.mean()), noise.right
    return LabelWeights(
        trust=np.maximum(trust, _LEAST_WEIGHT).astype(np.float32),
        errors=wrong.sum(axis=0),
        measured=measured.sum(axis=0),
        noise=LabelNoise(
            regularization=settings.regularization,
            wrong_share=wrong_share,
            doubted=int((_mean_where(trust, counted) < 0.5).sum()),
        ),
        held_out=held_out,
    )


def _mean_where(values: NDArray[np.floating], counted: BoolArray) -> FloatArray:
    """The mean over the columns that count, (rows,); 1 where none does."""
    columns = counted.sum(axis=1)
    mean: FloatArray = (values * counted).sum(axis=1) / np.maximum(columns, 1)
    return np.where(columns > 0, mean, 1.0)


def fit_held_out(labels: TeachingLabels, settings: ClassifierSettings) -> HeldOutHeads | None:
    """A head without each group of folds, and without each two; None if none sees both classes."""
    heads, positive = settings.folds, labels.positive
    groups = min(GROUPS, heads)
    group = labels.folds % groups
    judges = np.full((len(positive), heads), -1, dtype=np.int64)
    taught: list[BoolArray] = []
    for first, second in combinations_with_replacement(range(groups), 2):
        teaching = (group != first) & (group != second)
        both = positive[teaching].any() and not positive[teaching].all()
        # Where each fold is a group of its own, a group alone has nothing else to judge.
        if not both or (first == second and groups == heads):
            continue
        for own, other in {(first, second), (second, first)}:
            for head in range(own, heads, groups):
                judges[(group == other) & (labels.folds != head), head] = len(taught)
        taught.append(teaching)
    if not taught:
        return None
    weights = class_weights(
        positive, np.stack(taught, axis=1), balanced=settings.class_weight == "balanced"
    )
    space, back = _span(labels.features)
    fitted = fit_heads(
        space, positive, weights, regularization=settings.regularization, tolerance=_TOLERANCE
    )
    heads_on_features = LinearHeads(weights=back @ fitted.weights, bias=fitted.bias)
    return HeldOutHeads(heads=heads_on_features, judges=judges)


def _span(features: Float32) -> tuple[Float32, Float32]:
    """Coordinates with the same inner products, as few as there are rows, and the way back.

    Heads (coordinates, K) on the first are heads (features, K) after a product with the second.
    """
    rows, width = features.shape
    if rows >= width:
        return features, np.eye(width, dtype=np.float32)
    products = features.astype(np.float64) @ features.T.astype(np.float64)
    products[np.diag_indices(rows)] += _JITTER * max(products.trace() / rows, 1e-12)
    coordinates = np.linalg.cholesky(products)
    back = np.linalg.solve(coordinates, features.astype(np.float64)).T
    return coordinates.astype(np.float32), back.astype(np.float32)


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
