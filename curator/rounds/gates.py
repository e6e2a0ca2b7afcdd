"""What holds a promotion back: the distance of an image from everything that people labelled.

A probability above 0.99 says that an image lies on one side of what labels separated. It does
not say that anybody labelled an image of its kind. So an image stays unlabelled if it lies
farther from the nearest labelled image than the most remote labelled image lies from the
others, times the setting `gates.distance` (ADR 0014). A gate never promotes and never revokes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import CLASS_CODES, CodeArray, FloatArray, IntArray
from curator.catalogue import pool
from curator.catalogue.pool import HumanLabels
from curator.classifiers.heads.graph import nearest_distances
from curator.classifiers.heads.neighbours import places_of
from curator.encoding.feature_set import FeatureSet
from curator.rounds.neighbour_graph import PoolGraph
from curator.rounds.promotion import HeldBack, RoundAction
from curator.rounds.score import ScoredChunk
from curator.settings.sections import GatesSettings
from curator.statistics.folds import sampling_rank
from curator.workspace import Workspace

LABEL_LIMIT = 4_096
"""Most labelled images that others are compared with; a random sample beyond that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GateInputs:
    """Distance of each image to the nearest labelled one, (images,), None if not measured.

    Images beyond `limit` are not promoted.
    """

    distances: FloatArray | None
    limit: float


def hold_back(actions: CodeArray, inputs: GateInputs) -> HeldBack:
    """Turn promotions of images beyond the limit into no action, in place."""
    if inputs.distances is None:
        return HeldBack()
    promoted = np.isin(actions, (RoundAction.PROMOTE_POSITIVE, RoundAction.PROMOTE_NEGATIVE))
    beyond = promoted & (inputs.distances > inputs.limit)
    actions[beyond] = RoundAction.KEEP
    return HeldBack(distance=int(beyond.sum()))


def largest_usual_distance(vectors: NDArray[np.floating], unit_keys: IntArray) -> float:
    """Distance of the most remote labelled image from the nearest one of another unit.

    `vectors` is (labels, d), `unit_keys` (labels,). Infinite without two units, where distances
    say nothing. If labelled images were drawn like an unlabelled one, that one would lie farther
    out only once in labels + 1 times.
    """
    x = np.asarray(vectors, dtype=np.float64)
    squares = np.square(x).sum(axis=1)
    largest = -1.0
    for index, row in enumerate(x):
        # Near-duplicates share a unit: a copy of itself would make any label look usual.
        other_units = unit_keys != unit_keys[index]
        if other_units.any():
            distance = squares + squares[index] - 2 * (x @ row)
            largest = max(largest, float(distance[other_units].min()))
    return float(np.sqrt(max(largest, 0.0))) if largest >= 0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelDistances:
    """Distance of every image of a pool to the nearest image that a person labelled.

    `distances` is (images,), in the order of the pool's rows; `usual` is the largest distance
    among labelled images. Both follow from the pool's `digest`, and from the rows and units of
    the labelled images.
    """

    digest: str
    labelled_rows: IntArray
    labelled_units: IntArray
    distances: FloatArray
    usual: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolGates:
    """Gates for the images with these rising feature rows; `reach` is None without distances."""

    settings: GatesSettings
    rows: IntArray
    reach: LabelDistances | None

    @property
    def usual_distance(self) -> float | None:
        """The largest distance among labelled images; None where it is not known."""
        finite = self.reach is not None and np.isfinite(self.reach.usual)
        return self.reach.usual if self.reach and finite else None

    def distances(self, rows: IntArray) -> FloatArray | None:
        """Distance of images with these feature rows to the nearest labelled one."""
        return None if self.reach is None else self.reach.distances[places_of(self.rows, rows)]

    def hold_back(self, runs: Sequence[ScoredChunk]) -> HeldBack:
        """Turn promotions of these runs into no action, in place; returns how many."""
        limit = self.settings.distance * self.reach.usual if self.reach else float("inf")
        return HeldBack(
            distance=sum(
                hold_back(
                    run.actions,
                    GateInputs(distances=self.distances(run.part.rows), limit=limit),
                ).distance
                for run in runs
            )
        )


def gates_of(
    workspace: Workspace,
    features: FeatureSet,
    graph: PoolGraph | None,
    rows: IntArray,
    previous: LabelDistances | None = None,
) -> PoolGates:
    """The gates that the settings ask for; a tiny pool has no distances.

    `previous` is what the last round found; it is taken if nothing that it follows from changed.
    """
    settings = workspace.settings.gates
    reach = None
    if graph is not None and settings.distance > 0:
        human = pool.human_labels(workspace.catalogue, features.feature_set_id)
        reach = label_distances(graph, human, workspace.settings.runtime.seed, previous)
    return PoolGates(settings=settings, rows=rows, reach=reach)


def label_distances(
    graph: PoolGraph, human: HumanLabels, seed: int, previous: LabelDistances | None
) -> LabelDistances:
    """Distances of the pool from its labelled images, or `previous` if they are the same."""
    nodes = graph.around.places(human.feature_rows)
    labelled = np.flatnonzero(np.isin(human.standing, CLASS_CODES) & (nodes >= 0))
    labelled = labelled[np.argsort(sampling_rank(human.image_ids[labelled], seed))[:LABEL_LIMIT]]
    rows, units = human.feature_rows[labelled], human.unit_keys[labelled]
    if (
        previous is not None
        and previous.digest == graph.around.digest
        and np.array_equal(previous.labelled_rows, rows)
        and np.array_equal(previous.labelled_units, units)
    ):
        return previous
    vectors = graph.vectors[nodes[labelled]].astype(np.float32)
    return LabelDistances(
        digest=graph.around.digest,
        labelled_rows=rows,
        labelled_units=units,
        distances=nearest_distances(graph.vectors, vectors),
        usual=largest_usual_distance(vectors, units),
    )
