"""What is said of scores is neither flattered nor louder than the labels allow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.rounds.score_quality import (
    Comparison,
    ScoreQuality,
    Trend,
    advice,
    as_stored,
    compare,
    cross_calibrated,
    from_stored,
    pool_share,
    score_quality,
    source_qualities,
)
from curator.statistics.calibration import sigmoid


def drawn(
    count: int, seed: int, slope: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Claims, folds and outcomes; the truth follows `slope` times the claimed log-odds."""
    generator = np.random.default_rng(seed)
    margins = 3 * generator.normal(size=count)
    positive = generator.random(count) < sigmoid(slope * margins)
    return sigmoid(margins), generator.integers(0, 5, count), positive


def test_cross_calibration_mends_claims_that_are_too_bold() -> None:
    raw, folds, positive = drawn(4_000, 0, slope=0.3)
    mended = score_quality(cross_calibrated(raw, folds, positive), positive, on_pool=True)
    claimed = score_quality(raw, positive, on_pool=True)
    assert mended.calibration_error < 0.03 < claimed.calibration_error
    assert mended.log_loss < claimed.log_loss
    assert mended.brier < claimed.brier
    assert all(one.low_share <= one.share_positive <= one.high_share for one in mended.reliability)


def test_a_label_has_no_part_in_its_own_probability() -> None:
    raw, folds, positive = drawn(200, 1)
    before = cross_calibrated(raw, folds, positive)
    turned = positive.copy()
    turned[folds == 2] ^= True
    after = cross_calibrated(raw, folds, turned)
    assert (before[folds == 2] == after[folds == 2]).all()
    assert (before[folds != 2] != after[folds != 2]).any()


def test_scores_without_meaning_are_not_called_good() -> None:
    """Over many draws, noise is never better than the base rate by more than chance."""
    losses = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        positive = generator.random(60) < 0.5
        raw, folds = generator.random(60), generator.integers(0, 5, 60)
        losses.append(
            score_quality(cross_calibrated(raw, folds, positive), positive, on_pool=False)
        )
    assert np.mean([one.log_loss for one in losses]) > np.log(2)


def test_equal_rounds_are_rarely_told_apart_and_a_better_one_is() -> None:
    verdicts = []
    for seed in range(60):
        raw, folds, positive = drawn(200, seed)
        generator = np.random.default_rng(seed + 1_000)
        margins = np.log(raw) - np.log1p(-raw)
        one = cross_calibrated(sigmoid(margins + generator.normal(size=200)), folds, positive)
        two = cross_calibrated(sigmoid(margins + generator.normal(size=200)), folds, positive)
        verdicts.append(compare(1, one, two, positive).verdict)
    assert sum(one is not Trend.NO_DIFFERENCE for one in verdicts) <= 8
    raw, folds, positive = drawn(400, 7)
    worse = cross_calibrated(
        np.clip(raw + np.random.default_rng(0).normal(size=400) * 0.3, 0.01, 0.99), folds, positive
    )
    better = cross_calibrated(raw, folds, positive)
    assert compare(1, better, worse, positive).verdict is Trend.BETTER
    assert compare(1, worse, better, positive).verdict is Trend.WORSE


def comparison(round_id: int, difference: float) -> Comparison:
    return Comparison(
        round_id=round_id, labels=100, before=0.4, difference=difference, standard_error=0.01
    )


def test_a_difference_that_is_sure_but_tiny_is_none() -> None:
    found = Comparison(
        round_id=12, labels=200, before=0.44, difference=0.0007, standard_error=0.0002
    )
    assert found.verdict is Trend.NO_DIFFERENCE


@pytest.mark.parametrize(
    ("last", "first", "says"),
    [
        (None, None, "known after the next one"),
        (comparison(3, -0.05), comparison(1, -0.08), "helped"),
        (comparison(3, 0.001), comparison(1, -0.08), "no gain"),
        (comparison(3, 0.05), comparison(1, 0.001), "rollback --to 3"),
        (comparison(3, 0.001), comparison(1, 0.06), "rollback --to 1"),
    ],
)
def test_advice_says_which_round_was_best(
    last: Comparison | None, first: Comparison | None, says: str
) -> None:
    found = ScoreQuality(
        labels=100, on_pool=True, log_loss=0.1, brier=0.02, calibration_error=0.01,
        reliability=(), positive_share=0.5, last=last, first=first,
    )  # fmt: skip
    assert says in advice(found)


def test_a_source_whose_scores_mean_something_else_is_found_and_others_are_not() -> None:
    raw, _, positive = drawn(600, 3)
    sources = np.repeat(np.array(["studio", "street", "few"]), [300, 290, 10])
    clean = source_qualities(raw, positive, sources)
    assert [one.source for one in clean] == ["street", "studio"]
    assert not any(one.differs for one in clean)
    spoilt = positive & ~((sources == "street") & (np.arange(600) % 3 == 0))
    found = source_qualities(raw, spoilt, sources)
    assert [one.source for one in found if one.differs] == ["street"]


def test_what_was_kept_is_read_back_and_other_forms_are_passed_over() -> None:
    raw, folds, positive = drawn(100, 5)
    found = score_quality(cross_calibrated(raw, folds, positive), positive, on_pool=True)
    kept = as_stored(found)
    assert kept is not None
    assert from_stored(kept) == found
    del kept["brier"]
    assert from_stored(kept) is None
    assert from_stored(None) is None


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
