"""The heads against scikit-learn's logistic regression, and what they refuse."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression

from curator.classifiers.heads.frozen import score_unseen
from curator.classifiers.heads.model import FrozenClassifier, load_classifier, standardize
from curator.classifiers.heads.solver import fit_heads
from curator.errors import LearnError
from curator.statistics.calibration import CalibrationMap, sigmoid


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
    with pytest.raises(LearnError, match="are identical"):
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
        calibration=CalibrationMap(0.25, 0.5, -0.75, 0.125),
        alone=CalibrationMap(0.5, -1.0, widening=0.01),
        settings={"folds": 3},
    )
    assert classifier.to_bytes() == classifier.to_bytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(classifier.to_bytes())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    again = load_classifier(path, digest)
    assert again.settings == {"folds": 3}
    assert again.calibration == classifier.calibration
    assert again.alone == classifier.alone
    assert again.on_raw_features().margins(x) == pytest.approx(
        heads.margins(standard.apply(x)), abs=1e-4
    )
    path.write_bytes(classifier.to_bytes()[:-1] + b"x")
    with pytest.raises(LearnError, match="was changed after"):
        load_classifier(path, digest)
    path.unlink()
    with pytest.raises(LearnError, match="cannot be read"):
        load_classifier(path, digest)


@pytest.mark.parametrize("with_neighbours", [True, False])
def test_a_model_of_an_earlier_version_is_read(tmp_path: Path, with_neighbours: bool) -> None:
    """It had a map for each head, and later another set of maps for images outside the pool."""
    generator = np.random.default_rng(0)
    tensors = {
        "mean": generator.normal(size=8).astype(np.float32),
        "inverse_scale": np.ones(8, dtype=np.float32),
        # Heads of one round are much alike.
        "weights": generator.normal(size=(8, 1)) + generator.normal(0, 0.1, size=(8, 5)),
        "bias": np.zeros(5, dtype=np.float32),
        "log_slope": np.full(5, -0.5 if with_neighbours else 0.2),
        "intercept": np.linspace(-0.2, 0.2, 5) + (1.0 if with_neighbours else -0.3),
    }
    if with_neighbours:
        tensors["alone_log_slope"] = np.full(5, 0.2)
        tensors["alone_intercept"] = np.linspace(-0.2, 0.2, 5) - 0.3
    tensors["weights"] = tensors["weights"].astype(np.float32)
    settings = {"folds": 5, "neighbour_share": 0.6 if with_neighbours else 0.0}
    kind = "curator-heads-2" if with_neighbours else "curator-heads-1"
    described = json.dumps({"format": kind, "settings": settings}, sort_keys=True)
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(tensors, metadata={"curator": described}))
    again = load_classifier(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert again.head_count == 5
    features = generator.normal(size=(50, 8)).astype(np.float32)
    margins = (features - tensors["mean"]) @ tensors["weights"]
    maps = sigmoid(np.exp(0.2) * margins + np.linspace(-0.2, 0.2, 5) - 0.3)
    assert score_unseen(again, features)[0] == pytest.approx(maps.mean(axis=1), abs=0.02)
