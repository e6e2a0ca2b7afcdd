"""Rounds rehearsed on one pool with one draw of labels after another.

What does not depend on labels is computed once: the scale of the features. Everything else
is what a real round does, by the same functions, on labels that are drawn, said and
forgotten. Nothing here knows a workspace, so nothing can be written to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import positions_in
from curator.classifiers.heads.features import PoolFeatures
from curator.classifiers.heads.frozen import FrozenHeads, Teacher
from curator.classifiers.heads.graph import nearest_distances
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.classifiers.protocol import PoolSlice, RowSource, TrainingInputs, TrainingLabels
from curator.rounds.gates import LABEL_LIMIT, GateInputs, largest_usual_distance
from curator.simulation.policies import KnownScores, draw_labels
from curator.statistics.folds import fold_of, in_proportion_to_error, sampling_rank

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

_SLICE = 16_384


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownPool:
    """Images with features whose labels are known; all arrays (images,).

    `rows` are feature rows, `unit_keys` say which images belong together, and `truth` is
    True where an image is positive.
    """

    rows: Ints
    unit_keys: Ints
    truth: Flags

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureSpace:
    """Images in few directions: rising feature `rows` (n,) and their `vectors` (n, d)."""

    rows: Ints
    vectors: NDArray[np.floating]


class SimulationRun:
    """Plays rounds on a pool, with `neighbours` where scores are smoothed.

    With a `space`, gates learn how far images lie from what is labelled; beyond `distance`
    times the farthest usual they hold back. Raises LearnError if features are constant.
    """

    def __init__(
        self,
        pool: KnownPool,
        features: RowSource,
        heads: FrozenHeads,
        neighbours: Neighbourhood | None = None,
        space: FeatureSpace | None = None,
        distance: float = 0.0,
    ) -> None:
        self.pool = pool
        self._heads, self._neighbours, self._distance = heads, neighbours, distance
        self._vectors = None
        if space is not None and distance > 0:
            self._vectors = space.vectors[positions_in(space.rows, pool.rows)]
        runs = [pool.rows[start : start + _SLICE] for start in range(0, len(pool), _SLICE)]
        self._features = PoolFeatures(features, runs)

    def can_teach(self, places: Ints, said: Flags, *, seed: int) -> bool:
        """Whether every head would see both classes of these labels."""
        folds = fold_of(self.pool.unit_keys[places], self._heads.folds, seed)
        return all(len(np.unique(folds[side])) > 1 for side in (said, ~said))

    def draw(
        self, count: int, flipped: float, *, informative: bool, seed: int
    ) -> tuple[Ints, Flags]:
        """A sample of `count` images, rising, and what a person says of them.

        The share `flipped` is labelled wrongly. With `informative` only the first half is
        drawn at random, and the others in proportion to their expected error after a round
        on that half, if it can teach; else at random, too.
        """
        generator = np.random.default_rng([seed, 1])
        if not informative:
            return draw_labels(self.pool.truth, count, flipped, generator)
        places, said = draw_labels(self.pool.truth, count // 2, flipped, generator)
        rest = np.setdiff1d(np.arange(len(self.pool)), places)
        probability = np.full(len(rest), 0.5)
        if self.can_teach(places, said, seed=seed):
            (scores,) = self.rounds(places, said, rounds=1, seed=seed)
            probability = scores.probability
        more = in_proportion_to_error(rest, probability, seed)[: count - len(places)]
        answers = self.pool.truth[more]
        wrong = generator.choice(len(more), round(flipped * len(more)), replace=False)
        answers[wrong] = ~answers[wrong]
        both = np.concatenate([places, more])
        order = np.argsort(both)
        return both[order], np.concatenate([said, answers])[order]

    def rounds(self, places: Ints, said: Flags, *, rounds: int, seed: int) -> list[KnownScores]:
        """The scores of each of these rounds after a person has labelled `places`.

        `said` (labels,) is what the person said, which need not be the truth. Raises
        LearnError if a head would see one class only.
        """
        found: list[KnownScores] = []
        teacher: Teacher | None = None
        labelled = np.zeros(len(self.pool), dtype=np.bool_)
        labelled[places] = True
        inputs = TrainingInputs(
            images=self._features,
            fingerprint="",
            labels=self._labels(places, said, seed),
            slices=list(self._slices(labelled, seed)),
            neighbours=self._neighbours,
        )
        for _ in range(rounds):
            trained = self._heads.fit(inputs, teacher)
            parts = [trained.score(part) for part in inputs.slices]
            calibrated = np.concatenate([part[0] for part in parts])
            raw = np.concatenate([part[1] for part in parts])
            found.append(
                KnownScores(
                    probability=calibrated[~labelled],
                    raw=raw[~labelled],
                    truth=self.pool.truth[~labelled],
                    judged_probability=calibrated[places],
                    judged_raw=raw[places],
                    judged_positive=said,
                    sights=self._sights(places, labelled, seed),
                    slips=trained.weights.wrong_share,
                )
            )
            teacher = trained.as_previous()
        return found

    def _sights(self, places: Ints, labelled: Flags, seed: int) -> GateInputs:
        if self._vectors is None:
            return GateInputs(distances=None, limit=float("inf"))
        compared = places[np.argsort(sampling_rank(places, seed))[:LABEL_LIMIT]]
        vectors = self._vectors[compared].astype(np.float32)
        usual = largest_usual_distance(vectors, self.pool.unit_keys[compared])
        return GateInputs(
            distances=nearest_distances(self._vectors[~labelled], vectors),
            limit=self._distance * usual,
        )

    def _slices(self, labelled: Flags, seed: int) -> Iterator[PoolSlice]:
        for start in range(0, len(self.pool), _SLICE):
            part = slice(start, start + _SLICE)
            yield PoolSlice(
                rows=self.pool.rows[part],
                folds=fold_of(self.pool.unit_keys[part], self._heads.folds, seed),
                ranks=sampling_rank(self.pool.unit_keys[part], seed),
                teachable=~labelled[part],
                taught=labelled[part],
            )

    def _labels(self, places: Ints, said: Flags, seed: int) -> TrainingLabels:
        everything = np.ones(len(places), dtype=np.bool_)
        return TrainingLabels(
            rows=self.pool.rows[places],
            units=self.pool.unit_keys[places],
            folds=fold_of(self.pool.unit_keys[places], self._heads.folds, seed),
            positive=said,
            trains=everything,
            calibrates=everything,
            representative=everything,
            sampled=~everything,
            set_aside=~everything,
        )
