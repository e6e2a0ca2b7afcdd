"""When sources and classes go together, and when that is no reason for alarm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats.contingency import association
from sklearn.metrics import roc_auc_score

from curator.rounds.source_shortcut import area_under_curve, cramers_v, fails_on_pool, suspicions
from curator.statistics.metrics import error_estimate


def test_the_association_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        groups, positive = generator.integers(0, 4, 80), generator.random(80) < 0.4
        table = np.array([[(positive[groups == g] == c).sum() for c in (0, 1)] for g in range(4)])
        expected = association(table, method="cramer")
        assert cramers_v(groups, positive) == pytest.approx(expected)
    assert cramers_v(np.zeros(10, dtype=int), np.arange(10) < 5) == 0.0
    assert cramers_v(np.arange(10) // 5, np.arange(10) < 5) == pytest.approx(1.0)


def test_the_area_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    scores, positive = np.round(generator.normal(size=200), 1), generator.random(200) < 0.3
    assert area_under_curve(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def seeds(positive_from: int, negative_from: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat([positive_from, negative_from], 100), np.repeat([True, False], 100)


def test_a_class_from_elsewhere_is_suspected_and_named() -> None:
    (found,) = suspicions(*seeds(2, 1), {1: 0.97, 2: 0.03})
    assert (found.positive, found.labels, found.at_home, found.sources) == (True, 100, 0, (2,))


@pytest.mark.parametrize(
    ("sources", "positive", "shares"),
    [
        (np.repeat(1, 200), np.arange(200) < 100, {1: 1.0}),
        (*seeds(2, 1), {1: 0.5, 2: 0.5}),
        (np.arange(200) % 2, np.arange(200) < 100, {0: 0.0, 1: 1.0}),
        (np.repeat([2, 1, 1], [100, 100, 60]), np.repeat([True, False, True], [100, 100, 60]),
         {1: 1.0}),
    ],
    ids=["one source", "both are the pool's", "sources mixed", "labelled in the pool, too"],
)  # fmt: skip
def test_clean_labels_are_not_suspected(
    sources: np.ndarray, positive: np.ndarray, shares: dict[int, float]
) -> None:
    assert suspicions(sources, positive, shares) == ()


def test_only_errors_beyond_chance_are_called_a_failure() -> None:
    few = error_estimate(np.arange(100) < 4)
    assert fails_on_pool(few, error_estimate(np.arange(60) < 25))
    assert not fails_on_pool(few, error_estimate(np.arange(60) < 5))
    assert not fails_on_pool(few, error_estimate(np.zeros(0, dtype=bool)))
