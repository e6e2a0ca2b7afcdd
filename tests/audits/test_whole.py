"""Bounds for one fixed set, and what an annotator's slips do to a promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from curator.audits.whole import (
    bound_whole,
    error_with_slips,
    missed_share,
    promise_despite_slips,
    slips_at_most,
)


@pytest.mark.parametrize(("size", "sample"), [(40, 10), (60, 45), (25, 24), (120, 30)])
def test_the_bound_covers_every_number_of_wrong_labels(size: int, sample: int) -> None:
    """For each true number, the chance that the bound for the unseen is too low is within risk."""
    bounds = [bound_whole(size, sample, errors, 0.1).wrong for errors in range(sample + 1)]
    worst = 0.0
    for wrong in range(size + 1):
        chances = stats.hypergeom.pmf(np.arange(sample + 1), size, wrong, sample)
        too_low = [wrong - errors > bounds[errors] for errors in range(sample + 1)]
        worst = max(worst, float(chances[too_low].sum()))
    assert 0.02 < worst <= 0.1 + 1e-9


@given(st.integers(2, 5_000), st.data())
def test_the_bound_is_where_the_tail_meets_the_risk(size: int, data: st.DataObject) -> None:
    sample = data.draw(st.integers(1, size - 1))
    errors = data.draw(st.integers(0, sample))
    bound = bound_whole(size, sample, errors, 0.05)
    assert bound.unseen == size - sample
    assert bound.bound == bound.wrong / bound.unseen
    whole = bound.wrong + errors
    assert stats.hypergeom.cdf(errors, size, whole, sample) > 0.05
    if bound.wrong < bound.unseen:
        assert stats.hypergeom.cdf(errors, size, whole + 1, sample) <= 0.05


def test_a_large_frame_has_the_bound_of_clopper_and_pearson() -> None:
    assert bound_whole(2_000_000, 299, 0, 0.05).bound == pytest.approx(0.00997, abs=2e-5)
    assert bound_whole(500, 500, 3, 0.05).bound == 0.0
    assert bound_whole(500, 0, 0, 0.05).bound == 1.0


@pytest.mark.parametrize(("size", "sample", "errors"), [(10, 11, 0), (10, 5, 6), (10, 5, -1)])
def test_impossible_counts_are_refused(size: int, sample: int, errors: int) -> None:
    with pytest.raises(ValueError, match="errors in"):
        bound_whole(size, sample, errors, 0.05)


def test_missed_positives_as_a_share() -> None:
    assert missed_share(30, 70) == 0.3
    assert missed_share(0, 0) == 0.0


@given(st.floats(0.001, 0.3), st.floats(0.0, 0.5))
def test_auditing_for_less_makes_up_for_slips(max_error: float, overlooked: float) -> None:
    audited = promise_despite_slips(max_error, overlooked)
    assert error_with_slips(audited, overlooked) == pytest.approx(max_error)


def test_an_annotator_who_overlooks_errors_weakens_the_promise_as_stated() -> None:
    """With a third overlooked the promise of 3% breaks; the one of 4.5% stands."""
    size, sample, runs = 20_000, 400, 6_000
    generator = np.random.default_rng(2)
    stated = error_with_slips(0.03, 1 / 3)
    assert stated == pytest.approx(0.045)
    wrong = int(stated * size) + 20
    found = generator.hypergeometric(wrong, size - wrong, sample, size=runs)
    noticed = generator.binomial(found, 2 / 3)
    passed = np.array([bound_whole(size, sample, int(n), 0.05).bound <= 0.03 for n in range(20)])
    certified = passed[np.minimum(noticed, 19)]
    left = (wrong - found) / (size - sample)
    assert (certified & (left > 0.03)).mean() > 0.03
    assert (certified & (left > stated)).mean() <= 0.06
    honest = passed[np.minimum(found, 19)]
    assert honest.mean() < 0.005


def test_planted_errors_bound_the_slips() -> None:
    assert slips_at_most(0, 59, 0.95) == pytest.approx(0.0495, abs=1e-3)
    assert slips_at_most(3, 60, 0.95) == pytest.approx(
        stats.binomtest(3, 60).proportion_ci(0.90, method="exact").high
    )


@pytest.mark.parametrize("overlooked", [-0.1, 1.0])
def test_impossible_slips_are_refused(overlooked: float) -> None:
    with pytest.raises(ValueError, match="overlooks"):
        error_with_slips(0.01, overlooked)
    with pytest.raises(ValueError, match="overlooks"):
        promise_despite_slips(0.01, overlooked)
