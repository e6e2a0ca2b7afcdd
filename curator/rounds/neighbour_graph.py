"""The neighbour graph of the pool, kept on disk and made again when the pool has changed.

It follows from the features and from which images there are, and its folder is named by a
digest of both. Interrupted, it goes on where it was. Only the graph of the present pool is
kept for each set of features.
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
from curator.classifiers.heads.neighbours import Neighbourhood
from curator.encoding.feature_set import FeatureSet
from curator.rounds.score import Pool
from curator.storage.rowfile import RowFile
from curator.workspace import Workspace

NEIGHBOURS = 15
"""Neighbours of each image; fewer blur less, more reach into other clusters."""

_BLOCK = 16_384
_NAME_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolGraph:
    """The pool in few directions: how it was projected, its vectors, and who lies near whom.

    `vectors` is (images, d) float16, in the order of `around.rows`.
    """

    projection: Projection
    vectors: NDArray[np.float16]
    around: Neighbourhood


def pool_graph(
    workspace: Workspace, features: FeatureSet, pool: Pool, progress: Progress
) -> PoolGraph | None:
    """The neighbours of every image, from disk or found now; None in a tiny pool.

    Raises LearnError if features are not finite, StorageError if the disk is full.
    """
    rows, image_ids = pool.by_rows()
    if len(rows) <= NEIGHBOURS + 1:
        return None
    use_search_threads(workspace.settings.runtime.threads or core_count())
    digest = _digest(features.fingerprint, rows, image_ids)
    folder = _folder(workspace, features.fingerprint, digest)
    projection = _projection(folder / "projection.npz", features, rows)
    width = projection.directions.shape[1]
    kept = RowFile(folder / "vectors.f16", width, "<f2")
    graph = RowFile(folder / "graph.i32", NEIGHBOURS, "<i4")
    if graph.rows() < len(rows):
        with progress.stage("neighbours", 2 * len(rows)) as stage:
            kept.fill(
                len(rows),
                _BLOCK,
                lambda at, count: projection.apply(features.gather(rows[at : at + count])),
                stage.advance,
            )
            vectors = kept.read(len(rows))
            index = NeighbourIndex(vectors)
            graph.fill(
                len(rows),
                _BLOCK,
                lambda at, count: index.nearest_of_own(vectors[at : at + count], at, NEIGHBOURS),
                stage.advance,
            )
        _drop_others(workspace, folder)
    return PoolGraph(
        projection=projection,
        vectors=kept.read(len(rows)),
        around=Neighbourhood(rows=rows, graph=graph.read(len(rows)), digest=digest),
    )


def required_graph(
    workspace: Workspace, features: FeatureSet, pool: Pool, progress: Progress
) -> PoolGraph | None:
    """The map of the pool if scores or gates ask for one and the pool is not too small."""
    settings = workspace.settings
    if settings.classifier.neighbour_share == 0 and settings.gates.distance == 0:
        return None
    return pool_graph(workspace, features, pool, progress)


def smoothing_graph(workspace: Workspace, found: PoolGraph | None) -> Neighbourhood | None:
    """The neighbours that scores listen to."""
    if found is None or workspace.settings.classifier.neighbour_share == 0:
        return None
    return found.around


def neighbourhood(
    workspace: Workspace, features: FeatureSet, pool: Pool, progress: Progress
) -> Neighbourhood | None:
    """The pool's neighbour graph, unless the settings or the pool's size speak against it."""
    if workspace.settings.classifier.neighbour_share == 0:
        return None
    return smoothing_graph(workspace, pool_graph(workspace, features, pool, progress))


def _digest(fingerprint: str, rows: NDArray[np.int64], image_ids: NDArray[np.int64]) -> str:
    """What a graph depends on, in hex: how it is found, the encoder, and the images."""
    digest = hashlib.sha256(f"{RECIPE} {NEIGHBOURS} {fingerprint} ".encode())
    digest.update(rows.astype("<i8").tobytes())
    digest.update(image_ids.astype("<i8").tobytes())
    return digest.hexdigest()


def _folder(workspace: Workspace, fingerprint: str, digest: str) -> Path:
    name = f"{fingerprint[:_NAME_LENGTH]}-{digest[:_NAME_LENGTH]}"
    folder = workspace.folder("graphs") / name
    folder.mkdir(exist_ok=True)
    return folder


def _projection(path: Path, features: FeatureSet, rows: NDArray[np.int64]) -> Projection:
    if not path.exists():
        found = find_projection(features, rows)
        with replacing(path) as stream:
            np.savez(stream, mean=found.mean, directions=found.directions)
    with np.load(path, allow_pickle=False) as kept:
        return Projection(mean=kept["mean"], directions=kept["directions"])


def _drop_others(workspace: Workspace, folder: Path) -> None:
    """Graphs of a pool that is not there any more."""
    prefix = folder.name.partition("-")[0]
    for other in workspace.folder("graphs").glob(f"{prefix}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
