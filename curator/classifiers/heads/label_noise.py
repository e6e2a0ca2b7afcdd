"""How far human labels can be believed, by what heads say that never met them.

A label that a held-out head contradicts firmly is more likely a slip than a marvel. How
firmly is not for the head alone to say: where classes overlap, contradiction is usual. So
slope and intercept of the heads' claims are fitted together with the share of labels that
are simply wrong, whatever the image; contradictions near the border go to the former, those
far from it to the latter. Labels that err leave the share at nought where there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.statistics.calibration import sigmoid

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_SLOPE_SPREAD, _INTERCEPT_SPREAD = 1.5, 2.0
_RIGHT_BEFOREHAND = 10.0
_FIRST_GUESS, _MOST_WRONG = 0.1, 0.4
_STEPS = 60
_LARGEST_MOVE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNoise:
    """What was made of human labels before heads were fitted.

    `regularization` is C, of the middle one of the heads, `chosen` whether labels chose it.
    `wrong_share` is the share of labels that seem wrong, `doubted` the number of those that
    are more likely wrong than right and hardly count in training.
    """

    regularization: float
    chosen: bool
    wrong_share: float
    doubted: int


@dataclass(frozen=True, slots=True, eq=False)
class Belief:
    """What columns of held-out margins make of labels.

    `wrong_share` is (columns,); `right`, the probability that each label is right, is (rows,
    columns), and 1 where a row does not count in a column.
    """

    wrong_share: Floats
    right: Floats


def estimate_label_noise(margins: NDArray[np.floating], positive: Flags, counted: Flags) -> Belief:
    """Hold labels against margins of heads that never met them.

    `margins` and `counted` are (rows, columns), `positive` is (rows,). The posterior mode of
    slope, intercept and share of wrong labels in each column, by expectation maximisation
    (Dempster, Laird and Rubin, 1977): a label is flipped with one chance for all, as in Bootkrajang
    and Kabán (2012), "Label-noise robust logistic regression".
    """
    m = np.where(counted, margins, 0.0).astype(np.float64)
    side = np.where(positive, 1.0, -1.0)[:, None]
    rows = counted.sum(axis=0)
    log_slope, intercept = np.zeros(m.shape[1]), np.zeros(m.shape[1])
    wrong_share = np.full(m.shape[1], _FIRST_GUESS)
    for _ in range(_STEPS):
        claimed = sigmoid(np.exp(log_slope) * m + intercept)
        right = _right(claimed, side, wrong_share)
        meant = np.where(side > 0, right, 1 - right)
        log_slope, intercept = _moved(log_slope, intercept, m, claimed, meant, counted)
        slips = ((1 - right) * counted).sum(axis=0)
        wrong_share = np.minimum(slips / (rows + _RIGHT_BEFOREHAND), _MOST_WRONG)
    claimed = sigmoid(np.exp(log_slope) * m + intercept)
    right = np.where(counted, _right(claimed, side, wrong_share), 1.0)
    return Belief(wrong_share=wrong_share, right=right)


def largest_within_noise(loss: Floats) -> int:
    """The last of rising candidates whose mean loss is within one standard error of the least.

    `loss` is (rows, candidates). The standard error is that of the difference to the best
    candidate on the same rows.
    """
    best = int(loss.mean(axis=0).argmin())
    behind = loss - loss[:, [best]]
    noise = behind.std(axis=0) / np.sqrt(len(loss))
    return int(np.flatnonzero(behind.mean(axis=0) <= noise).max())


def _right(claimed: Floats, side: Floats, wrong_share: Floats) -> Floats:
    given = np.where(side > 0, claimed, 1 - claimed)
    believed = (1 - wrong_share) * given
    right: Floats = believed / np.maximum(believed + wrong_share * (1 - given), 1e-300)
    return right


def _moved(
    log_slope: Floats, intercept: Floats, m: Floats, claimed: Floats, meant: Floats, counted: Flags
) -> tuple[Floats, Floats]:
    """One Newton step of every column towards the labels that are meant; moves are limited."""
    off = (claimed - meant) * counted
    bend = claimed * (1 - claimed) * counted
    lever = np.exp(log_slope) * m
    slope_pull = (off * lever).sum(axis=0) + log_slope / _SLOPE_SPREAD**2
    shift_pull = off.sum(axis=0) + intercept / _INTERCEPT_SPREAD**2
    first = (bend * lever**2).sum(axis=0) + 1 / _SLOPE_SPREAD**2
    mixed = (bend * lever).sum(axis=0)
    second = bend.sum(axis=0) + 1 / _INTERCEPT_SPREAD**2
    scale = first * second - mixed**2
    slope_move = (second * slope_pull - mixed * shift_pull) / scale
    shift_move = (first * shift_pull - mixed * slope_pull) / scale
    return (
        log_slope - np.clip(slope_move, -_LARGEST_MOVE, _LARGEST_MOVE),
        intercept - np.clip(shift_move, -_LARGEST_MOVE, _LARGEST_MOVE),
    )
