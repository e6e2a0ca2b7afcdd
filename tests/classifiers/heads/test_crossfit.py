"""On real photographs: what a round says of its error is the error, round after round.

Upper-body garments against the rest of Fashion-MNIST, with real features and 200 labels.
The second test builds the same loop the obvious way, and sees it flatter itself: that is
the fault from which the first one must be free.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.frozen import FrozenHeads, TrainedHeads
from curator.classifiers.heads.graph import NeighbourIndex, find_projection
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.classifiers.heads.pseudo_labels import human_weights
from curator.classifiers.heads.solver import fit_heads
from curator.classifiers.protocol import PoolSlice, TrainingInputs, TrainingLabels
from curator.settings.sections import ClassifierSettings, PromotionSettings, Settings
from curator.statistics.bounds import clopper_pearson_interval
from curator.statistics.calibration import sigmoid
from curator.statistics.folds import fold_of, sampling_rank
from curator.statistics.metrics import error_estimate
from tests.classifiers.conftest import GARMENTS as IMAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LABELS, ROUNDS, FOLDS, DRAWS = 200, 8, 20, 5


class Kept:
    """Features in memory, as a reader."""

    def __init__(self, features: NDArray[np.float16]) -> None:
        self.features = features

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        return self.features[rows]


class Loop:
    """Rounds on the garments with one draw of labels."""

    def __init__(
        self,
        features: NDArray[np.float16],
        positive: NDArray[np.bool_],
        draw: int,
        around: Neighbourhood | None = None,
    ) -> None:
        self.reader, self.positive, self.around = Kept(features), positive, around
        generator = np.random.default_rng(draw)
        self.labelled = np.sort(generator.permutation(IMAGES)[:LABELS])
        self.is_labelled = np.isin(np.arange(IMAGES), self.labelled)
        self.folds = fold_of(np.arange(IMAGES), FOLDS, seed=draw)
        self.heads = FrozenHeads(
            Settings(
                classifier=ClassifierSettings(folds=FOLDS, pseudo_limit=5_000),
                promotion=PromotionSettings(promote_above=0.99, promote_below=0.03),
            )
        )
        everything = np.ones(LABELS, dtype=np.bool_)
        self.labels = TrainingLabels(
            rows=self.labelled, units=self.labelled, folds=self.folds[self.labelled],
            positive=positive[self.labelled], confirmed=~everything, trains=everything,
            calibrates=everything, representative=everything, sampled=~everything,
            set_aside=~everything,
        )  # fmt: skip
        rows = np.arange(IMAGES)
        self.pool = PoolSlice(
            rows=rows, folds=self.folds, ranks=sampling_rank(rows, draw),
            teachable=~self.is_labelled, taught=self.is_labelled,
        )  # fmt: skip

    def rounds(self) -> list[tuple[TrainedHeads, NDArray[np.float64]]]:
        """Each round's training and P(positive) of every image."""
        done, teacher = [], None
        inputs = TrainingInputs(
            images=self.reader,
            fingerprint="garments",
            labels=self.labels,
            slices=[self.pool],
            image_count=IMAGES,
            neighbours=self.around,
        )
        for _ in range(ROUNDS):
            trained = self.heads.fit(inputs, teacher)
            done.append((trained, trained.score(self.pool)[0]))
            teacher = trained.as_previous()
        return done


def nearest(features: NDArray[np.float16]) -> Neighbourhood:
    """The graph that a round finds."""
    rows = np.arange(len(features))
    vectors = find_projection(Kept(features), rows).apply(features)
    graph = NeighbourIndex(vectors).nearest_of_own(vectors, 0, 15)
    return Neighbourhood(rows=rows, graph=graph, digest="garments")


def test_the_estimated_error_follows_the_true_error_through_eight_rounds(
    garments: tuple[NDArray[np.float16], NDArray[np.bool_]],
) -> None:
    """Over five draws of labels, in every round: neither flattered nor slandered."""
    features, positive = garments
    around = nearest(features)
    wrong, sample = np.zeros(ROUNDS, dtype=int), np.zeros(ROUNDS, dtype=int)
    true_errors = np.zeros((ROUNDS, DRAWS))
    for draw in range(DRAWS):
        loop = Loop(features, positive, draw, around)
        unlabelled = ~loop.is_labelled
        for number, (trained, probability) in enumerate(loop.rounds()):
            # As if each image were a label: by the head of its fold.
            as_labels = dataclasses.replace(loop.pool, taught=~unlabelled | unlabelled)
            own = trained.score(as_labels)[0]
            true_errors[number, draw] = ((own > 0.5) != positive)[unlabelled].mean()
            wrong[number] += trained.summary.estimate.errors
            sample[number] += trained.summary.estimate.sample
            sure = unlabelled & ((probability > 0.99) | (probability < 0.03))
            assert ((probability > 0.5) != positive)[sure].mean() < 0.02
        assert trained.summary.pseudo_positive + trained.summary.pseudo_negative > 500
    for number in range(ROUNDS):
        low, high = clopper_pearson_interval(int(wrong[number]), int(sample[number]), 0.99)
        assert low <= true_errors[number].mean() <= high, number
    drift = wrong[-1] / sample[-1] - wrong[0] / sample[0]
    assert drift == pytest.approx(true_errors[-1].mean() - true_errors[0].mean(), abs=0.01)


def test_the_same_loop_without_chains_flatters_itself(
    garments: tuple[NDArray[np.float16], NDArray[np.bool_]],
) -> None:
    """Pseudo-labels agreed on by all heads leak: the estimate leaves the true error behind."""
    features, positive = garments
    loop = Loop(features, positive, 0)
    x = (features.astype(np.float32) - features.mean(axis=0, dtype=np.float32)) / (
        features.std(axis=0, dtype=np.float32) + 1e-6
    )
    pseudo, targets = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
    for _ in range(ROUNDS):
        human = human_weights(loop.labels.positive, loop.labels.folds, FOLDS, balanced=True)
        heads = fit_heads(
            np.concatenate([x[loop.labelled], x[pseudo]]),
            np.concatenate([loop.labels.positive, targets]),
            np.concatenate([human, np.ones((len(pseudo), FOLDS), dtype=np.float32)]),
            regularization=0.01,
        )
        own = heads.margins(x[loop.labelled])[np.arange(LABELS), loop.labels.folds]
        estimate = error_estimate((own > 0) != loop.labels.positive)
        agreed = sigmoid(heads.margins(x)).mean(axis=1)
        pseudo = np.flatnonzero(~loop.is_labelled & (np.abs(agreed - 0.5) > 0.3))
        targets = agreed[pseudo] > 0.5
    true_error = ((agreed > 0.5) != positive)[~loop.is_labelled].mean()
    assert estimate.rate is not None
    assert estimate.rate < true_error - 0.01
