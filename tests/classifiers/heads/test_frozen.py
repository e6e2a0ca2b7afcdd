"""One round of the frozen kind on arrays: chunks change nothing, and memory stays small."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.classifiers.heads.frozen import (
    Plan,
    PoolSlice,
    Scorer,
    TrainingLabels,
    _training_set,
    pseudo_shares,
    recall,
    survey,
    train,
)
from curator.classifiers.heads.label_weights import TeachingLabels, weigh_labels
from curator.classifiers.heads.pseudo_labels import PseudoRule
from curator.statistics.folds import fold_of, sampling_rank

FEATURES, FOLDS, LABELS = 64, 5, 100


class Drawn:
    """Features made when they are asked for, so that only a reader's appetite takes memory."""

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        positive = rows % 2 == 0
        waves = np.sin(rows[:, None] * (np.arange(FEATURES) + 1.0) * 0.7)
        waves[:, :8] += np.where(positive, 1.0, -1.0)[:, None]
        return waves.astype(np.float16)


def plan(limit: int = 500) -> Plan:
    return Plan(
        heads=FOLDS, regularization=0.1, balanced=True,
        pseudo=PseudoRule(above=0.9, below=0.1, limit=limit), pseudo_share=0.5,
        device="cpu",
    )  # fmt: skip


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
        rows=rows, folds=fold_of(rows, FOLDS, 0), positive=rows % 2 == 0, trains=everything,
        calibrates=everything, representative=everything, sampled=~everything,
    )  # fmt: skip


def two_rounds(count: int, size: int) -> NDArray[np.float64]:
    teacher, scores = None, []
    for _ in range(2):
        surveyed = survey(slices(count, size), Drawn(), teacher, plan())
        trained = train(labels(), Drawn(), surveyed, plan(), {})
        scorer = Scorer(trained, surveyed, plan())
        scores = [scorer.score(part)[0] for part in slices(count, size)]
        teacher = trained.as_teacher()
    assert trained.pseudo_positive > 100
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
        surveyed = survey(slices(count, 4_096), Drawn(), None, plan())
        trained = train(labels(), Drawn(), surveyed, plan(), {})
        again = survey(slices(count, 4_096), Drawn(), trained.as_teacher(), plan())
        scorer = Scorer(train(labels(), Drawn(), again, plan(), {}), again, plan())
        for part in slices(count, 4_096):
            scorer.score(part)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 80_000 < 80 < FEATURES * 2


def test_a_round_reads_the_features_once() -> None:
    class Counted(Drawn):
        read = 0

        def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
            self.read += len(rows)
            return super().gather(rows)

    features, part = Counted(), next(slices(2_000, 2_000))
    surveyed = survey([part], features, None, plan())
    trained = train(labels(), features, surveyed, plan(), {})
    features.read = 0
    again = survey([part], features, trained.as_teacher(), plan(), surveyed.standardizer)
    second = train(labels(), features, again, plan(), {})
    Scorer(second, again, plan()).score(part)
    chosen = sum(len(again.sampler.sample(code)[0]) for code in (1, -1))
    assert features.read == 2_000 + chosen + 2 * LABELS


def test_teachers_that_are_recalled_say_the_same_to_the_bit() -> None:
    part = next(slices(2_000, 2_000))
    trained = train(labels(), Drawn(), survey([part], Drawn(), None, plan()), plan(), {})
    again = recall(trained.classifier, Drawn(), part.rows, None, "cpu")
    assert (again.margins.values == trained.margins.values).all()
    with pytest.raises(ValueError, match="1 images came after the pool was read"):
        again.margins.at(np.array([5, 2_000]))


@pytest.mark.parametrize(("noise", "most"), [(0.0, 15.0), (0.2, 2.0)])
def test_pseudo_labels_weigh_what_they_earn(noise: float, most: float) -> None:
    """Where the last heads were wrong about labels that they never met, they teach less."""
    part = next(slices(2_000, 2_000))
    first = survey([part], Drawn(), None, plan())
    teacher = train(labels(), Drawn(), first, plan(), {}).as_teacher()
    surveyed = survey([part], Drawn(), teacher, plan())
    said = labels()
    lies = np.random.default_rng(0).random(LABELS) < noise
    said = replace(said, positive=said.positive ^ lies)
    free = replace(plan(), pseudo_share=None)
    shares = pseudo_shares(said, teacher, free)
    assert shares.max() <= most
    assert shares.min() >= 0.4 * most
    assert (pseudo_shares(said, teacher, plan()) == 0.5).all()
    everything = weigh_labels(
        TeachingLabels(features=np.zeros((LABELS, 1), dtype=np.float32), positive=said.positive,
              folds=said.folds),
        FOLDS, strength=0.1, doubt=False, balanced=True,
    )  # fmt: skip
    _, _, weights = _training_set(said, everything, Drawn(), surveyed, free)
    human, pseudo = weights[:LABELS].sum(axis=0), weights[LABELS:]
    counts = surveyed.sampler.counts().sum(axis=0)
    assert pseudo.sum(axis=0) == pytest.approx(np.minimum(shares * human, counts), rel=0.02)


def test_what_a_head_may_teach_itself_does_not_depend_on_its_own_fold() -> None:
    part = next(slices(2_000, 2_000))
    first = survey([part], Drawn(), None, plan())
    teacher = train(labels(), Drawn(), first, plan(), {}).as_teacher()
    free, said = replace(plan(), pseudo_share=None), labels()
    before = pseudo_shares(said, teacher, free)
    for fold in range(FOLDS):
        lies = replace(said, positive=said.positive ^ (said.folds == fold))
        after = pseudo_shares(lies, teacher, free)
        assert after[fold] == before[fold]
        assert (np.delete(after, fold) < np.delete(before, fold)).all()


def test_a_head_is_blind_to_its_fold_and_to_what_it_taught_itself() -> None:
    part = next(slices(2_000, 2_000))
    first = survey([part], Drawn(), None, plan())
    teacher = train(labels(), Drawn(), first, plan(), {}).as_teacher()
    surveyed = survey([part], Drawn(), teacher, plan(limit=50))
    trained = train(labels(), Drawn(), surveyed, plan(limit=50), {})
    scorer = Scorer(trained, surveyed, plan(limit=50))
    blind = scorer._blind(part)
    own = part.folds[:, None] == np.arange(FOLDS)
    assert blind[own].all()
    assert (blind[:LABELS] == own[:LABELS]).all()
    for code in (1, -1):
        rows, member = surveyed.sampler.sample(code)
        assert not member[own[rows]].any()
        assert not blind[rows][member].any()
    assert (~blind[LABELS:]).sum() == surveyed.sampler.counts().sum()


def test_constant_margins_of_unlabelled_images_do_not_reach_other_rows() -> None:
    """Each image's score depends on its own features alone."""
    part = next(slices(1_000, 1_000))
    surveyed = survey([part], Drawn(), None, plan())
    trained = train(labels(), Drawn(), surveyed, plan(), {})
    scorer = Scorer(trained, surveyed, plan())
    whole = scorer.score(part)[0]
    for index in (0, 150, 999):
        alone = PoolSlice(
            rows=part.rows[[index]], folds=part.folds[[index]], ranks=part.ranks[[index]],
            teachable=part.teachable[[index]], taught=part.taught[[index]],
        )  # fmt: skip
        assert scorer.score(alone)[0][0] == pytest.approx(whole[index], abs=1e-6)


def test_labels_that_are_the_same_are_read_once_and_others_anew() -> None:
    chosen = replace(plan(), regularization=None, doubt=True)
    part = next(slices(2_000, 2_000))
    first = train(labels(), Drawn(), survey([part], Drawn(), None, chosen), chosen, {})
    again = survey([part], Drawn(), first.as_teacher(), chosen)
    assert train(labels(), Drawn(), again, chosen, {}).reading is first.reading
    turned = replace(labels(), positive=labels().positive ^ (np.arange(LABELS) < 5))
    other = train(turned, Drawn(), again, chosen, {})
    assert other.reading is not first.reading
    forgotten = replace(first.as_teacher(), read=None)
    anew = train(labels(), Drawn(), survey([part], Drawn(), forgotten, chosen), chosen, {})
    assert (anew.reading.trust == first.reading.trust).all()
    assert (anew.reading.strength == first.reading.strength).all()


def test_heads_go_on_from_those_of_the_last_round() -> None:
    """Taught the same again, they have nothing left to learn and stay what they are."""
    alone = replace(plan(), pseudo=None)
    part = next(slices(2_000, 2_000))
    first = train(labels(), Drawn(), survey([part], Drawn(), None, alone), alone, {})
    again = survey([part], Drawn(), first.as_teacher(), alone)
    second = train(labels(), Drawn(), again, alone, {})
    assert (second.classifier.heads.weights == first.classifier.heads.weights).all()
    moved = replace(
        first.classifier,
        heads=replace(first.classifier.heads, bias=first.classifier.heads.bias + 9),
    )
    elsewhere = replace(again, teacher=replace(first.as_teacher(), classifier=moved))
    third = train(labels(), Drawn(), elsewhere, alone, {})
    assert (third.classifier.heads.weights != first.classifier.heads.weights).any()
    assert third.margins.values == pytest.approx(first.margins.values, abs=0.05)
