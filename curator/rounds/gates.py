"""The gates of a round, built from its settings, its labels and its pool.

What a gate compares is computed once for the whole pool: the distance of each image to the
nearest one that a person labelled, in the space in which neighbours are found, and what the
heads say of an image without its neighbours and these without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.vocabulary import CurrentLabel, code_of
from curator.catalogue import pool
from curator.catalogue.pool import HumanLabels
from curator.classifiers.heads.graph import nearest_distances
from curator.classifiers.heads.neighbour_smoothing import PoolMargins
from curator.classifiers.heads.neighbours import places_of
from curator.encoding.feature_set import FeatureSet
from curator.rounds.gate_rules import KNOWN_LIMIT, GateInputs, HeldBack, farthest_usual, hold_back
from curator.rounds.labels import held
from curator.rounds.neighbour_graph import PoolGraph
from curator.rounds.promotion import PoolLabel
from curator.rounds.score import ScoredChunk
from curator.settings.sections import GatesSettings
from curator.statistics.folds import sampling_rank
from curator.workspace import Workspace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_CLASSES = [code_of(CurrentLabel.POSITIVE), code_of(CurrentLabel.NEGATIVE)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelDistances:
    """How far every image of a pool lies from what people labelled.

    `far` is (images,); `usual` is how far the most remote labelled image lies from the others.
    Both follow from the pool's `digest`, and from the rows and units of the labelled images.
    """

    digest: str
    labelled_rows: Ints
    labelled_units: Ints
    far: Floats
    usual: float

    def is_that_of(self, digest: str, rows: Ints, units: Ints) -> bool:
        """Whether it was found from this pool and these labelled images, in this order."""
        return (
            self.digest == digest
            and np.array_equal(self.labelled_rows, rows)
            and np.array_equal(self.labelled_units, units)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolGates:
    """Gates for the images with these rising feature rows.

    `reach` is None where distances are not asked for. `labelled` counts the images of each
    class that people labelled.
    """

    settings: GatesSettings
    rows: Ints
    reach: LabelDistances | None
    margins: PoolMargins
    labelled: tuple[int, int]

    @property
    def usual_distance(self) -> float | None:
        """The farthest that labelled images lie from each other; None where nobody knows."""
        known = self.reach is not None and np.isfinite(self.reach.usual)
        return self.reach.usual if self.reach and known else None

    def distances(self, rows: Ints) -> Floats | None:
        """How far images with these feature rows lie from the nearest labelled one."""
        return None if self.reach is None else self.reach.far[places_of(self.rows, rows)]

    def hold_back(self, runs: Sequence[ScoredChunk]) -> HeldBack:
        """Turn promotions of these runs into no action, in place; returns how many."""
        if not runs:
            return HeldBack()
        rows = np.concatenate([run.part.rows for run in runs])
        actions = np.concatenate([run.actions for run in runs])
        sights = GateInputs(
            far=self.distances(rows),
            limit=self.settings.distance * self.reach.usual if self.reach else float("inf"),
            views=self.margins.views(rows),
            ranks=np.concatenate([run.part.ranks for run in runs]),
        )
        found = hold_back(
            actions,
            np.concatenate([run.deciding for run in runs]),
            sights,
            agreement=self.settings.agreement,
            pace=self.settings.pace,
            carrying=(
                self.labelled[0] + self._held_of(runs, PoolLabel.PROMOTED_POSITIVE),
                self.labelled[1] + self._held_of(runs, PoolLabel.PROMOTED_NEGATIVE),
            ),
        )
        start = 0
        for run in runs:
            run.actions[:] = actions[start : start + len(run.actions)]
            start += len(run.actions)
        return found

    @staticmethod
    def _held_of(runs: Sequence[ScoredChunk], code: PoolLabel) -> int:
        return sum(int((held(run.chunk) == code).sum()) for run in runs)


def gates_of(
    workspace: Workspace,
    features: FeatureSet,
    found: PoolGraph | None,
    margins: PoolMargins,
    known: LabelDistances | None = None,
) -> PoolGates:
    """The gates that the settings ask for; a tiny pool has no distances.

    `known` is what the last round found; it is taken if nothing that it follows from changed.
    """
    settings = workspace.settings.gates
    human = pool.human_labels(workspace.catalogue, features.feature_set_id)
    named = np.isin(human.standing, _CLASSES)
    positive = human.standing == _CLASSES[0]
    asked = found if settings.distance > 0 else None
    seed = workspace.settings.runtime.seed
    return PoolGates(
        settings=settings,
        rows=margins.rows,
        reach=None if asked is None else _reach_of(asked, human, named, seed, known),
        margins=margins,
        labelled=(int((named & positive).sum()), int((named & ~positive).sum())),
    )


def _reach_of(
    found: PoolGraph, human: HumanLabels, named: Flags, seed: int, known: LabelDistances | None
) -> LabelDistances:
    places = found.around.places(human.feature_rows)
    chosen = np.flatnonzero(named & (places >= 0))
    order = np.argsort(sampling_rank(human.image_ids[chosen], seed))
    chosen = chosen[order[:KNOWN_LIMIT]]
    rows, units = human.feature_rows[chosen], human.unit_keys[chosen]
    if known is not None and known.is_that_of(found.around.digest, rows, units):
        return known
    vectors = found.vectors[places[chosen]].astype(np.float32)
    return LabelDistances(
        digest=found.around.digest,
        labelled_rows=rows,
        labelled_units=units,
        far=nearest_distances(found.vectors, vectors),
        usual=farthest_usual(vectors, units),
    )
