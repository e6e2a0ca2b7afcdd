"""Neighbours in a round: they help, and no label reaches the head that is judged on it."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from curator.classifiers.heads.frozen import FrozenHeads, TrainedHeads, score_unseen
from curator.classifiers.heads.graph import NeighbourIndex
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.classifiers.protocol import PoolSlice, TrainingInputs, TrainingLabels
from curator.settings.sections import ClassifierSettings, PromotionSettings, Settings
from curator.statistics.folds import fold_of, sampling_rank

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
        rows=rows, units=rows, folds=fold_of(rows, folds, 0),
        positive=HELD.positive[:LABELS] if positive is None else positive,
        confirmed=~everything, trains=everything, calibrates=everything,
        representative=everything, sampled=~everything,
        set_aside=~everything,
    )  # fmt: skip


def heads(folds: int = FOLDS, pseudo_weight: float | Literal["auto"] = 0.5) -> FrozenHeads:
    return FrozenHeads(
        Settings(
            classifier=ClassifierSettings(
                folds=folds, regularization=0.5, doubt=False, pseudo_weight=pseudo_weight,
                pseudo_limit=500,
            ),
            promotion=PromotionSettings(promote_above=0.9, promote_below=0.1),
        )
    )  # fmt: skip


def inputs(part: PoolSlice, taught: TrainingLabels, around: Neighbourhood | None) -> TrainingInputs:
    return TrainingInputs(
        images=HELD,
        fingerprint="held",
        labels=taught,
        slices=[part],
        image_count=len(part.rows),
        neighbours=around,
    )


def pool(count: int = IMAGES) -> PoolSlice:
    rows = np.arange(count)
    return PoolSlice(
        rows=rows, folds=FOLD[:count], ranks=sampling_rank(rows, 0),
        teachable=rows >= LABELS, taught=rows < LABELS,
    )  # fmt: skip


def chain(
    taught: TrainingLabels, around: Neighbourhood | None, rounds: int = 3, folds: int = FOLDS
) -> TrainedHeads:
    teacher, part = None, dataclasses.replace(pool(), folds=fold_of(np.arange(IMAGES), folds, 0))
    for _ in range(rounds):
        trained = heads(folds).fit(inputs(part, taught, around), teacher)
        teacher = trained.as_previous()
    return trained


def test_no_label_reaches_what_judges_it_not_even_through_graph_and_calibration() -> None:
    """Turn over all labels of one fold: head and map that judge it stay as they were."""
    around, before = neighbourhood(), labels()
    first, later = chain(before, around, rounds=1), chain(before, around)
    for fold in range(FOLDS):
        turned = labels(np.where(before.folds == fold, ~before.positive, before.positive))
        # Without pseudo-labels, to the last bit.
        second = chain(turned, around, rounds=1)
        assert (second.margins.own[:, fold] == first.margins.own[:, fold]).all()
        assert second.margins.neighbours is not None
        assert first.margins.neighbours is not None
        assert (second.margins.neighbours[:, fold] == first.margins.neighbours[:, fold]).all()
        assert second.label_maps[fold] == first.label_maps[fold]
        assert all(
            second.label_maps[other] != first.label_maps[other]
            for other in range(FOLDS)
            if other != fold
        )
        # Pseudo-labels of the other heads are other rows, whose sums are rounded in another order.
        last = chain(turned, around)
        change = in_full(last) - in_full(later)
        assert np.abs(change[:, fold]).max() < 1e-3
        assert np.abs(np.delete(change, fold, axis=1)).max() > 0.1
        assert last.label_maps[fold].as_array() == pytest.approx(
            later.label_maps[fold].as_array(), abs=1e-3
        )


def in_full(trained: TrainedHeads) -> NDArray[np.float32]:
    """Margins of all images, which a round keeps in 16 bits."""
    return trained.classifier.on_raw_features().margins(HELD.features)


def test_labels_at_random_are_judged_at_random() -> None:
    """Whatever taught what: out-of-fold scores of permuted labels have an area of a half."""
    around, areas = neighbourhood(), []
    for draw in range(40):
        said = np.random.default_rng(draw).permutation(HELD.positive[:LABELS])
        scores = chain(labels(said, 20), around, rounds=2, folds=20).score(
            dataclasses.replace(pool(), folds=fold_of(np.arange(IMAGES), 20, 0))
        )[0][:LABELS]
        areas.append(roc_auc_score(said, scores))
    assert np.mean(areas) == pytest.approx(0.5, abs=2 * np.std(areas, ddof=1) / np.sqrt(40))


def test_neighbours_that_know_more_count_and_rank_better() -> None:
    alone = chain(labels(), None, rounds=1).score(pool())[0]
    trained = chain(labels(), neighbourhood(), rounds=1)
    together = trained.score(pool())[0]
    wrong = [((p > 0.5) != HELD.positive)[LABELS:].mean() for p in (alone, together)]
    assert wrong[1] < 0.7 * wrong[0]
    assert trained.classifier.settings["graph"] == "graph"


def test_neighbours_drawn_at_random_leave_the_ranking_as_it_was() -> None:
    generator = np.random.default_rng(5)
    graph = generator.integers(0, IMAGES, (IMAGES, 15)).astype(np.int32)
    around = Neighbourhood(rows=np.arange(IMAGES), graph=graph, digest="random")
    blended = chain(labels(), around, rounds=1).score(pool())[1]
    alone = chain(labels(), None, rounds=1).score(pool())[1]
    assert np.corrcoef(blended.argsort().argsort(), alone.argsort().argsort())[0, 1] > 0.99


def test_images_outside_the_pool_are_scored_by_themselves() -> None:
    trained = chain(labels(), neighbourhood(), rounds=1)
    calibrated, raw = score_unseen(trained.classifier, HELD.features[LABELS:])
    alone = chain(labels(), None, rounds=1).score(pool())
    # A round keeps margins in 16 bits.
    assert calibrated == pytest.approx(alone[0][LABELS:], abs=5e-4)
    assert raw == pytest.approx(alone[1][LABELS:], abs=5e-4)
    assert np.abs(trained.score(pool())[0][LABELS:] - calibrated).max() > 0.1


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_any_number_of_folds_can_hear_neighbours(folds: int) -> None:
    trained = chain(labels(folds=folds), neighbourhood(), rounds=1, folds=folds)
    part = dataclasses.replace(pool(), folds=fold_of(np.arange(IMAGES), folds, 0))
    assert np.isfinite(trained.score(part)[0]).all()


def test_neighbours_of_another_pool_are_refused() -> None:
    with pytest.raises(ValueError, match="another pool"):
        chain(labels(), neighbourhood(1_000), rounds=1)


def test_what_pseudo_labels_weigh_in_a_head_does_not_depend_on_its_fold() -> None:
    earned = heads(pseudo_weight="auto")
    part, before = pool(), labels()

    def shares(said: TrainingLabels) -> NDArray[np.float64]:
        """Of a second round whose teachers, too, were trained on these labels."""
        teacher = earned.fit(inputs(part, said, neighbourhood()), None).as_previous()
        trained = earned.fit(inputs(part, said, neighbourhood()), teacher)
        return earned.pseudo_shares(trained.weights, teacher)

    first = shares(before)
    assert (first > 0).all()
    for fold in range(FOLDS):
        turned = np.where(before.folds == fold, ~before.positive, before.positive)
        second = shares(labels(turned))
        assert second[fold] == first[fold]
        assert (np.delete(second, fold) < np.delete(first, fold)).all()
