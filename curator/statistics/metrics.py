"""How good labels and probabilities are, against labels that are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray
from curator.statistics.bounds import clopper_pearson_interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorEstimate:
    """A share of wrong answers with an exact two-sided interval."""

    errors: int
    sample: int
    low: float
    high: float

    @property
    def rate(self) -> float | None:
        """Errors per answer, or None without any answer."""
        return self.errors / self.sample if self.sample else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """Counts of predictions against the truth."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @property
    def total(self) -> int:
        """All predictions."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def accuracy(self) -> float | None:
        """Share of right predictions, or None without any."""
        right = self.true_positive + self.true_negative
        return right / self.total if self.total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """One bin of a reliability diagram: mean claim and observed share of positives.

    `low_share` and `high_share` are the exact 95% interval of that share.
    """

    low: float
    high: float
    count: int
    mean_probability: float
    share_positive: float
    low_share: float
    high_share: float


def error_estimate(wrong: BoolArray, confidence: float = 0.95) -> ErrorEstimate:
    """The share of True in `wrong`, with the Clopper-Pearson interval."""
    return error_from_counts(int(wrong.sum()), len(wrong), confidence)


def error_from_counts(errors: int, sample: int, confidence: float = 0.95) -> ErrorEstimate:
    """`errors` wrong answers in a sample, with the Clopper-Pearson interval."""
    low, high = clopper_pearson_interval(errors, sample, confidence)
    return ErrorEstimate(errors=errors, sample=sample, low=low, high=high)


def confusion(predicted: BoolArray, positive: BoolArray) -> Confusion:
    """Counts of predicted against true positives, both (rows,)."""
    return Confusion(
        true_positive=int((predicted & positive).sum()),
        false_positive=int((predicted & ~positive).sum()),
        true_negative=int((~predicted & ~positive).sum()),
        false_negative=int((~predicted & positive).sum()),
    )


def brier_score(probability: NDArray[np.floating], positive: BoolArray) -> float:
    """Mean squared difference of probability and outcome. Brier (1950), Mon. Weather Rev. 78."""
    return float(np.mean(np.square(probability - positive)))


def reliability(
    probability: NDArray[np.floating], positive: BoolArray, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram over equal bins of probability; empty bins are left out."""
    index = np.minimum((np.asarray(probability) * bins).astype(int), bins - 1)  # P = 1: last bin
    diagram = []
    for number in range(bins):
        inside = index == number
        if inside.any():
            estimate = error_estimate(positive[inside])
            diagram.append(
                ReliabilityBin(
                    low=number / bins,
                    high=(number + 1) / bins,
                    count=int(inside.sum()),
                    mean_probability=float(np.mean(probability[inside])),
                    share_positive=float(np.mean(positive[inside])),
                    low_share=estimate.low,
                    high_share=estimate.high,
                )
            )
    return tuple(diagram)


def expected_calibration_error(
    probability: NDArray[np.floating], positive: BoolArray, bins: int = 10
) -> float:
    """Mean gap of claim and outcome over the bins, weighted by count.

    Naeini, Cooper and Hauskrecht (2015), AAAI.
    """
    diagram = reliability(probability, positive, bins)
    gaps = sum(each.count * abs(each.mean_probability - each.share_positive) for each in diagram)
    return gaps / max(len(probability), 1)
