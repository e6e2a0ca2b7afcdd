"""Calibration: margins of heads mapped to probabilities on human labels.

A map has two parameters per head, p = sigmoid(exp(a) * margin + b), so it is monotone and
cannot follow noise. It is fitted, without class weights, on margins of images that never
taught the head which gave them. All heads first share one map, shrunk towards the
identity; each head then departs from it as far as its own labels carry. With few labels
the map stays cautious, and probabilities near 0 and 1 are out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray, IntArray

SAMPLE_FOR_POOL = 50
"""Labels of a random sample from which on probabilities count as calibrated for the pool."""

_SHARED_SPREAD = (1.0, 2.0)
_HEAD_SPREAD = (0.25, 0.5)
_POOL_SPREAD = (0.5, 2.0)
_IMAGINED = 0.5
_NEWTON_STEPS = 100
_LARGEST_EXPONENT = 35.0


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """One monotone map per head: `log_slope` and `intercept` are (K,) float64."""

    log_slope: FloatArray
    intercept: FloatArray

    def probabilities(self, margins: NDArray[np.floating]) -> FloatArray:
        """P(positive) per head, (rows, K), for margins (rows, K)."""
        return sigmoid(np.exp(self.log_slope) * margins + self.intercept)


def calibrate_out_of_fold(
    margins: NDArray[np.floating], folds: IntArray, positive: BoolArray, heads: int
) -> CalibrationMap:
    """Maps from out-of-fold margins: row i was scored by head `folds[i]`, which it never taught.

    `margins`, `folds` and `positive` are (rows,). Heads without a row keep the shared map.
    """
    shared = _fit(margins, positive, centre=(0.0, 0.0), spread=_SHARED_SPREAD)
    fitted = [
        _fit(margins[folds == head], positive[folds == head], centre=shared, spread=_HEAD_SPREAD)
        for head in range(heads)
    ]
    return _as_map(fitted)


def calibrate_on_pool(
    margins: NDArray[np.floating], folds: IntArray, positive: BoolArray, start: CalibrationMap
) -> CalibrationMap:
    """`start`, from labels of another kind, moved to a random sample of the pool.

    All arrays are (rows,): row i was scored by head `folds[i]`, which it never taught. One change
    of slope and intercept for all heads, since each head judges only its own fold of the sample;
    it is small where the sample is silent.
    """
    scale = np.exp(start.log_slope)
    claimed = scale[folds] * margins + start.intercept[folds]
    log_slope, intercept = _fit(claimed, positive, centre=(0.0, 0.0), spread=_POOL_SPREAD)
    return CalibrationMap(
        start.log_slope + log_slope, np.exp(log_slope) * start.intercept + intercept
    )


def sigmoid(x: NDArray[np.floating]) -> FloatArray:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    clipped = np.clip(np.asarray(x, dtype=np.float64), -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    result: FloatArray = 1.0 / (1.0 + np.exp(-clipped))
    return result


def _as_map(fitted: list[tuple[float, float]]) -> CalibrationMap:
    table = np.array(fitted, dtype=np.float64).reshape(-1, 2)
    return CalibrationMap(table[:, 0].copy(), table[:, 1].copy())


def _fit(
    margins: NDArray[np.floating],
    positive: BoolArray,
    *,
    centre: tuple[float, float],
    spread: tuple[float, float],
) -> tuple[float, float]:
    """The posterior mode of (log slope, intercept) under normal priors, by damped Newton steps.

    Targets are drawn in by imagined examples of either class, as in Platt (1999), "Probabilistic
    outputs for support vector machines", sec. 2.2, so that separable labels do not claim
    certainty; half an example (Jeffreys) instead of his whole one gave the lower loss on real
    pools.
    """
    if len(margins) == 0:
        return centre
    m = np.asarray(margins, dtype=np.float64)
    count = float(positive.sum())
    of_positive = (count + _IMAGINED) / (count + 2 * _IMAGINED)
    of_negative = _IMAGINED / (len(m) - count + 2 * _IMAGINED)
    target = np.where(positive, of_positive, of_negative)
    mean, precision = np.array(centre), 1.0 / np.square(np.array(spread))
    point = mean.copy()
    value = _penalised_loss(point, m, target, mean, precision)
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(point, m, target, mean, precision)
        scale = 1.0
        while scale > 1e-10:
            trial = point + scale * step
            trial_value = _penalised_loss(trial, m, target, mean, precision)
            if trial_value <= value:
                break
            scale /= 2
        else:
            break
        finished = value - trial_value <= 1e-12 * max(1.0, abs(value))
        point, value = trial, trial_value
        if finished:
            break
    return float(point[0]), float(point[1])


def _penalised_loss(
    point: FloatArray,
    margins: FloatArray,
    target: FloatArray,
    mean: FloatArray,
    precision: FloatArray,
) -> float:
    z = np.exp(point[0]) * margins + point[1]
    loss = np.logaddexp(0.0, z) - target * z
    return float(loss.sum() + 0.5 * (precision * np.square(point - mean)).sum())


def _newton_step(
    point: FloatArray,
    margins: FloatArray,
    target: FloatArray,
    mean: FloatArray,
    precision: FloatArray,
) -> FloatArray:
    """A descent step: the Hessian's expected part (Gauss-Newton) plus the priors is positive."""
    scaled = np.exp(point[0]) * margins
    p = sigmoid(scaled + point[1])
    rows = np.stack([scaled, np.ones_like(scaled)])
    gradient = rows @ (p - target) + precision * (point - mean)
    curvature = (rows * (p * (1 - p))) @ rows.T + np.diag(precision)
    step: FloatArray = -np.linalg.solve(curvature, gradient)
    return step
