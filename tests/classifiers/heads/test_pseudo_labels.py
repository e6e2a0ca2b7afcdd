"""What a head may teach itself: never its own fold, never more than its limit."""

from __future__ import annotations

import numpy as np
import pytest

from curator.classifiers.heads.pseudo_labels import (
    PseudoSampler,
    human_weights,
    pseudo_labels,
    pseudo_weight_per_image,
    within_cuts,
)
from curator.settings.sections import PromotionSettings
from curator.statistics.folds import fold_of, sampling_rank, share_rank

THRESHOLDS = PromotionSettings(promote_above=0.99, promote_below=0.03)


def test_a_head_claims_only_what_it_is_sure_of_outside_its_fold() -> None:
    margins = np.array([[9.0, 9.0], [-9.0, -9.0], [0.0, 9.0], [9.0, 9.0]])
    folds = np.array([0, 1, 0, 1])
    teachable = np.array([True, True, True, False])
    codes = pseudo_labels(margins, folds, teachable, THRESHOLDS)
    assert codes.tolist() == [[0, 1], [-1, 0], [0, 1], [0, 0]]


def test_the_sample_is_the_same_in_chunks_and_in_one_piece() -> None:
    generator = np.random.default_rng(3)
    codes = generator.integers(-1, 2, (1_000, 3)).astype(np.int8)
    ranks = sampling_rank(np.arange(1_000), seed=7)
    whole, pieces = PseudoSampler(3, 50), PseudoSampler(3, 50)
    rows = np.arange(1_000) * 3
    whole.offer(codes, ranks, rows)
    for start in range(0, 1_000, 128):
        piece = slice(start, start + 128)
        pieces.offer(codes[piece], ranks[piece], rows[piece])
    assert pieces.cuts() == pytest.approx(whole.cuts())
    chosen = within_cuts(codes, ranks, whole.cuts())
    assert ((chosen == 1).sum(axis=0) == 50).all()
    assert ((chosen == -1).sum(axis=0) == 50).all()
    assert (whole.counts() == 50).all()
    for code in (1, -1):
        sampled, member = pieces.sample(code)
        assert (sampled == rows[(chosen == code).any(axis=1)]).all()
        assert (member == (chosen == code)[(chosen == code).any(axis=1)]).all()


def test_a_head_without_claims_takes_nothing() -> None:
    sampler = PseudoSampler(2, 5)
    codes = np.zeros((10, 2), dtype=np.int8)
    sampler.offer(codes, np.linspace(0, 0.9, 10), np.arange(10))
    assert not within_cuts(codes, np.linspace(0, 0.9, 10), sampler.cuts()).any()
    assert not sampler.counts().any()
    assert [len(part) for part in sampler.sample(1)] == [0, 0]


def test_human_weights_leave_out_the_own_fold_and_balance_the_classes() -> None:
    positive = np.array([True] * 3 + [False] * 17)
    folds = np.arange(20) % 4
    weights = human_weights(positive, folds, 4, balanced=True)
    for head in range(4):
        assert (weights[folds == head, head] == 0).all()
        inside = folds != head
        assert weights[inside & positive, head].sum() == pytest.approx(inside.sum() / 2)
        assert weights[inside & ~positive, head].sum() == pytest.approx(inside.sum() / 2)
    plain = human_weights(positive, folds, 4, balanced=False)
    assert set(np.unique(plain)) == {0.0, 1.0}


def test_pseudo_labels_never_outweigh_their_share_or_a_human_label() -> None:
    counts = np.array([[1, 1_000], [0, 10]])
    weight = pseudo_weight_per_image(np.array([100.0, 100.0]), counts, share=0.5, balanced=True)
    assert (weight <= 1.0).all()
    assert weight[0, 1] * 1_000 == pytest.approx(25.0)
    plain = pseudo_weight_per_image(np.array([100.0, 100.0]), counts, share=0.5, balanced=False)
    assert (plain * counts).sum(axis=0)[1] == pytest.approx(50.0)


def test_folds_are_even_stable_and_follow_the_seed() -> None:
    keys = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 50_000)
    folds = fold_of(keys, 5, seed=0)
    assert np.bincount(folds, minlength=5) == pytest.approx(10_000, rel=0.05)
    assert (fold_of(keys[:100], 5, seed=0) == folds[:100]).all()
    assert (fold_of(keys, 5, seed=1) != folds).mean() == pytest.approx(0.8, abs=0.02)


def test_the_three_kinds_of_chance_do_not_know_each_other() -> None:
    keys = np.arange(100_000)
    folds = fold_of(keys, 5, seed=0)
    ranks, shares = sampling_rank(keys, seed=0), share_rank(keys, seed=0)
    assert np.corrcoef([folds, ranks, shares]) == pytest.approx(np.eye(3), abs=0.02)
    assert ranks.min() >= 0
    assert ranks.max() < 1
