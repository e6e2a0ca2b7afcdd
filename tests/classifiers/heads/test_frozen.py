"""One round of the frozen kind on arrays: chunks change nothing, and memory stays small."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.features import PoolFeatures
from curator.classifiers.heads.frozen import FrozenHeads, Teacher, TrainedHeads
from curator.classifiers.protocol import PoolSlice, RowSource, TrainingInputs, TrainingLabels
from curator.settings.sections import ClassifierSettings, PromotionSettings, Settings
from curator.statistics.folds import fold_of, sampling_rank

FEATURES, FOLDS, LABELS = 64, 5, 100


class Drawn:
    """Features made when they are asked for, so that only a reader's appetite takes memory."""

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        positive = rows % 2 == 0
        waves = np.sin(rows[:, None] * (np.arange(FEATURES) + 1.0) * 0.7)
        waves[:, :8] += np.where(positive, 1.0, -1.0)[:, None]
        return waves.astype(np.float16)


def heads(limit: int = 500, **changes: object) -> FrozenHeads:
    values = {
        "folds": FOLDS, "regularization": 0.1, "doubt": False, "pseudo_weight": 0.5,
        "pseudo_limit": limit,
    }  # fmt: skip
    return FrozenHeads(
        Settings(
            classifier=ClassifierSettings.model_validate(values | changes),
            promotion=PromotionSettings(promote_above=0.9, promote_below=0.1),
        )
    )


def slices(count: int, size: int) -> Iterator[PoolSlice]:
    for start in range(0, count, size):
        rows = np.arange(start, min(start + size, count))
        labelled = rows < LABELS
        yield PoolSlice(
            rows=rows, folds=fold_of(rows, FOLDS, 0), ranks=sampling_rank(rows, 0),
            teachable=~labelled, taught=labelled,
        )  # fmt: skip


def labels() -> TrainingLabels:
    rows, everything = np.arange(LABELS), np.ones(LABELS, dtype=np.bool_)
    return TrainingLabels(
        rows=rows, units=rows, folds=fold_of(rows, FOLDS, 0), positive=rows % 2 == 0,
        confirmed=~everything, trains=everything, calibrates=everything,
        representative=everything,
        sampled=~everything, set_aside=~everything,
    )  # fmt: skip


class Slices:
    """Slices of a pool that are made when they are asked for."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __iter__(self) -> Iterator[PoolSlice]:
        return slices(self.count, self.size)


def inputs(
    parts: Iterable[PoolSlice],
    said: TrainingLabels | None = None,
    features: RowSource | None = None,
) -> TrainingInputs:
    return TrainingInputs(
        images=features or Drawn(),
        fingerprint="drawn",
        labels=said or labels(),
        slices=parts,
        image_count=0,
    )


def first_round(part: PoolSlice) -> TrainedHeads:
    return heads().fit(inputs([part]), None)


def two_rounds(count: int, size: int) -> NDArray[np.float64]:
    teacher, scores, parts = None, [], list(slices(count, size))
    for _ in range(2):
        trained = heads().fit(inputs(parts), teacher)
        scores = [trained.score(part)[0] for part in parts]
        teacher = trained.as_previous()
    assert trained.summary.pseudo_positive > 100
    return np.concatenate(scores)


@pytest.mark.slow
def test_the_size_of_the_chunks_changes_nothing_but_roundings() -> None:
    assert two_rounds(3_000, 3_000) == pytest.approx(two_rounds(3_000, 257), abs=1e-4)


@pytest.mark.slow
def test_memory_grows_by_margins_alone() -> None:
    """Rows and the margins of two rounds: far below the features, which are only streamed."""
    peaks = []
    for count in (20_000, 100_000):
        tracemalloc.start()
        parts = Slices(count, 4_096)
        trained = heads().fit(inputs(parts), None)
        trained = heads().fit(inputs(parts), trained.as_previous())
        for part in parts:
            trained.score(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 80_000 < 80 < FEATURES * 2


def test_a_round_reads_the_features_once() -> None:
    class Counted(Drawn):
        read = 0

        def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
            self.read += len(rows)
            return super().gather(rows)

    counted, part = Counted(), next(slices(2_000, 2_000))
    features = PoolFeatures(counted, [part.rows])
    trained = heads().fit(inputs([part], features=features), None)
    counted.read = 0
    second = heads().fit(inputs([part], features=features), trained.as_previous())
    second.score(part)
    chosen = sum(len(second.sampler.sample(code)[0]) for code in (1, -1))
    # The labels are weighed once, and their margins are looked up.
    assert counted.read == 2_000 + chosen + LABELS


def test_teachers_that_are_recalled_say_the_same_to_the_bit() -> None:
    part = next(slices(2_000, 2_000))
    trained = first_round(part)
    teacher = Teacher(classifier=trained.classifier)
    again = heads().fit(inputs([part]), teacher).teacher
    assert again is not None
    assert again.margins is not None
    assert (again.margins.own == trained.margins.own).all()
    with pytest.raises(ValueError, match="1 images came after the pool was read"):
        again.margins.at(np.array([5, 2_000]))


@pytest.mark.parametrize(("noise", "most"), [(0.0, 15.0), (0.2, 2.0)])
def test_pseudo_labels_weigh_what_they_earn(noise: float, most: float) -> None:
    """Where the last heads were wrong about labels that they never met, they teach less."""
    part = next(slices(2_000, 2_000))
    teacher = first_round(part).as_previous()
    sampler = heads().fit(inputs([part]), teacher).sampler
    said = labels()
    lies = np.random.default_rng(0).random(LABELS) < noise
    said = replace(said, positive=said.positive ^ lies)
    free = heads(pseudo_weight="auto")
    weighed = free.fit(inputs([part], said), None).weights
    shares = free.pseudo_shares(weighed, teacher)
    assert shares.max() <= most
    assert shares.min() >= 0.4 * most
    assert (heads().pseudo_shares(weighed, teacher) == 0.5).all()
    features = PoolFeatures(Drawn(), [part.rows])
    _, _, weights = free.training_set(said, weighed, features, features.scale(), sampler, teacher)
    human, pseudo = weights[:LABELS].sum(axis=0), weights[LABELS:]
    counts = sampler.counts().sum(axis=0)
    assert pseudo.sum(axis=0) == pytest.approx(np.minimum(shares * human, counts), rel=0.02)


def test_what_a_head_may_teach_itself_does_not_depend_on_its_own_fold() -> None:
    part = next(slices(2_000, 2_000))
    teacher = first_round(part).as_previous()
    free, said = heads(pseudo_weight="auto"), labels()
    before = free.pseudo_shares(free.fit(inputs([part], said), None).weights, teacher)
    for fold in range(FOLDS):
        lies = replace(said, positive=said.positive ^ (said.folds == fold))
        weighed = free.fit(inputs([part], lies), None).weights
        after = free.pseudo_shares(weighed, teacher)
        assert after[fold] == before[fold]
        assert (np.delete(after, fold) < np.delete(before, fold)).all()


def test_a_head_is_blind_to_its_fold_and_to_what_it_taught_itself() -> None:
    part = next(slices(2_000, 2_000))
    trained = heads(limit=50).fit(inputs([part]), first_round(part).as_previous())
    blind = trained.untaught(part)
    own = part.folds[:, None] == np.arange(FOLDS)
    assert blind[own].all()
    assert (blind[:LABELS] == own[:LABELS]).all()
    for code in (1, -1):
        rows, member = trained.sampler.sample(code)
        assert not member[own[rows]].any()
        assert not blind[rows][member].any()
    assert (~blind[LABELS:]).sum() == trained.sampler.counts().sum()


def test_constant_margins_of_unlabelled_images_do_not_reach_other_rows() -> None:
    """Each image's score depends on its own features alone."""
    part = next(slices(1_000, 1_000))
    trained = first_round(part)
    whole = trained.score(part)[0]
    for index in (0, 150, 999):
        alone = PoolSlice(
            rows=part.rows[[index]], folds=part.folds[[index]], ranks=part.ranks[[index]],
            teachable=part.teachable[[index]], taught=part.taught[[index]],
        )  # fmt: skip
        assert trained.score(alone)[0][0] == pytest.approx(whole[index], abs=1e-6)


def test_labels_that_are_the_same_are_read_once_and_others_anew() -> None:
    automatic = heads(doubt=True)
    part = next(slices(2_000, 2_000))
    first = automatic.fit(inputs([part]), None)
    teacher = first.as_previous()
    second = automatic.fit(inputs([part]), teacher)
    assert second.weights is first.weights
    turned = replace(labels(), positive=labels().positive ^ (np.arange(LABELS) < 5))
    assert automatic.fit(inputs([part], turned), teacher).weights is not first.weights
    anew = automatic.fit(inputs([part]), replace(teacher, weighed=None))
    assert (anew.weights.trust == first.weights.trust).all()
    assert anew.label_maps == second.label_maps


def test_heads_go_on_from_those_of_the_last_round() -> None:
    """Taught the same again, they have nothing left to learn and stay what they are."""
    alone = heads(pseudo_labels=False)
    part = next(slices(2_000, 2_000))
    first = alone.fit(inputs([part]), None)
    second = alone.fit(inputs([part]), first.as_previous())
    assert (second.classifier.heads.weights == first.classifier.heads.weights).all()
    moved = replace(
        first.classifier,
        heads=replace(first.classifier.heads, bias=first.classifier.heads.bias + 9),
    )
    third = alone.fit(inputs([part]), replace(first.as_previous(), classifier=moved))
    assert (third.classifier.heads.weights != first.classifier.heads.weights).any()
    assert third.margins.own == pytest.approx(first.margins.own, abs=0.05)
