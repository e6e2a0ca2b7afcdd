"""One round of the frozen kind on arrays: chunks change nothing, and memory does not grow."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.core.folds import fold_of, sampling_rank
from curator.core.pseudo import PseudoRule
from curator.learn.frozen import Plan, PoolSlice, Scorer, TrainingLabels, survey, train

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
        warm_start=False, device="cpu",
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
        trained = train(labels(), Drawn(), surveyed, teacher, plan(), {})
        scorer = Scorer(trained, surveyed, teacher, plan())
        scores = [scorer.score(part, Drawn())[0] for part in slices(count, size)]
        teacher = trained.classifier
    assert trained.pseudo_positive > 100
    return np.concatenate(scores)


@pytest.mark.slow
def test_the_size_of_the_chunks_changes_nothing_but_roundings() -> None:
    assert two_rounds(3_000, 3_000) == pytest.approx(two_rounds(3_000, 257), abs=1e-4)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pool() -> None:
    peaks = []
    for count in (20_000, 100_000):
        tracemalloc.start()
        surveyed = survey(slices(count, 4_096), Drawn(), None, plan())
        trained = train(labels(), Drawn(), surveyed, None, plan(), {})
        again = survey(slices(count, 4_096), Drawn(), trained.classifier, plan())
        scorer = Scorer(trained, again, trained.classifier, plan())
        for part in slices(count, 4_096):
            scorer.score(part, Drawn())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_head_is_blind_to_its_fold_and_to_what_it_taught_itself() -> None:
    part = next(slices(2_000, 2_000))
    first = survey([part], Drawn(), None, plan())
    teacher = train(labels(), Drawn(), first, None, plan(), {}).classifier
    surveyed = survey([part], Drawn(), teacher, plan(limit=50))
    trained = train(labels(), Drawn(), surveyed, teacher, plan(limit=50), {})
    scorer = Scorer(trained, surveyed, teacher, plan(limit=50))
    blind = scorer._blind(part, Drawn())
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
    trained = train(labels(), Drawn(), surveyed, None, plan(), {})
    scorer = Scorer(trained, surveyed, None, plan())
    whole = scorer.score(part, Drawn())[0]
    for index in (0, 150, 999):
        alone = PoolSlice(
            rows=part.rows[[index]], folds=part.folds[[index]], ranks=part.ranks[[index]],
            teachable=part.teachable[[index]], taught=part.taught[[index]],
        )  # fmt: skip
        assert scorer.score(alone, Drawn())[0][0] == pytest.approx(whole[index], abs=1e-6)
