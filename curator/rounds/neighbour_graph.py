"""The neighbour graph of the pool, stored on disk and computed again when the pool has changed.

It depends on the features and on which images there are, and its folder is named by a digest of
both. An interrupted computation continues. For each set of features only the graph of the present
pool stays on disk.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.files import replacing
from curator.base.progress import Progress
from curator.classifiers.devices import core_count
from curator.classifiers.heads.graph import (
    RECIPE,
    NeighbourIndex,
    Projection,
    find_projection,
    use_search_threads,
)
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.encoding.feature_set import FeatureSet
from curator.rounds.labels import Pool
from curator.settings.sections import Settings
from curator.storage.rowfile import RowFile

NEIGHBOURS = 15
"""Neighbours of each image; fewer blur less, more reach into other clusters."""

_BLOCK = 16_384
_NAME_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolGraph:
    """The pool in few dimensions: its projection, its vectors, and its nearest neighbours.

    `vectors` is (images, d) float16, in the order of `neighbours.rows`.
    """

    projection: Projection
    vectors: NDArray[np.float16]
    neighbours: Neighbourhood


def uses_graph(settings: Settings) -> bool:
    """Whether scores or gates need the graph."""
    return settings.classifier.neighbour_share > 0 or settings.gates.distance > 0


def pool_graph(
    folder: Path, features: FeatureSet, pool: Pool, threads: int, progress: Progress
) -> PoolGraph | None:
    """The pool's graph, from `folder` or computed now; None in a tiny pool.

    `threads` of 0 are all cores. Raises LearnError if features are not finite, StorageError if
    the disk is full.
    """
    rows, image_ids = pool.by_rows()
    if len(rows) <= NEIGHBOURS + 1:
        return None
    use_search_threads(threads or core_count())
    digest = _digest(features.fingerprint, rows, image_ids)
    prefix = features.fingerprint[:_NAME_LENGTH]
    own = folder / f"{prefix}-{digest[:_NAME_LENGTH]}"
    own.mkdir(exist_ok=True)
    projection = _projection(own / "projection.npz", features, rows)
    vectors = RowFile(own / "vectors.f16", projection.directions.shape[1], "<f2")
    graph = RowFile(own / "graph.i32", NEIGHBOURS, "<i4")
    if graph.rows() < len(rows):
        with progress.stage("neighbours", 2 * len(rows)) as stage:
            vectors.fill(
                len(rows),
                _BLOCK,
                lambda at, count: projection.apply(features.gather(rows[at : at + count])),
                stage.advance,
            )
            projected = vectors.read(len(rows))
            index = NeighbourIndex(projected)
            graph.fill(
                len(rows),
                _BLOCK,
                lambda at, count: index.nearest_of_own(projected[at : at + count], at, NEIGHBOURS),
                stage.advance,
            )
        # Graphs of a pool that has changed since.
        for other in folder.glob(f"{prefix}-*"):
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
    return PoolGraph(
        projection=projection,
        vectors=vectors.read(len(rows)),
        neighbours=Neighbourhood(rows=rows, graph=graph.read(len(rows)), digest=digest),
    )


def _digest(fingerprint: str, rows: NDArray[np.int64], image_ids: NDArray[np.int64]) -> str:
    """Digest of what a graph depends on: how it is computed, the encoder, and the images."""
    digest = hashlib.sha256(f"{RECIPE} {NEIGHBOURS} {fingerprint} ".encode())
    digest.update(rows.astype("<i8").tobytes())
    digest.update(image_ids.astype("<i8").tobytes())
    return digest.hexdigest()


def _projection(path: Path, features: FeatureSet, rows: NDArray[np.int64]) -> Projection:
    if not path.exists():
        projection = find_projection(features, rows)
        with replacing(path) as stream:
            np.savez(stream, mean=projection.mean, directions=projection.directions)
    with np.load(path, allow_pickle=False) as arrays:
        return Projection(mean=arrays["mean"], directions=arrays["directions"])
