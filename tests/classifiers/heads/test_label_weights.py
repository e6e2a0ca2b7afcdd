"""What is made of labels: C from the data, doubt for the flipped, nothing from the own fold."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.label_weights import (
    STRENGTHS,
    USUAL_STRENGTH,
    LabelWeights,
    TeachingLabels,
    _span,
    weigh_labels,
)
from curator.classifiers.heads.solver import fit_heads
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


def read(
    known: TeachingLabels, *, strength: float | None = None, doubt: bool = True
) -> LabelWeights:
    settings = ClassifierSettings(
        folds=FOLDS, regularization="auto" if strength is None else strength, doubt=doubt
    )
    return weigh_labels(known, settings)


def test_labels_that_lie_ask_for_a_stronger_penalty() -> None:
    clean, lying = read(drawn(200, 300, 0.0)[0]), read(drawn(200, 300, 0.2)[0])
    assert np.median(clean.strength) > np.median(lying.strength)
    assert set(clean.strength) | set(lying.strength) <= set(STRENGTHS)


def test_flipped_labels_are_doubted_and_right_ones_are_not() -> None:
    known, wrong = drawn(300, 100, 0.1)
    found = read(known)
    doubted = found.trust.mean(axis=1) < 0.5
    assert doubted[wrong].mean() > 0.6
    assert doubted[~wrong].mean() < 0.03
    assert found.wrong_share == pytest.approx(0.1, abs=0.05)
    assert 0.6 * wrong.sum() < found.doubted < 1.4 * wrong.sum()
    honest = read(drawn(300, 100, 0.0)[0])
    assert honest.doubted <= 2
    assert honest.wrong_share < 0.02


def test_what_is_decided_for_a_head_does_not_depend_on_its_fold() -> None:
    known, _ = drawn(150, 200, 0.1)
    before = read(known)
    for fold in range(FOLDS):
        own = known.folds == fold
        turned = TeachingLabels(
            features=known.features, positive=known.positive ^ own, folds=known.folds,
            confirmed=known.confirmed, measures=known.measures,
        )  # fmt: skip
        after = read(turned)
        assert after.strength[fold] == before.strength[fold]
        assert after.trust[:, fold] == pytest.approx(before.trust[:, fold], abs=0.02)
    assert after.trust != pytest.approx(before.trust, abs=0.02)


def test_an_own_value_and_an_unquestioning_mind_are_respected() -> None:
    known, _ = drawn(120, 50, 0.1)
    found = read(known, strength=0.7, doubt=False)
    assert (found.strength == 0.7).all()
    assert (found.trust == 1).all()
    assert found.doubted == 0
    assert (read(known, strength=0.7).strength == 0.7).all()


def test_more_labels_than_are_needed_choose_as_all_would() -> None:
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
    assert (two.strength == USUAL_STRENGTH).all()
    assert (two.trust == 1).all()


def test_the_span_of_the_rows_gives_the_same_heads() -> None:
    known, _ = drawn(60, 400, 0.1)
    weights = np.ones((60, 1), dtype=np.float32)
    whole = fit_heads(known.features, known.positive, weights, regularization=0.1, tolerance=1e-6)
    small = _span(known.features)
    assert small.shape == (60, 60)
    fitted = fit_heads(small, known.positive, weights, regularization=0.1, tolerance=1e-6)
    assert fitted.margins(small) == pytest.approx(whole.margins(known.features), abs=1e-2)
