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
    Evidence,
    fit_map,
    move_to_pool,
    sigmoid,
)


def draw(seed: int, rows: int, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    margins = generator.normal(0, 3, rows)
    return margins, generator.random(rows) < sigmoid(slope * margins + intercept)


def test_with_many_labels_it_finds_the_map_that_scikit_learn_finds() -> None:
    margins, positive = draw(1, 40_000, 0.5, -1.0)
    fitted = fit_map(Evidence(margins), positive)
    reference = LogisticRegression(C=np.inf).fit(margins[:, None], positive)
    assert np.exp(fitted.log_slope) == pytest.approx(reference.coef_[0, 0], rel=0.01)
    assert fitted.intercept == pytest.approx(reference.intercept_[0], abs=0.02)
    assert fitted.widening < 1e-3


def test_with_many_labels_it_finds_what_neighbours_count_for() -> None:
    generator = np.random.default_rng(8)
    margins, neighbours = generator.normal(0, 2, (2, 40_000))
    positive = generator.random(40_000) < sigmoid(0.7 * margins + 0.2 * neighbours + 0.5)
    fitted = fit_map(Evidence(margins, neighbours), positive)
    both = np.stack([margins, neighbours], axis=1)
    reference = LogisticRegression(C=np.inf).fit(both, positive)
    assert fitted.log_share is not None
    weights = np.exp([fitted.log_slope, fitted.log_share])
    assert weights == pytest.approx(reference.coef_[0], rel=0.03)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 200), st.floats(0.05, 5), st.floats(-3, 3))
def test_the_map_is_the_posterior_mode(
    seed: int, rows: int, slope: float, intercept: float
) -> None:
    margins, positive = draw(seed, rows, slope, intercept)
    neighbours = np.random.default_rng(seed + 1).normal(0, 2, rows)
    fitted = fit_map(Evidence(margins, neighbours), positive)

    def loss(point: np.ndarray) -> float:
        z = np.exp(point[0]) * margins + np.exp(point[1]) * neighbours + point[2]
        likelihood = (np.logaddexp(0, z) - positive * z).sum()
        prior = np.square((point - [np.log(0.5), np.log(0.5), 0.0]) / [0.5, 0.5, 1.0]).sum()
        return float(likelihood + 0.5 * prior)

    reference = min(
        (
            minimize(
                loss, start, method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-11, "maxiter": 5_000},
            )
            for start in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-2.0, -1.0, 0.0])
        ),
        key=lambda result: result.fun,
    )  # fmt: skip
    assert fitted.log_share is not None
    mode = np.array([fitted.log_slope, fitted.log_share, fitted.intercept])
    assert loss(mode) <= reference.fun + 1e-6


@pytest.mark.parametrize("labels", [0, 6, 18])
def test_few_separable_labels_do_not_claim_certainty(labels: int) -> None:
    margins = np.array([-8.0, -7.0, -6.0, 6.0, 7.0, 8.0] * 3)[:labels]
    evidence = Evidence(margins, margins)
    fitted = fit_map(evidence, margins > 0)
    as_sure = Evidence(np.array([6.0]), np.array([6.0]))
    assert fitted.probabilities(as_sure)[0] < 0.99


def test_probabilities_rise_with_margin_and_neighbours() -> None:
    margins, positive = draw(4, 60, -0.8, 0.3)
    fitted = fit_map(Evidence(margins, margins[::-1]), positive)
    grid, nothing = np.linspace(-20, 20, 200), np.zeros(200)
    assert (np.diff(fitted.log_odds(Evidence(grid, nothing))) > 0).all()
    assert (np.diff(fitted.log_odds(Evidence(nothing, grid))) > 0).all()


def test_a_sample_of_the_pool_moves_probabilities_to_the_share_of_the_pool() -> None:
    seeds, seed_positive = draw(5, 200, 1.0, 0.0)
    start = fit_map(Evidence(seeds), seed_positive)
    margins, positive = draw(6, 2_000, 1.0, -3.0)
    moved = move_to_pool(start, Evidence(margins), positive)
    assert start.probabilities(Evidence(margins)).mean() > 0.45
    claimed = moved.probabilities(Evidence(margins)).mean()
    assert claimed == pytest.approx(positive.mean(), abs=0.02)


def test_the_map_without_parameters_changes_nothing_and_survives_its_array() -> None:
    margins = np.array([0.0, 1.0, -2.0, 50.0])
    assert CalibrationMap().probabilities(Evidence(margins)) == pytest.approx(sigmoid(margins))
    for one in (CalibrationMap(0.1, 0.2, 0.3, 0.4), CalibrationMap(0.1, 0.2)):
        assert CalibrationMap.from_array(one.as_array()) == one
