"""Bounds and metrics against SciPy, scikit-learn and their own promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import brier_score_loss, confusion_matrix

from curator.statistics.bounds import clopper_pearson_interval, clopper_pearson_upper
from curator.statistics.metrics import (
    brier_score,
    confusion,
    error_estimate,
    expected_calibration_error,
    reliability,
)


@given(st.integers(1, 3_000), st.data())
def test_the_upper_bound_is_where_the_binomial_tail_meets_the_risk(
    sample: int, data: st.DataObject
) -> None:
    errors = data.draw(st.integers(0, sample - 1))
    bound = clopper_pearson_upper(errors, sample, 0.95)
    assert stats.binom.cdf(errors, sample, bound) == pytest.approx(0.05, rel=1e-6)


@given(st.integers(1, 500), st.data())
def test_the_interval_is_that_of_scipy(sample: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(0, sample))
    reference = stats.binomtest(errors, sample).proportion_ci(0.95, method="exact")
    assert clopper_pearson_interval(errors, sample, 0.95) == pytest.approx(reference, abs=1e-9)


def test_299_audits_without_an_error_are_needed_for_one_percent() -> None:
    assert clopper_pearson_upper(0, 298, 0.95) > 0.01 >= clopper_pearson_upper(0, 299, 0.95)


@pytest.mark.parametrize(
    ("errors", "sample", "confidence"), [(-1, 5, 0.9), (6, 5, 0.9), (1, 5, 1.0), (1, 5, 0.0)]
)
def test_impossible_samples_are_refused(errors: int, sample: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"errors in a sample|not between"):
        clopper_pearson_upper(errors, sample, confidence)


def test_an_empty_sample_bounds_nothing() -> None:
    estimate = error_estimate(np.zeros(0, dtype=bool))
    assert (estimate.rate, estimate.low, estimate.high) == (None, 0.0, 1.0)


def test_metrics_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    probability = generator.random(500)
    positive = generator.random(500) < probability
    counts = confusion(probability > 0.5, positive)
    reference = confusion_matrix(positive, probability > 0.5)
    assert [counts.true_negative, counts.false_positive] == reference[0].tolist()
    assert [counts.false_negative, counts.true_positive] == reference[1].tolist()
    assert counts.accuracy == pytest.approx(np.mean((probability > 0.5) == positive))
    assert brier_score(probability, positive) == pytest.approx(
        brier_score_loss(positive, probability)
    )


def test_reliability_sees_honest_and_boastful_probabilities() -> None:
    generator = np.random.default_rng(6)
    probability = generator.random(20_000)
    positive = generator.random(20_000) < probability
    assert expected_calibration_error(probability, positive) < 0.02
    boast = np.where(probability > 0.5, 0.999, 0.001)
    assert expected_calibration_error(boast, positive) > 0.2
    assert sum(one.count for one in reliability(boast, positive)) == 20_000
    assert len(reliability(boast, positive)) == 2
