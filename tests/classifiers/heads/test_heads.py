"""The heads against scikit-learn's logistic regression, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from curator.classifiers.heads.model import FrozenClassifier, load_classifier, standardize
from curator.classifiers.heads.solver import fit_heads
from curator.errors import LearnError
from curator.statistics.calibration import CalibrationMap


def draw(rows: int, features: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, features)).astype(np.float32)
    truth = generator.normal(size=features) / np.sqrt(features)
    positive = x @ truth + 0.4 + generator.normal(0, 0.7, rows) > 0
    return x, positive


@pytest.mark.slow
@pytest.mark.parametrize("regularization", [0.01, 1.0])
@pytest.mark.parametrize("rows", [60, 900])
def test_every_head_is_the_logistic_regression_of_its_own_weights(
    rows: int, regularization: float
) -> None:
    x, positive = draw(rows, 40)
    weights = np.random.default_rng(1).uniform(0, 2, (rows, 5)).astype(np.float32)
    for head in range(5):
        weights[head::5, head] = 0
    heads = fit_heads(
        x, positive, weights, regularization=regularization, tolerance=1e-6, max_iterations=2_000
    )
    for head in range(5):
        reference = LogisticRegression(C=regularization, tol=1e-8, max_iter=10_000)
        reference.fit(x, positive, sample_weight=weights[:, head])
        assert heads.margins(x)[:, head] == pytest.approx(reference.decision_function(x), abs=5e-3)


def test_heads_do_not_know_each_other() -> None:
    x, positive = draw(200, 30)
    weights = np.ones((200, 3), dtype=np.float32)
    weights[:100, 1] = 0
    together = fit_heads(x, positive, weights, regularization=0.1, tolerance=1e-6)
    alone = fit_heads(x, positive, weights[:, 1:2], regularization=0.1, tolerance=1e-6)
    assert together.weights[:, 1] == pytest.approx(alone.weights[:, 0], abs=1e-4)


def test_the_same_call_gives_the_same_bits() -> None:
    x, positive = draw(500, 64)
    weights = np.ones((500, 5), dtype=np.float32)
    first = fit_heads(x, positive, weights, regularization=0.01)
    second = fit_heads(x, positive, weights, regularization=0.01)
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()


@pytest.mark.slow
def test_a_start_elsewhere_ends_at_the_same_place() -> None:
    x, positive = draw(500, 30)
    weights = np.ones((500, 4), dtype=np.float32)
    cold = fit_heads(x, positive, weights, regularization=0.1, tolerance=1e-6)
    other = fit_heads(x, ~positive, weights, regularization=1.0)
    warm = fit_heads(x, positive, weights, regularization=0.1, tolerance=1e-6, start=other)
    assert warm.weights == pytest.approx(cold.weights, abs=1e-3)


def test_a_head_with_one_class_only_is_refused() -> None:
    x, positive = draw(20, 5)
    weights = np.ones((20, 2), dtype=np.float32)
    weights[positive, 1] = 0
    with pytest.raises(LearnError, match="without any positive example"):
        fit_heads(x, positive, weights, regularization=1.0)


def test_features_that_are_not_numbers_are_refused() -> None:
    x, positive = draw(20, 5)
    x[3, 2] = np.nan
    with pytest.raises(LearnError, match="not finite"):
        fit_heads(x, positive, np.ones((20, 2), dtype=np.float32), regularization=1.0)


def test_constant_features_are_refused_and_single_ones_are_left_out() -> None:
    x = np.ones((50, 3), dtype=np.float64)
    with pytest.raises(LearnError, match="are the same"):
        standardize(50, x.sum(axis=0), np.square(x).sum(axis=0))
    x[:, 1] = np.arange(50)
    standard = standardize(50, x.sum(axis=0), np.square(x).sum(axis=0)).apply(x)
    assert (standard[:, [0, 2]] == 0).all()
    assert standard[:, 1].std() == pytest.approx(1.0)


def test_a_classifier_survives_its_file_and_a_changed_file_does_not(tmp_path: Path) -> None:
    x, positive = draw(100, 8)
    standard = standardize(100, x.sum(axis=0, dtype=float), np.square(x).sum(axis=0, dtype=float))
    heads = fit_heads(
        standard.apply(x), positive, np.ones((100, 3), dtype=np.float32), regularization=1.0
    )
    classifier = FrozenClassifier(
        standardizer=standard,
        heads=heads,
        calibration=CalibrationMap(np.zeros(3), np.zeros(3)),
        alone=CalibrationMap(np.full(3, 0.5), np.full(3, -1.0)),
        settings={"folds": 3},
    )
    assert classifier.to_bytes() == classifier.to_bytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(classifier.to_bytes())
    import hashlib

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    again = load_classifier(path, digest)
    assert again.settings == {"folds": 3}
    assert again.alone.intercept.tolist() == [-1.0, -1.0, -1.0]
    assert again.on_raw_features().margins(x) == pytest.approx(
        heads.margins(standard.apply(x)), abs=1e-4
    )
    path.write_bytes(classifier.to_bytes()[:-1] + b"x")
    with pytest.raises(LearnError, match="not the one"):
        load_classifier(path, digest)
    path.unlink()
    with pytest.raises(LearnError, match="cannot be read"):
        load_classifier(path, digest)
