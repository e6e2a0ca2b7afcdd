"""Neighbours smooth what heads say, and are believed as far as labels carry it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.neighbour_smoothing import edge_weights, neighbour_log_odds


def logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(probability) - np.log1p(-probability)


def nearest(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    distance = np.square(points[:, None, :] - points[None, :, :]).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_smoothing_equals_a_matrix_product(steps: int) -> None:
    generator = np.random.default_rng(0)
    margins = generator.normal(size=(60, 4)).astype(np.float32)
    graph = nearest(generator.normal(size=(60, 3)), 5)
    around = np.zeros((60, 60))
    np.put_along_axis(around, graph, 1.0, axis=1)
    # A neighbour that does not have the image among its own nearest counts a tenth.
    around = np.where(around.T == 1, around, 0.1 * around)
    assert np.take_along_axis(around, graph, axis=1) == pytest.approx(edge_weights(graph))
    assert 0 < (around == 0.1).sum() < 60 * 5
    total = around.sum(axis=1, keepdims=True)
    expected = around / total @ (1 / (1 + np.exp(-margins.astype(np.float64))))
    for _ in range(steps - 1):
        expected = (around + np.eye(60)) / (total + 1) @ expected
    found = neighbour_log_odds(margins, graph, edge_weights(graph), steps=steps)
    assert found == pytest.approx(logit(expected), abs=1e-4)


def test_heads_do_not_learn_from_each_other() -> None:
    generator = np.random.default_rng(1)
    margins = generator.normal(size=(50, 3))
    graph = nearest(generator.normal(size=(50, 2)), 4)
    other = margins.copy()
    other[:, 1] += 5.0
    weights = edge_weights(graph)
    first, second = (neighbour_log_odds(each, graph, weights) for each in (margins, other))
    assert (first[:, [0, 2]] == second[:, [0, 2]]).all()
    assert (first[:, 1] < second[:, 1]).all()


def test_clusters_make_a_weak_head_rank_better() -> None:
    generator = np.random.default_rng(2)
    positive = generator.random(900) < 0.5
    points = np.where(positive, 3.0, -3.0)[:, None] + generator.normal(size=(900, 2))
    margins = np.where(positive, 1.0, -1.0)[:, None] + 1.5 * generator.normal(size=(900, 2))
    graph = nearest(points, 15)
    around = neighbour_log_odds(margins, graph, edge_weights(graph))
    blended = 0.4 * margins + 0.6 * around
    alone = ((margins[200:, 0] > 0) != positive[200:]).mean()
    together = ((blended[200:, 0] > 0) != positive[200:]).mean()
    assert together < 0.4 * alone


def test_neighbours_that_know_nothing_leave_the_ranking_as_it_was() -> None:
    """They all say much the same."""
    generator = np.random.default_rng(3)
    margins = generator.normal(size=(4_000, 1))
    graph = generator.integers(0, 4_000, (4_000, 15))
    around = neighbour_log_odds(margins, graph, edge_weights(graph))
    ranks = [values[:, 0].argsort().argsort() for values in (margins, margins + around)]
    assert np.corrcoef(*ranks)[0, 1] > 0.98
