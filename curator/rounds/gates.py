"""What holds a promotion back: the distance of an image from everything that people labelled.

A probability above 0.99 says that an image lies on one side of what labels separated. It does
not say that anybody labelled an image of its kind. So an image stays unlabelled if it lies
farther from the nearest labelled image than the most remote labelled image lies from the
others, times the setting `gates.distance` (ADR 0014). A gate never promotes and never revokes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curator.base.arrays import CLASS_CODES, FloatArray, IntArray, positions_in
from curator.catalogue.pool import HumanLabels
from curator.classifiers.heads.graph import nearest_distances
from curator.rounds.neighbour_graph import PoolGraph
from curator.rounds.promotion import GateInputs
from curator.settings.sections import GatesSettings
from curator.statistics.folds import sampling_rank

LABEL_LIMIT = 4_096
"""Most labelled images that others are compared with; a random sample beyond that."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelDistances:
    """Distance of every image of a pool to the nearest image that a person labelled.

    `distances` is (images,) for the rising feature `rows` of the pool; `among` is (labels,), the
    distance of each labelled image to the nearest labelled one of another unit. Both follow from
    the digest of the pool's graph, and from the rows and units of the labelled images.
    """

    graph_digest: str
    labelled_rows: IntArray
    labelled_units: IntArray
    rows: IntArray
    distances: FloatArray
    among: FloatArray

    @property
    def usual(self) -> float:
        """The largest distance among labelled images."""
        return largest_usual_distance(self.among)

    def gate(self, rows: IntArray, factor: float) -> GateInputs:
        """For images with these feature rows; `factor` is the setting `gates.distance`."""
        positions = positions_in(self.rows, rows)
        return GateInputs(distances=self.distances[positions], limit=factor * self.usual)


def label_distances(
    graph: PoolGraph | None,
    human: HumanLabels,
    settings: GatesSettings,
    seed: int,
    previous: LabelDistances | None,
) -> LabelDistances | None:
    """Distances of the pool from its labelled images, or `previous` if they are the same.

    None if the settings do not need them, and in a tiny pool, which has no graph.
    """
    if graph is None or settings.distance == 0:
        return None
    nodes = graph.neighbours.positions(human.feature_rows)
    labelled = np.flatnonzero(np.isin(human.standing, CLASS_CODES) & (nodes >= 0))
    labelled = labelled[np.argsort(sampling_rank(human.image_ids[labelled], seed))[:LABEL_LIMIT]]
    rows, units = human.feature_rows[labelled], human.unit_keys[labelled]
    if (
        previous is not None
        and previous.graph_digest == graph.neighbours.digest
        and np.array_equal(previous.labelled_rows, rows)
        and np.array_equal(previous.labelled_units, units)
    ):
        return previous
    vectors = graph.vectors[nodes[labelled]].astype(np.float32)
    return LabelDistances(
        graph_digest=graph.neighbours.digest,
        labelled_rows=rows,
        labelled_units=units,
        rows=graph.neighbours.rows,
        distances=nearest_distances(graph.vectors, vectors),
        among=distances_among(vectors, units),
    )


def distances_among(vectors: NDArray[np.floating], unit_keys: IntArray) -> FloatArray:
    """Distance of each labelled image to the nearest one of another unit, (labels,).

    `vectors` is (labels, d), `unit_keys` (labels,). Infinite without another unit.
    """
    x = np.asarray(vectors, dtype=np.float64)
    squares, nearest = np.square(x).sum(axis=1), np.full(len(x), np.inf)
    for index, row in enumerate(x):
        # Near-duplicates share a unit: a copy of itself would make any label look usual.
        other_units = unit_keys != unit_keys[index]
        if other_units.any():
            distance = squares + squares[index] - 2 * (x @ row)
            nearest[index] = np.sqrt(max(float(distance[other_units].min()), 0.0))
    return nearest


def largest_usual_distance(among: FloatArray) -> float:
    """Distance of the most remote labelled image from the nearest one of another unit.

    `among` is that of `distances_among`. Infinite without two units, where distances say nothing.
    If labelled images were drawn like an unlabelled one, that one would lie farther out only once
    in labels + 1 times.
    """
    return float(among.max()) if len(among) else float("inf")
