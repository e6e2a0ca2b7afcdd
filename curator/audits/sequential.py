"""A sequential test of one set: it may look after every answer, and stops when it has proved.

The images of the set are shown in one random order. After `answered` of its `size` images, of
which `errors` were not confirmed, the promise is proved once every number of wrong labels that
would break it is refuted. A number W is refuted when its e-value reaches 1 / risk: the probability
of the answers under a prior over error rates, divided by their probability if W labels are wrong.
Under the true W this ratio is a martingale that starts at 1 (the prior-posterior ratio of
Waudby-Smith and Ramdas, 2020, Confidence sequences for sampling without replacement), so by
Ville's inequality it ever reaches 1 / risk with a chance of at most `risk`. The prior decides how
soon a true promise is proved, and never whether a false one is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from curator.base.arrays import BoolArray, FloatArray

# Weight of the prior, in errors. A heavier one ends sooner if the expected error is right (5,000
# images, 1%, .2% wrong: median 619 answers with 5, 633 with 2, 682 with .5) and later if it is not.
_PRIOR_ERRORS = 2.0
# Above the rounding error of the logarithms for sets of ten million images.
_SAFE = 1e-6


def proves(
    size: int,
    answered: ArrayLike,
    errors: ArrayLike,
    *,
    max_error: float,
    risk: float,
    expected_error: float,
) -> BoolArray:
    """Whether at most the share `max_error` of the images not yet answered can be wrong.

    `answered` and `errors` are broadcast against each other. `expected_error` is the error rate
    that the plan expects in the set, fixed before the first answer. The test may stop at the first
    True; later answers do not take it back. Raises ValueError unless
    0 <= errors <= answered <= size, and for rates outside (0, 1).
    """
    drawn = np.asarray(answered, dtype=np.float64)
    wrong = np.asarray(errors, dtype=np.float64)
    if np.any(wrong < 0) or np.any(wrong > drawn) or np.any(drawn > size):
        raise ValueError(f"errors {errors!r} in {answered!r} answers of {size} images")
    if not (0 < max_error < 1 and 0 < risk < 1 and 0 < expected_error < 1):
        raise ValueError(f"rates {max_error}, {risk} and {expected_error} must be in (0, 1)")
    unseen = size - drawn
    # The smallest number of wrong labels in the whole set that breaks the promise for the unseen.
    broken = wrong + np.floor(max_error * unseen + 1e-9) + 1
    impossible = broken > unseen + wrong
    # The likelihood has one peak over W. Beyond it the e-value rises with W, so that the smallest
    # W that breaks the promise is the last to be refuted.
    beyond_peak = broken * drawn >= wrong * (size + 1)
    refuted = log_e_value(size, drawn, wrong, np.where(impossible, wrong, broken), expected_error)
    proved: BoolArray = impossible | (beyond_peak & (refuted >= _SAFE - np.log(risk)))
    return proved


def log_e_value(
    size: int,
    answered: ArrayLike,
    errors: ArrayLike,
    wrong: ArrayLike,
    expected_error: float,
) -> FloatArray:
    """Log of the evidence of the answers against `wrong` wrong labels among `size` images.

    The prior over error rates is a beta distribution with the mean `expected_error`.
    """
    from scipy.special import betaln

    drawn, failed = np.asarray(answered, np.float64), np.asarray(errors, np.float64)
    total = np.asarray(wrong, np.float64)
    prior = _PRIOR_ERRORS, _PRIOR_ERRORS * (1 - expected_error) / expected_error
    mixed = betaln(prior[0] + failed, prior[1] + drawn - failed) - betaln(*prior)
    exact = _log_choose(size - drawn, total - failed) - _log_choose(size, total)
    evidence: FloatArray = mixed - exact
    return evidence


def _log_choose(of: ArrayLike, picked: ArrayLike) -> FloatArray:
    from scipy.special import gammaln

    total, part = np.asarray(of, np.float64), np.asarray(picked, np.float64)
    logarithm: FloatArray = gammaln(total + 1) - gammaln(part + 1) - gammaln(total - part + 1)
    return logarithm
