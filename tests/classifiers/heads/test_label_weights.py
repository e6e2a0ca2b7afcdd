"""What is made of labels: doubt for the flipped, and nothing from the own fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.label_weights import (
    LabelWeights,
    TeachingLabels,
    _span,
    weigh_labels,
)
from curator.classifiers.heads.solver import LinearHeads, fit_heads
from curator.settings.sections import ClassifierSettings
from curator.statistics.folds import fold_of

FOLDS = 5


def drawn(
    rows: int, width: int, flipped: float, seed: int = 0
) -> tuple[TeachingLabels, NDArray[np.bool_]]:
    """Two clouds in many directions; the second value marks labels that were turned over."""
    generator = np.random.default_rng(seed)
    positive = generator.random(rows) < 0.5
    features = generator.normal(0, 1, (rows, width))
    features[:, :8] += np.where(positive, 0.9, -0.9)[:, None]
    wrong = generator.random(rows) < flipped
    folds = fold_of(np.arange(rows), FOLDS, 0)
    known = TeachingLabels(
        features=features.astype(np.float32), positive=positive ^ wrong, folds=folds,
        confirmed=np.zeros(rows, dtype=np.bool_), measures=np.ones(rows, dtype=np.bool_),
    )  # fmt: skip
    return known, wrong


def read(known: TeachingLabels, *, doubt: bool = True, folds: int = FOLDS) -> LabelWeights:
    return weigh_labels(known, ClassifierSettings(folds=folds, doubt=doubt))


def test_flipped_labels_are_doubted_and_right_ones_are_not() -> None:
    known, wrong = drawn(300, 100, 0.1)
    found = read(known)
    doubted = found.trust.mean(axis=1) < 0.5
    assert doubted[wrong].mean() > 0.6
    assert doubted[~wrong].mean() < 0.03
    assert found.noise.wrong_share == pytest.approx(0.1, abs=0.05)
    assert 0.6 * wrong.sum() < found.noise.doubted < 1.4 * wrong.sum()
    honest = read(drawn(300, 100, 0.0)[0])
    assert honest.noise.doubted <= 2
    assert honest.noise.wrong_share < 0.02


@pytest.mark.parametrize("folds", [2, 3, 5, 7, 20])
def test_what_judges_a_label_for_a_head_saw_neither_label_nor_fold(folds: int) -> None:
    known, _ = drawn(150, 200, 0.1)
    known = replace(known, folds=fold_of(np.arange(150), folds, 0))
    before = read(known, folds=folds)
    assert before.held_out is not None or folds == 2
    if before.held_out is None:
        return
    judges = before.held_out.judges
    judged = judges >= 0
    assert not judged[np.arange(150), known.folds].any()
    # Every other label has a judge.
    assert judged.sum() == 150 * folds - 150
    for fold in range(folds):
        own = known.folds == fold
        after = read(replace(known, positive=known.positive ^ own), folds=folds)
        assert after.held_out is not None
        used = judges[judged[:, fold], fold]
        heads = before.held_out.heads.weights, after.held_out.heads.weights
        assert (heads[0][:, used] == heads[1][:, used]).all()
        assert (after.trust[:, fold] == before.trust[:, fold]).all()
        assert after.errors[fold] == before.errors[fold]
    for label in range(0, 150, 30):
        alone = np.arange(150) == label
        after = read(replace(known, positive=known.positive ^ alone), folds=folds)
        assert after.held_out is not None
        used = judges[label, judged[label]]
        heads = before.held_out.heads.weights, after.held_out.heads.weights
        assert (heads[0][:, used] == heads[1][:, used]).all()


def test_an_unquestioning_mind_is_respected() -> None:
    known, _ = drawn(120, 50, 0.1)
    found = read(known, doubt=False)
    assert (found.trust == 1).all()
    assert found.noise.doubted == 0


def test_many_labels_are_doubted_like_few() -> None:
    known, wrong = drawn(1_200, 60, 0.1)
    found = read(known)
    assert found.trust.shape == (1_200, FOLDS)
    assert (found.trust.mean(axis=1) < 0.5)[wrong].mean() > 0.6


def test_heads_that_would_see_one_class_have_no_say() -> None:
    generator = np.random.default_rng(2)
    features = generator.normal(0, 1, (20, 5)).astype(np.float32)
    positive, folds = np.zeros(20, dtype=np.bool_), np.arange(20) % FOLDS
    positive[:2] = True
    nobody = np.zeros(20, dtype=np.bool_)
    known = TeachingLabels(
        features=features, positive=positive, folds=folds, confirmed=nobody, measures=~nobody
    )
    found = read(known)
    assert np.isfinite(found.trust).all()
    two = weigh_labels(
        TeachingLabels(
            features=features,
            positive=positive,
            folds=folds % 2,
            confirmed=nobody,
            measures=~nobody,
        ),
        ClassifierSettings(folds=2),
    )
    assert two.held_out is None
    assert (two.trust == 1).all()


def test_the_span_of_the_rows_gives_the_same_heads() -> None:
    known, _ = drawn(60, 400, 0.1)
    weights = np.ones((60, 1), dtype=np.float32)
    whole = fit_heads(known.features, known.positive, weights, regularization=0.1, tolerance=1e-6)
    small, back = _span(known.features)
    assert small.shape == (60, 60)
    fitted = fit_heads(small, known.positive, weights, regularization=0.1, tolerance=1e-6)
    assert fitted.margins(small) == pytest.approx(whole.margins(known.features), abs=1e-2)
    others = drawn(500, 400, 0.0, seed=1)[0].features
    on_features = LinearHeads(weights=back @ fitted.weights, bias=fitted.bias)
    assert on_features.margins(others) == pytest.approx(whole.margins(others), abs=1e-2)
