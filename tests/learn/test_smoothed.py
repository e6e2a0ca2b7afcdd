"""Neighbours in a round: they help, and no label reaches the head that is judged on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.core.folds import fold_of, sampling_rank
from curator.core.neighbours import Neighbourhood
from curator.core.pseudo import PseudoRule
from curator.learn.frozen import (
    Plan,
    PoolSlice,
    Scorer,
    Trained,
    TrainingLabels,
    score_unseen,
    survey,
    train,
)
from curator.learn.graph import NeighbourIndex

IMAGES, LABELS, FOLDS = 1_500, 90, 5


class Held:
    """Clusters in the plane, each of one class, seen by heads through a good deal of noise."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        cluster = generator.integers(0, 12, IMAGES)
        angle = (cluster + 0.5) * np.pi / 6
        self.positive = np.cos(angle) > 0
        self.plane = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        self.plane += 0.2 * generator.normal(size=(IMAGES, 2))
        noise = 1.5 * generator.normal(size=(IMAGES, 30))
        self.features = np.concatenate([self.plane, noise], axis=1).astype(np.float32)

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.features[rows]


HELD = Held()
FOLD = fold_of(np.arange(IMAGES), FOLDS, 0)


def neighbourhood(count: int = IMAGES) -> Neighbourhood:
    vectors = HELD.plane[:count].astype(np.float32)
    graph = NeighbourIndex(vectors).nearest_of_own(vectors, 0, 15)
    return Neighbourhood(rows=np.arange(count), graph=graph, digest="graph")


def labels(positive: NDArray[np.bool_] | None = None, folds: int = FOLDS) -> TrainingLabels:
    everything = np.ones(LABELS, dtype=np.bool_)
    rows = np.arange(LABELS)
    return TrainingLabels(
        rows=rows, folds=fold_of(rows, folds, 0),
        positive=HELD.positive[:LABELS] if positive is None else positive,
        trains=everything, calibrates=everything, representative=everything, sampled=~everything,
    )  # fmt: skip


def plan(folds: int = FOLDS) -> Plan:
    return Plan(
        heads=folds, regularization=0.5, balanced=True,
        pseudo=PseudoRule(above=0.9, below=0.1, limit=500), pseudo_share=0.5,
        warm_start=False, device="cpu",
    )  # fmt: skip


def pool(count: int = IMAGES) -> PoolSlice:
    rows = np.arange(count)
    return PoolSlice(
        rows=rows, folds=FOLD[:count], ranks=sampling_rank(rows, 0),
        teachable=rows >= LABELS, taught=rows < LABELS,
    )  # fmt: skip


def chain(
    taught: TrainingLabels, around: Neighbourhood | None, rounds: int = 3, folds: int = FOLDS
) -> tuple[Trained, Scorer]:
    teacher, part = None, dataclasses.replace(pool(), folds=fold_of(np.arange(IMAGES), folds, 0))
    for _ in range(rounds):
        surveyed = survey([part], HELD, teacher, plan(folds))
        trained = train(taught, HELD, surveyed, teacher, plan(folds), {}, around)
        scorer = Scorer(trained, surveyed, teacher, plan(folds))
        teacher = trained.classifier
    return trained, scorer


def test_no_label_reaches_the_head_of_its_fold_not_even_through_the_graph() -> None:
    """Turn over all labels of one fold: what its head says stays as it was."""
    around, before = neighbourhood(), labels()
    first = chain(before, around)[0]
    assert first.smoothed is not None
    for fold in range(FOLDS):
        turned = np.where(before.folds == fold, ~before.positive, before.positive)
        second = chain(labels(turned), around)[0]
        assert second.smoothed is not None
        assert second.classifier.shares[fold] == pytest.approx(
            first.classifier.shares[fold], abs=1e-5
        )
        same = second.smoothed.margins[:, fold] - first.smoothed.margins[:, fold]
        assert np.abs(same).max() < 1e-3
        others = np.delete(second.smoothed.margins - first.smoothed.margins, fold, axis=1)
        assert np.abs(others).max() > 0.1


def test_neighbours_that_know_are_heard_and_rank_better() -> None:
    alone = chain(labels(), None, rounds=1)[1].score(pool(), HELD)[0]
    trained, scorer = chain(labels(), neighbourhood(), rounds=1)
    together = scorer.score(pool(), HELD)[0]
    assert (trained.classifier.shares > 0.5).all()
    wrong = [((p > 0.5) != HELD.positive)[LABELS:].mean() for p in (alone, together)]
    assert wrong[1] < 0.7 * wrong[0]
    assert trained.classifier.settings["graph"] == "graph"


def test_neighbours_drawn_at_random_are_not_heard() -> None:
    generator = np.random.default_rng(5)
    graph = generator.integers(0, IMAGES, (IMAGES, 15)).astype(np.int32)
    around = Neighbourhood(rows=np.arange(IMAGES), graph=graph, digest="random")
    trained = chain(labels(), around, rounds=1)[0]
    assert trained.classifier.shares.max() < 0.5
    alone = chain(labels(), None, rounds=1)[0]
    assert abs(trained.estimate.errors - alone.estimate.errors) <= 4


def test_images_that_came_too_late_for_the_graph_are_scored_by_themselves() -> None:
    trained, scorer = chain(labels(), neighbourhood(1_000), rounds=1)
    calibrated, raw = scorer.score(pool(), HELD)
    alone, alone_raw = score_unseen(trained.classifier, HELD.features[1_000:])
    assert calibrated[1_000:] == pytest.approx(alone, abs=1e-5)
    assert raw[1_000:] == pytest.approx(alone_raw, abs=1e-5)
    inside = score_unseen(trained.classifier, HELD.features[LABELS:1_000])[0]
    assert np.abs(calibrated[LABELS:1_000] - inside).max() > 0.1


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_any_number_of_folds_can_hear_neighbours(folds: int) -> None:
    trained, scorer = chain(labels(folds=folds), neighbourhood(), rounds=1, folds=folds)
    assert trained.classifier.shares.shape == (folds,)
    part = dataclasses.replace(pool(), folds=fold_of(np.arange(IMAGES), folds, 0))
    assert np.isfinite(scorer.score(part, HELD)[0]).all()
    if folds == 2:
        assert (trained.classifier.shares == 0.5).all()
