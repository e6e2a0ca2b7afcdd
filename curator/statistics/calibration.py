"""Calibration: margins of heads mapped to probabilities on human labels.

The log-odds are exp(a) * margin + exp(c) * neighbour log-odds + b, so the map is monotone in both
and cannot follow noise. Its two or three parameters are fitted at once, without class weights, on
labels that never taught the head which gave the margin. That also decides what neighbours count
for: much where they know more than the head, little where classes are mixed. One map serves all
heads. With few labels the slope is uncertain, and the map is drawn in by that much, so that
probabilities near 0 and 1 are out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, FloatArray

Floats = NDArray[np.floating]
Targets = BoolArray | Floats

SAMPLE_FOR_POOL = 50
"""Labels of a random sample from which on probabilities count as calibrated for the pool."""

_SPREAD, _INTERCEPT_SPREAD = 0.5, 1.0
_POOL_SPREAD, _POOL_INTERCEPT_SPREAD = 0.5, 2.0
_WIDENING = np.pi / 16
_NEWTON_STEPS = 100
_LARGEST_EXPONENT = 35.0


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Margins of some images, (rows,), with the log-odds of their neighbours if there are any."""

    margins: Floats
    neighbours: Floats | None = None

    def __getitem__(self, rows: NDArray[np.generic]) -> Evidence:
        neighbours = None if self.neighbours is None else self.neighbours[rows]
        return Evidence(self.margins[rows], neighbours)

    def together(self) -> Floats:
        """Both in equal parts, (rows,): no label decides that."""
        return self.margins if self.neighbours is None else (self.margins + self.neighbours) / 2


@dataclass(frozen=True, slots=True)
class CalibrationMap:
    """A monotone map to log-odds z; `log_share` is None where neighbours have no part in it.

    `widening` w draws them in to z / sqrt(1 + w z^2).
    """

    log_slope: float = 0.0
    intercept: float = 0.0
    log_share: float | None = None
    widening: float = 0.0

    def log_odds(self, evidence: Evidence) -> FloatArray:
        """Log-odds of positive, (rows,)."""
        z = self.undamped(evidence)
        damped: FloatArray = z / np.sqrt(1.0 + self.widening * np.square(z))
        return damped

    def undamped(self, evidence: Evidence) -> FloatArray:
        """Log-odds as if the map were certain, (rows,)."""
        z = np.exp(self.log_slope) * evidence.margins.astype(np.float64) + self.intercept
        if self.log_share is not None and evidence.neighbours is not None:
            z += np.exp(self.log_share) * evidence.neighbours
        log_odds: FloatArray = z
        return log_odds

    def probabilities(self, evidence: Evidence) -> FloatArray:
        """P(positive), (rows,)."""
        return sigmoid(self.log_odds(evidence))

    def as_array(self) -> FloatArray:
        """The parameters, (4,); `log_share` is NaN if there is none."""
        share = np.nan if self.log_share is None else self.log_share
        return np.array([self.log_slope, self.intercept, share, self.widening])

    @classmethod
    def from_array(cls, parameters: FloatArray) -> CalibrationMap:
        """Read back what `as_array` gave."""
        slope, intercept, share, widening = parameters.tolist()
        return cls(slope, intercept, None if np.isnan(share) else share, widening)

    @classmethod
    def from_maps(cls, log_slopes: Floats, intercepts: Floats) -> CalibrationMap:
        """One map for the maps of each head, (K,), that earlier versions kept."""
        # They were drawn towards a common one, which their mean stands for.
        return cls(float(log_slopes.mean()), float(intercepts.mean()))


def fit_map(evidence: Evidence, positive: Targets) -> CalibrationMap:
    """The map under which labels, out of fold, are likely.

    `positive` (rows,) is whether a label is positive, or the probability that it should be.
    """
    margins, neighbours = evidence.margins, evidence.neighbours
    if neighbours is None:
        slope, intercept = _fit([margins], positive, 0.0, (_SPREAD, _INTERCEPT_SPREAD))
        fitted = CalibrationMap(slope, intercept)
    else:
        # Head and neighbours say much the same, so each counts half beforehand.
        slope, share, intercept = _fit(
            [margins, neighbours], positive, np.log(0.5), (_SPREAD, _SPREAD, _INTERCEPT_SPREAD)
        )
        fitted = CalibrationMap(slope, intercept, share)
    return replace(fitted, widening=_widening(fitted.undamped(evidence)))


def move_to_pool(start: CalibrationMap, evidence: Evidence, positive: Targets) -> CalibrationMap:
    """`start`, from labels of another kind, moved to a random sample of the pool.

    One change of slope and intercept; it is small where the sample is silent.
    """
    spread = (_POOL_SPREAD, _POOL_INTERCEPT_SPREAD)
    slope, intercept = _fit([start.undamped(evidence)], positive, 0.0, spread)
    moved = CalibrationMap(
        start.log_slope + slope,
        float(np.exp(slope)) * start.intercept + intercept,
        None if start.log_share is None else start.log_share + slope,
    )
    return replace(moved, widening=min(start.widening, _widening(moved.undamped(evidence))))


def _widening(log_odds: FloatArray) -> float:
    """How much the uncertain slope draws probabilities in, from log-odds of the labels, (labels,).

    The posterior variance of the log slope by Laplace's method, in the approximation of MacKay
    (1992), "The evidence framework applied to classification networks", eq. 10, at half his
    factor: the whole one costs a tenth of the coverage with 200 labels, and errors at the
    thresholds are below what these state with half of it.
    """
    p = sigmoid(log_odds)
    information = float((p * (1 - p) * np.square(log_odds)).sum())
    return float(_WIDENING / (information + 1 / _SPREAD**2))


def sigmoid(x: NDArray[np.floating]) -> FloatArray:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    clipped = np.clip(np.asarray(x, dtype=np.float64), -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
    result: FloatArray = 1.0 / (1.0 + np.exp(-clipped))
    return result


def _fit(
    columns: list[Floats], positive: Targets, centre: float, spread: tuple[float, ...]
) -> tuple[float, ...]:
    """The posterior mode of (log slope of each column, intercept) under normal priors.

    By damped Newton steps. Log slopes have the mean `centre`, the intercept 0.
    """
    mean = np.full(len(spread), centre)
    mean[-1] = 0.0
    levers, precision = np.array(columns, dtype=np.float64), 1.0 / np.square(np.array(spread))

    def penalised_loss(point: FloatArray) -> float:
        z = np.exp(point[:-1]) @ levers + point[-1]
        loss = np.logaddexp(0.0, z) - positive * z
        return float(loss.sum() + 0.5 * (precision * np.square(point - mean)).sum())

    point, value = mean, penalised_loss(mean)
    for _ in range(_NEWTON_STEPS):
        # The Hessian's expected part (Gauss-Newton) plus the priors is positive.
        rows = np.vstack([np.exp(point[:-1])[:, None] * levers, np.ones(len(positive))])
        p = sigmoid(rows[:-1].sum(axis=0) + point[-1])
        gradient = rows @ (p - positive) + precision * (point - mean)
        step = -np.linalg.solve((rows * (p * (1 - p))) @ rows.T + np.diag(precision), gradient)
        scale = 1.0
        while (trial := penalised_loss(point + scale * step)) > value:
            scale /= 2
            if scale < 1e-10:
                return tuple(point.tolist())
        finished = value - trial <= 1e-12 * max(1.0, abs(value))
        point, value = point + scale * step, trial
        if finished:
            break
    return tuple(point.tolist())
