"""Rounds on one pool whose labels are known, for one draw of labels after another.

A simulated round calls the functions of a real one, on arrays in memory. Nothing here knows
a workspace, so nothing can be written to one. The scale of the features does not depend on
labels and is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import BoolArray, IntArray
from curator.classifiers.heads.features import PoolFeatures
from curator.classifiers.heads.frozen import FrozenHeads, Teacher
from curator.classifiers.heads.graph import nearest_distances
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.classifiers.protocol import PoolSlice, RowSource, TrainingInputs, TrainingLabels
from curator.rounds.gates import LABEL_LIMIT, distances_among, largest_usual_distance
from curator.rounds.promotion import GateInputs
from curator.simulation.policies import KnownScores, draw_labels
from curator.statistics.folds import fold_of, in_proportion_to_error, sampling_rank

_SLICE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownPool:
    """Images with features whose labels are known; all arrays (images,).

    `rows` are feature rows, `unit_keys` say which images belong together, and `truth` is
    True for a positive image.
    """

    rows: IntArray
    unit_keys: IntArray
    truth: BoolArray

    def __len__(self) -> int:
        return len(self.rows)


class SimulationRun:
    """Simulates rounds on a pool, with smoothed scores if there are `neighbours`.

    `vectors` (images, d) are the images in few directions; with them, gates hold back images
    farther from everything labelled than `distance` times the largest usual distance. Raises
    LearnError if features are constant.
    """

    def __init__(
        self,
        pool: KnownPool,
        features: RowSource,
        heads: FrozenHeads,
        neighbours: Neighbourhood | None = None,
        vectors: NDArray[np.floating] | None = None,
        distance: float = 0.0,
    ) -> None:
        self.pool = pool
        self._heads, self._neighbours, self._distance = heads, neighbours, distance
        self._vectors = vectors if distance > 0 else None
        runs = [pool.rows[start : start + _SLICE] for start in range(0, len(pool), _SLICE)]
        self._features = PoolFeatures(features, runs)

    def can_teach(self, positions: IntArray, answers: BoolArray, *, seed: int) -> bool:
        """Whether the labels of every head have both classes."""
        folds = fold_of(self.pool.unit_keys[positions], self._heads.folds, seed)
        return all(len(np.unique(folds[side])) > 1 for side in (answers, ~answers))

    def draw(
        self, count: int, flipped: float, *, informative: bool, seed: int
    ) -> tuple[IntArray, BoolArray]:
        """Positions of a sample of `count` images, ascending, and a person's answers.

        The share `flipped` of the answers is wrong. With `informative` only the first half is
        a random sample. The second is drawn in proportion to the expected error after a round
        on the first, or at random if the first cannot train a classifier.
        """
        generator = np.random.default_rng([seed, 1])
        if not informative:
            return draw_labels(self.pool.truth, count, flipped, generator)
        first, first_answers = draw_labels(self.pool.truth, count // 2, flipped, generator)
        rest = np.setdiff1d(np.arange(len(self.pool)), first)
        probability = np.full(len(rest), 0.5)
        if self.can_teach(first, first_answers, seed=seed):
            (scores,) = self.rounds(first, first_answers, rounds=1, seed=seed)
            probability = scores.probability
        second = in_proportion_to_error(rest, probability, seed)[: count - len(first)]
        second_answers = self.pool.truth[second]
        wrong = generator.choice(len(second), round(flipped * len(second)), replace=False)
        second_answers[wrong] = ~second_answers[wrong]
        positions = np.concatenate([first, second])
        order = np.argsort(positions)
        return positions[order], np.concatenate([first_answers, second_answers])[order]

    def rounds(
        self,
        positions: IntArray,
        answers: BoolArray,
        *,
        rounds: int,
        seed: int,
        sampled: BoolArray | None = None,
        reviewed: BoolArray | None = None,
        pages: BoolArray | None = None,
    ) -> list[KnownScores]:
        """The scores of each of these rounds, trained on a person's answers at `positions`.

        `answers` (labels,) need not be the truth. `sampled` labels are a random sample of the
        pool, `reviewed` ones were selected by scores, the others are seeds; those of `pages` were
        given to a page of images at once, and calibrate nothing. Raises LearnError if the labels of
        a head have one class only.
        """
        scores: list[KnownScores] = []
        teacher: Teacher | None = None
        labelled = np.zeros(len(self.pool), dtype=np.bool_)
        labelled[positions] = True
        every_label = np.ones(len(positions), dtype=np.bool_)
        drawn = ~every_label if sampled is None else sampled
        by_scores = ~every_label if reviewed is None else reviewed
        inputs = TrainingInputs(
            images=self._features,
            fingerprint="",  # no model file is written
            labels=TrainingLabels(
                rows=self.pool.rows[positions],
                units=self.pool.unit_keys[positions],
                folds=fold_of(self.pool.unit_keys[positions], self._heads.folds, seed),
                positive=answers,
                confirmed=~every_label,
                trains=every_label,
                calibrates=every_label if pages is None else ~pages,
                representative=~(drawn | by_scores),
                sampled=drawn,
                set_aside=~every_label,
            ),
            slices=list(self._slices(labelled, seed)),
            image_count=len(self.pool),
            neighbours=self._neighbours,
        )
        for _ in range(rounds):
            trained = self._heads.fit(inputs, teacher)
            parts = [trained.score(part) for part in inputs.slices]
            calibrated = np.concatenate([part[0] for part in parts])
            raw = np.concatenate([part[1] for part in parts])
            scores.append(
                KnownScores(
                    probability=calibrated[~labelled],
                    raw=raw[~labelled],
                    truth=self.pool.truth[~labelled],
                    label_probability=calibrated[positions],
                    label_raw=raw[positions],
                    label_positive=answers,
                    gate_inputs=self._gate_inputs(positions, labelled, seed),
                    label_noise=trained.weights.noise.wrong_share,
                )
            )
            teacher = trained.as_previous()
        return scores

    def _gate_inputs(self, positions: IntArray, labelled: BoolArray, seed: int) -> GateInputs:
        if self._vectors is None:
            return GateInputs(distances=None, limit=float("inf"))
        compared = positions[np.argsort(sampling_rank(positions, seed))[:LABEL_LIMIT]]
        vectors = self._vectors[compared].astype(np.float32)
        among = distances_among(vectors, self.pool.unit_keys[compared])
        return GateInputs(
            distances=nearest_distances(self._vectors[~labelled], vectors),
            limit=self._distance * largest_usual_distance(among),
        )

    def _slices(self, labelled: BoolArray, seed: int) -> Iterator[PoolSlice]:
        for start in range(0, len(self.pool), _SLICE):
            part = slice(start, start + _SLICE)
            yield PoolSlice(
                rows=self.pool.rows[part],
                folds=fold_of(self.pool.unit_keys[part], self._heads.folds, seed),
                ranks=sampling_rank(self.pool.unit_keys[part], seed),
                teachable=~labelled[part],
                taught=labelled[part],
            )
