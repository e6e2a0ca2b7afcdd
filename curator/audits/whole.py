"""Bounds for one fixed set: a frame promoted by thresholds, or the positives that were missed.

Where nothing is chosen after the audit there is one set and one bound. It is the exact one
for sampling without replacement, and it is moved from the whole set to the images that
nobody has seen, which is not the same: the audited ones leave with their errors.
"""

from __future__ import annotations

from dataclasses import dataclass

from curator.statistics.bounds import clopper_pearson_upper


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeBound:
    """What a random sample of one set says about the rest of it.

    At most `wrong` of the `unseen` images are wrong, with the stated confidence; `bound` is
    that as a share.
    """

    unseen: int
    wrong: int
    bound: float


def bound_whole(
    size: int, sample: int, errors: int, risk: float, *, refuted: int | None = None
) -> WholeBound:
    """Bound the wrong labels among the images of a set that a random sample did not show.

    Inverts the exact hypergeometric tails: every number of wrong images in the set that
    would give so few errors with a chance of at most `risk` is excluded (Buonaccorsi, 1987,
    The American Statistician 41). Of the `errors`, `refuted` (all, if not given) are known to
    be wrong and have left the set; the others were not confirmed, but may be right. Raises
    ValueError unless 0 <= refuted <= errors <= sample <= size and 0 < risk < 1.
    """
    from scipy.stats import hypergeom

    found = errors if refuted is None else refuted
    if not 0 <= found <= errors <= sample <= size or not 0.0 < risk < 1.0:
        raise ValueError(f"{errors} errors in {sample} of {size} images at a risk of {risk}")
    low, high = errors, size - sample + errors
    while low < high:
        middle = (low + high + 1) // 2
        likely = float(hypergeom.cdf(errors, size, middle, sample)) > risk
        low, high = (middle, high) if likely else (low, middle - 1)
    unseen = size - sample
    wrong = min(low - found, unseen)
    return WholeBound(unseen=unseen, wrong=wrong, bound=wrong / unseen if unseen else 0.0)


def missed_share(missed: int, found: int) -> float:
    """The share of all positives that were missed, from bounds on both.

    `missed` is an upper bound on the positives among images labelled negative, `found` a
    lower bound on those labelled positive. The risks of the two bounds add up.
    """
    return missed / (missed + found) if missed + found else 0.0


def error_with_slips(max_error: float, overlooked: float) -> float:
    """The promise that is left when the annotator overlooks a share of the wrong labels.

    What an audit bounds are the errors that its annotator would call errors. If these are
    only 1 - s of all, the true error may be 1 / (1 - s) times the promise. Right labels that
    are called wrong cost coverage and never the promise.
    """
    if not 0.0 <= overlooked < 1.0:
        raise ValueError(f"an annotator who overlooks {overlooked} of the errors")
    return min(1.0, max_error / (1.0 - overlooked))


def slips_at_most(overlooked: int, planted: int, confidence: float) -> float:
    """Upper bound on the share of errors that the annotator overlooks, from planted ones.

    `planted` images with labels known to be wrong were shown blind; `overlooked` passed.
    """
    return clopper_pearson_upper(overlooked, planted, confidence)


def promise_despite_slips(max_error: float, overlooked: float) -> float:
    """The error to audit for, so that the wished one holds with that share overlooked."""
    if not 0.0 <= overlooked < 1.0:
        raise ValueError(f"an annotator who overlooks {overlooked} of the errors")
    return max_error * (1.0 - overlooked)
