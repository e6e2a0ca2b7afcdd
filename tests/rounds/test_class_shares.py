"""The share of the pool from scores that were calibrated on labels with other shares."""

from __future__ import annotations

import numpy as np
import pytest

from curator.rounds.class_shares import pool_share
from curator.statistics.calibration import sigmoid


@pytest.mark.parametrize(("labelled", "pool"), [(0.9, 0.3), (0.5, 0.05), (0.1, 0.6), (0.4, 0.4)])
def test_the_share_is_found_where_only_shares_differ(labelled: float, pool: float) -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(20_000) < pool
    evidence = np.where(positive, 2.0, -2.0) + 2 * generator.normal(size=20_000)
    scores = sigmoid(evidence + np.log(labelled / (1 - labelled)))
    assert pool_share(scores, labelled) == pytest.approx(pool, abs=0.02)
    if labelled != pool:
        assert abs(scores.mean() - pool) > 0.03


def test_scores_of_one_kind_stay_in_range() -> None:
    assert 0 < pool_share(np.zeros(10), 0.5) < 0.01
    assert 0.99 < pool_share(np.ones(10), 0.5) < 1
    assert pool_share(np.full(10, 0.5), 0.5) == pytest.approx(0.5)
