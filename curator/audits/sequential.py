"""A sequential test of one set: after how many answers how few errors prove the promise.

The images of a set are shown in one random order. A number W of wrong labels in the set is refuted
when its e-value reaches 1 / risk: the probability of the answers under a beta prior over error
rates, divided by their probability if W labels are wrong. Under the true W this ratio is a
martingale that starts at 1 (the prior-posterior ratio of Waudby-Smith and Ramdas, 2020, Confidence
sequences for sampling without replacement), so by Ville's inequality it ever reaches 1 / risk with
a chance of at most `risk`, however often one looks. The prior decides how soon a true promise is
proved, and never whether a false one is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from curator.base.arrays import BoolArray, FloatArray, IntArray

PRIOR_ERRORS = 2
"""Weight of the prior, in errors; its weight in right answers is chosen with the plan."""

# Above the rounding error of the logarithms for sets of ten million images.
_SAFE = 1e-6


def stopping_points(
    size: int, allowed: IntArray, *, prior: int, risk: float, first: bool = False
) -> IntArray:
    """After how many answers at most 0, 1, 2, ... errors prove the promise, rising, (points,).

    `allowed[t - 1]` is how many of the unseen images may be wrong after t answers; there are at
    most as many answers as it has values. Between two points no further answer can be a proof, so
    whoever looks at these points alone stops as soon as after every answer. `first` gives the first
    point alone.
    """
    answered = np.arange(1, len(allowed) + 1)
    proved = np.ones(len(allowed), dtype=np.bool_)
    points: list[int] = []
    while True:
        # Fewer errors must prove it, too: then a right label that is called wrong never helps.
        errors = len(points)
        possible = errors <= answered
        proved &= possible & proves(
            size, answered, np.minimum(errors, answered), allowed, prior=prior, risk=risk
        )
        later = np.flatnonzero(proved & (answered > (points[-1] if points else 0)))
        if not len(later):
            return np.array(points, dtype=np.int64)
        points.append(int(answered[later[0]]))
        if first:
            return np.array(points, dtype=np.int64)


def are_stopping_points(
    size: int, points: IntArray, allowed: IntArray, *, prior: int, risk: float
) -> bool:
    """Whether at most k errors at point k, and fewer, prove that at most `allowed[k]` are wrong."""
    number = np.arange(len(points))
    errors = np.minimum(number[None, :], number[:, None])
    proved = proves(
        size, points[:, None], errors, allowed[:, None], prior=prior, risk=risk, safe=_SAFE / 2
    )
    return bool((np.diff(points, prepend=0) > 0).all() and proved.all())


def proves(
    size: int,
    answered: ArrayLike,
    errors: ArrayLike,
    allowed: ArrayLike,
    *,
    prior: int,
    risk: float,
    safe: float = _SAFE,
) -> BoolArray:
    """Whether every number of wrong labels is refuted that leaves over `allowed` among the unseen.

    Arrays are broadcast against each other.
    """
    drawn, wrong_drawn = np.asarray(answered, np.float64), np.asarray(errors, np.float64)
    broken = wrong_drawn + np.asarray(allowed, np.float64) + 1
    impossible = broken - wrong_drawn > size - drawn
    # From there on the e-value rises with the number of wrong labels, so that the smallest number
    # that breaks the promise is the last to be refuted.
    beyond_peak = (broken + 1) * drawn >= wrong_drawn * (size + 1)
    evidence = log_e_value(
        size, drawn, wrong_drawn, np.where(impossible, wrong_drawn, broken), prior=prior
    )
    proved: BoolArray = impossible | (beyond_peak & (evidence >= safe - np.log(risk)))
    return proved


def log_e_value(
    size: int, answered: ArrayLike, errors: ArrayLike, wrong: ArrayLike, *, prior: int
) -> FloatArray:
    """Log of the evidence of the answers against `wrong` wrong labels among `size` images.

    The prior over error rates is Beta(`PRIOR_ERRORS`, `prior`).
    """
    from scipy.special import betaln

    drawn, failed = np.asarray(answered, np.float64), np.asarray(errors, np.float64)
    total = np.asarray(wrong, np.float64)
    mixed = betaln(PRIOR_ERRORS + failed, prior + drawn - failed) - betaln(PRIOR_ERRORS, prior)
    exact = _log_choose(size - drawn, total - failed) - _log_choose(size, total)
    evidence: FloatArray = mixed - exact
    return evidence


def _log_choose(of: ArrayLike, picked: ArrayLike) -> FloatArray:
    from scipy.special import gammaln

    total, part = np.asarray(of, np.float64), np.asarray(picked, np.float64)
    logarithm: FloatArray = gammaln(total + 1) - gammaln(part + 1) - gammaln(total - part + 1)
    return logarithm
