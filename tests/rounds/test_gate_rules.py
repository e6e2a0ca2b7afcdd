"""Gates hold back what they should and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.rounds.gate_rules import allowance, beyond_pace, farthest_usual
from curator.rounds.promotion import RoundAction


def test_the_most_remote_label_says_what_is_usual() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(60, 5)).astype(np.float32)
    distance = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert farthest_usual(vectors, np.arange(60)) == pytest.approx(distance.min(axis=1).max())


def test_copies_of_a_label_do_not_make_it_less_remote() -> None:
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [9.1, 0.0]])
    assert farthest_usual(vectors, np.arange(4)) == pytest.approx(1.0)
    assert farthest_usual(vectors, np.array([0, 1, 2, 2])) == pytest.approx(8.1)
    assert farthest_usual(vectors[:1], np.array([0])) == float("inf")


def test_few_images_like_the_labels_lie_beyond_and_most_unlike_them_do() -> None:
    generator = np.random.default_rng(1)
    beyond = []
    for _ in range(30):
        labels, pool = generator.normal(size=(100, 8)), generator.normal(size=(400, 8))
        limit = farthest_usual(labels, np.arange(100))
        nearest = np.linalg.norm(pool[:, None] - labels[None], axis=2).min(axis=1)
        beyond.append((nearest > limit).mean())
        away = np.linalg.norm(pool[:, None] + 6 - labels[None], axis=2).min(axis=1)
        assert (away > limit).mean() > 0.95
    assert np.mean(beyond) < 0.02


@given(
    st.lists(st.sampled_from(list(RoundAction)), max_size=60),
    st.integers(0, 20), st.integers(0, 20), st.integers(0, 5),
)  # fmt: skip
def test_pace_keeps_the_surest_of_each_class_and_touches_nothing_else(
    acts: list[RoundAction], most_positive: int, most_negative: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    actions = np.array(acts, dtype=np.int8)
    probability, ranks = generator.random(len(acts)), generator.random(len(acts))
    held = beyond_pace(actions, probability, ranks, (most_positive, most_negative))
    for action, most, sign in (
        (RoundAction.PROMOTE_POSITIVE, most_positive, 1),
        (RoundAction.PROMOTE_NEGATIVE, most_negative, -1),
    ):
        of_class = actions == action
        assert (of_class & ~held).sum() == min(most, of_class.sum())
        if (of_class & held).any() and (of_class & ~held).any():
            sure = sign * probability
            assert sure[of_class & held].max() <= sure[of_class & ~held].min()
    assert not held[(actions == RoundAction.KEEP) | (actions == RoundAction.REVOKE)].any()


def test_what_a_class_may_gain_follows_what_it_has() -> None:
    assert allowance((10, 300), 2.5) == (25, 750)
