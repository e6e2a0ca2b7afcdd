"""Calibration against an independent optimiser, and what it promises with few labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from curator.statistics.calibration import (
    CalibrationMap,
    calibrate_on_pool,
    calibrate_out_of_fold,
    sigmoid,
)


def draw(seed: int, rows: int, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    margins = generator.normal(0, 3, rows)
    return margins, generator.random(rows) < sigmoid(slope * margins + intercept)


def test_with_many_labels_it_finds_the_map_that_scikit_learn_finds() -> None:
    margins, positive = draw(1, 40_000, 0.5, -1.0)
    found = calibrate_out_of_fold(margins, np.zeros(40_000, int), positive, 1)
    reference = LogisticRegression(C=np.inf).fit(margins[:, None], positive)
    assert np.exp(found.log_slope[0]) == pytest.approx(reference.coef_[0, 0], rel=0.01)
    assert found.intercept[0] == pytest.approx(reference.intercept_[0], abs=0.02)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 200), st.floats(0.05, 5), st.floats(-3, 3))
def test_the_shared_map_is_the_posterior_mode(
    seed: int, rows: int, slope: float, intercept: float
) -> None:
    margins, positive = draw(seed, rows, slope, intercept)
    found = calibrate_out_of_fold(margins, np.zeros(rows, int), positive, 2)
    count = positive.sum()
    target = np.where(positive, (count + 0.5) / (count + 1), 0.5 / (rows - count + 1))

    def loss(point: np.ndarray) -> float:
        z = np.exp(point[0]) * margins + point[1]
        likelihood = (np.logaddexp(0, z) - target * z).sum()
        return float(likelihood + 0.5 * point[0] ** 2 + 0.5 * (point[1] / 2) ** 2)

    reference = min(
        (
            minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11})
            for start in ([0.0, 0.0], [1.0, 0.0], [-2.0, 0.0])
        ),
        key=lambda result: result.fun,
    )
    shared = np.array([found.log_slope[1], found.intercept[1]])
    assert loss(shared) <= reference.fun + 1e-6


def test_a_head_without_labels_keeps_the_shared_map_and_one_with_many_leaves_it() -> None:
    shared_margins, shared_positive = draw(2, 300, 1.0, 0.0)
    odd_margins, odd_positive = draw(3, 5_000, 1.0, 2.0)
    margins = np.concatenate([shared_margins, odd_margins])
    positive = np.concatenate([shared_positive, odd_positive])
    folds = np.array([0] * 300 + [1] * 5_000)
    found = calibrate_out_of_fold(margins, folds, positive, 3)
    assert found.intercept[1] > found.intercept[2] > found.intercept[0]


def test_separable_labels_do_not_claim_certainty() -> None:
    margins = np.array([-8.0, -7.0, -6.0, 6.0, 7.0, 8.0] * 3)
    found = calibrate_out_of_fold(margins, np.arange(18) % 3, margins > 0, 3)
    assert found.probabilities(np.full((1, 3), 6.0)).max() < 0.99


def test_probabilities_rise_with_the_margin() -> None:
    margins, positive = draw(4, 60, -0.8, 0.3)
    found = calibrate_out_of_fold(margins, np.arange(60) % 4, positive, 4)
    grid = np.repeat(np.linspace(-20, 20, 200)[:, None], 4, axis=1)
    assert (np.diff(found.probabilities(grid), axis=0) > 0).all()


def test_a_sample_of_the_pool_moves_probabilities_to_the_share_of_the_pool() -> None:
    seeds, seed_positive = draw(5, 200, 1.0, 0.0)
    start = calibrate_out_of_fold(seeds, np.arange(200) % 2, seed_positive, 2)
    pool, pool_positive = draw(6, 2_000, 1.0, -3.0)
    both = np.stack([pool, pool], axis=1)
    found = calibrate_on_pool(pool, np.arange(2_000) % 2, pool_positive, start)
    claimed = found.probabilities(both).mean(axis=0)
    assert start.probabilities(both).mean() > 0.45
    assert claimed == pytest.approx(pool_positive.mean(), abs=0.02)


def test_zeros_are_the_map_that_changes_nothing() -> None:
    margins = np.array([[0.0, 1.0], [-2.0, 50.0]])
    unchanged = CalibrationMap(np.zeros(2), np.zeros(2))
    assert unchanged.probabilities(margins) == pytest.approx(sigmoid(margins))
