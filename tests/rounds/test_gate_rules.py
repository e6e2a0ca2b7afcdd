"""Gates hold back what they should and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.rounds.gates import distances_among, largest_usual_distance
from curator.rounds.promotion import GateInputs, RoundAction, hold_back


def test_the_most_remote_label_says_what_is_usual() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 5)).astype(np.float32)
    distance = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    among = distances_among(vectors, np.arange(60))
    assert among == pytest.approx(distance.min(axis=1), rel=1e-4)
    assert largest_usual_distance(among) == among.max()


def test_copies_of_a_label_do_not_make_it_less_remote() -> None:
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [9.1, 0.0]])
    assert largest_usual_distance(distances_among(vectors, np.arange(4))) == pytest.approx(1.0)
    assert largest_usual_distance(
        distances_among(vectors, np.array([0, 1, 2, 2]))
    ) == pytest.approx(8.1)
    assert largest_usual_distance(distances_among(vectors[:1], np.array([0]))) == float("inf")


def test_few_images_like_the_labels_lie_beyond_and_most_unlike_them_do() -> None:
    generator = np.random.default_rng(1)
    beyond = []
    for _ in range(30):
        labels, pool = generator.normal(size=(100, 8)), generator.normal(size=(400, 8))
        limit = largest_usual_distance(distances_among(labels, np.arange(100)))
        nearest = np.linalg.norm(pool[:, None] - labels[None], axis=2).min(axis=1)
        beyond.append((nearest > limit).mean())
        away = np.linalg.norm(pool[:, None] + 6 - labels[None], axis=2).min(axis=1)
        assert (away > limit).mean() > 0.95
    assert np.mean(beyond) < 0.02


@given(st.lists(st.tuples(st.sampled_from(list(RoundAction)), st.floats(0.0, 2.0)), max_size=60))
def test_promotions_beyond_the_limit_are_held_back_and_nothing_else_is_touched(
    images: list[tuple[RoundAction, float]],
) -> None:
    before = np.array([action for action, _ in images], dtype=np.int8)
    distances, actions = np.array([distance for _, distance in images]), before.copy()
    held_back = hold_back(actions, GateInputs(distances=distances, limit=1.0))
    promoted = np.isin(before, (RoundAction.PROMOTE_POSITIVE, RoundAction.PROMOTE_NEGATIVE))
    beyond = promoted & (distances > 1.0)
    assert held_back.distance == beyond.sum()
    assert (actions[beyond] == RoundAction.KEEP).all()
    assert (actions[~beyond] == before[~beyond]).all()
    hold_back(before, GateInputs(distances=None, limit=0.0))
    assert (before[beyond] != RoundAction.KEEP).all()
