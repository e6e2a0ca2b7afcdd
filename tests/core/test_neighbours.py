"""Neighbours smooth what heads say, and are believed as far as labels carry it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.core.neighbours import Blend, fit_blend, neighbour_log_odds


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
    expected = around / 5 @ (1 / (1 + np.exp(-margins.astype(np.float64))))
    for _ in range(steps - 1):
        expected = (around + np.eye(60)) / 6 @ expected
    found = neighbour_log_odds(margins, graph, steps=steps)
    assert found == pytest.approx(logit(expected), abs=1e-4)


def test_heads_do_not_learn_from_each_other() -> None:
    generator = np.random.default_rng(1)
    margins = generator.normal(size=(50, 3))
    graph = nearest(generator.normal(size=(50, 2)), 4)
    other = margins.copy()
    other[:, 1] += 5.0
    first, second = neighbour_log_odds(margins, graph), neighbour_log_odds(other, graph)
    assert (first[:, [0, 2]] == second[:, [0, 2]]).all()
    assert (first[:, 1] < second[:, 1]).all()


def test_clusters_make_a_weak_head_rank_better() -> None:
    generator = np.random.default_rng(2)
    positive = generator.random(900) < 0.5
    points = np.where(positive, 3.0, -3.0)[:, None] + generator.normal(size=(900, 2))
    margins = np.where(positive, 1.0, -1.0)[:, None] + 1.5 * generator.normal(size=(900, 2))
    around = neighbour_log_odds(margins, nearest(points, 15))
    blend = fit_blend(margins[:200, 0], around[:200, 0], positive[:200])
    blended = blend.margins(margins, around)
    assert blend.share > 0.7
    alone = ((margins[200:, 0] > 0) != positive[200:]).mean()
    together = ((blended[200:, 0] > 0) != positive[200:]).mean()
    assert together < 0.2 * alone


def test_neighbours_that_mislead_are_not_believed() -> None:
    generator = np.random.default_rng(3)
    positive = generator.random(600) < 0.5
    margins = np.where(positive, 2.0, -2.0) + generator.normal(size=600)
    noise = generator.normal(size=600) * 2
    assert fit_blend(margins, noise, positive).share < 0.15


def test_the_blend_repeats_and_is_linear() -> None:
    margins, around = np.array([[1.0, -2.0]]), np.array([[3.0, 2.0]])
    assert Blend(share=0.25).margins(margins, around) == pytest.approx(np.array([[1.5, -1.0]]))
    assert Blend(share=0.0).margins(margins, around) == pytest.approx(margins)
    generator = np.random.default_rng(4)
    positive = generator.random(80) < 0.3
    sides = generator.normal(size=(2, 80)) + positive
    assert fit_blend(*sides, positive) == fit_blend(*sides, positive)
