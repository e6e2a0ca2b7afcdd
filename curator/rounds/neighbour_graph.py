"""The neighbour graph of the pool, stored on disk and computed again when the pool has changed.

It depends on the features and on which images there are, and its folder is named by a digest of
both. An interrupted computation continues, and what is damaged is computed again. For each set of
features only the graph of the present pool stays on disk.
"""

from __future__ import annotations

import hashlib
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import Progress
from curator.catalogue.pool import Pool
from curator.classifiers.devices import core_count
from curator.classifiers.heads.graph import (
    DIRECTIONS,
    RECIPE,
    NeighbourIndex,
    Projection,
    find_projection,
    use_search_threads,
)
from curator.classifiers.heads.neighbour_smoothing import Neighbourhood
from curator.encoding.stored_rows import StoredRows
from curator.settings.sections import Settings
from curator.storage.blockfile import BlockFile

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
    return settings.classifier.neighbours or settings.gates.distance > 0


def pool_graph(
    folder: Path, features: StoredRows, pool: Pool, threads: int, progress: Progress
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
    projection = _projection(own / "projection.f32", features, rows, digest, progress)
    width = projection.directions.shape[1]
    vectors = BlockFile(own / "vectors.f16", width, "<f2", _BLOCK, digest)
    graph = BlockFile(own / "graph.i32", NEIGHBOURS, "<i4", _BLOCK, digest)
    count = len(rows)
    intact = [file.intact_rows(count, progress.note) for file in (vectors, graph)]
    is_complete = intact == [count, count]
    with nullcontext() if is_complete else progress.stage("neighbours", 2 * count) as stage:
        advance = stage.advance if stage else lambda rows: None
        projected = vectors.fill(
            count,
            lambda at, size: projection.apply(features.gather(rows[at : at + size])),
            advance,
        )
        index: NeighbourIndex | None = None

        def nearest(at: int, size: int) -> NDArray[np.int32]:
            nonlocal index
            index = index or NeighbourIndex(projected)
            return index.nearest_of_own(projected[at : at + size], at, NEIGHBOURS)

        neighbours = graph.fill(count, nearest, advance)
    if not is_complete:
        # Graphs of a pool that has changed since.
        for other in folder.glob(f"{prefix}-*"):
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
    return PoolGraph(
        projection=projection,
        vectors=projected,
        neighbours=Neighbourhood(rows=rows, graph=neighbours, digest=digest),
    )


def _digest(fingerprint: str, rows: NDArray[np.int64], image_ids: NDArray[np.int64]) -> str:
    """Digest of what a graph depends on: how it is computed, the encoder, and the images."""
    digest = hashlib.sha256(f"{RECIPE} {NEIGHBOURS} {fingerprint} ".encode())
    digest.update(rows.astype("<i8").tobytes())
    digest.update(image_ids.astype("<i8").tobytes())
    return digest.hexdigest()


def _projection(
    path: Path, features: StoredRows, rows: NDArray[np.int64], digest: str, progress: Progress
) -> Projection:
    """The mean in the first column, the directions in the others."""

    def find(at: int, size: int) -> NDArray[np.float32]:
        projection = find_projection(features, rows)
        return np.column_stack([projection.mean, projection.directions])

    count, width = features.dimension, min(features.dimension, DIRECTIONS)
    file = BlockFile(path, width + 1, "<f4", count, digest)
    file.intact_rows(count, progress.note)
    stored = file.fill(count, find, lambda rows: None)
    return Projection(
        mean=np.ascontiguousarray(stored[:, 0]), directions=np.ascontiguousarray(stored[:, 1:])
    )
