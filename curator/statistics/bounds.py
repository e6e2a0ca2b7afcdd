"""Bounds on error rates that hold whatever the model believes about itself."""

from __future__ import annotations


def clopper_pearson_upper(errors: int, sample: int, confidence: float) -> float:
    """Exact one-sided upper bound on an error rate.

    Returns 1.0 for an empty sample. Raises ValueError unless 0 <= errors <= sample and
    0 < confidence < 1. Clopper and Pearson (1934), Biometrika 26, eq. for the beta quantile.
    """
    from scipy.special import betaincinv

    _check(errors, sample, confidence)
    if errors == sample:
        return 1.0
    return float(betaincinv(errors + 1, sample - errors, confidence))


def clopper_pearson_interval(errors: int, sample: int, confidence: float) -> tuple[float, float]:
    """Exact two-sided interval for an error rate, with half the risk on either side.

    Returns (0.0, 1.0) for an empty sample. Raises ValueError as `clopper_pearson_upper`.
    """
    one_sided = (1 + confidence) / 2
    upper = clopper_pearson_upper(errors, sample, one_sided)
    lower = 1.0 - clopper_pearson_upper(sample - errors, sample, one_sided)
    return lower, upper


def _check(errors: int, sample: int, confidence: float) -> None:
    if not 0 <= errors <= sample:
        raise ValueError(f"{errors} errors in a sample of {sample}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"a confidence of {confidence} is not between 0 and 1")
