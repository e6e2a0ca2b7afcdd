"""A workspace with real pictures and the tiny encoder, and what a test asks of its features."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.catalogue.features import rows_of
from curator.catalogue.images import find_by_paths, image_chunks
from curator.encoding import encode as encoding
from curator.encoding import projections
from curator.encoding.encode import encode
from curator.encoding.stored_rows import StoredRows, open_rows
from curator.intake.add import add
from curator.settings.sections import ClassifierSettings, RuntimeSettings
from curator.workspace import Workspace, open_workspace
from tests.support.encoder import IMAGE_SIZE, MODEL

BATCH = 8


def with_tiny_encoder(workspace: Workspace, weights: Path, **changes: Any) -> Workspace:
    """The workspace with settings that name the tiny encoder; `changes` are to `classifier`."""
    chosen: dict[str, Any] = {
        "model": MODEL,
        "weights": str(weights),
        "image_size": IMAGE_SIZE,
    } | changes
    settings = workspace.settings.model_copy(
        update={
            "classifier": ClassifierSettings(**chosen),
            "runtime": RuntimeSettings(
                backend="torch", precision="float32", device="cpu", batch_size=BATCH, workers=2
            ),
        }
    )
    return replace(workspace, settings=settings)


def add_folder(workspace: Workspace, folder: Path) -> None:
    """Add all pictures of a folder, without labels."""
    add(workspace, [folder])


def features_of(workspace: Workspace, progress: Progress = SILENT) -> StoredRows:
    """Encode what is missing, and open the result."""
    report = encode(workspace, progress=progress)
    assert report.feature_set_id is not None
    return report_set(workspace, report.fingerprint)


def report_set(workspace: Workspace, fingerprint: str) -> StoredRows:
    """The set with this fingerprint."""
    from curator.catalogue.features import find_feature_set

    record = find_feature_set(workspace.catalogue, fingerprint)
    assert record is not None
    return open_rows(workspace, record)


def by_image(workspace: Workspace, features: StoredRows) -> dict[int, bytes]:
    """Image id → the bits of its features, for all usable images that have any."""
    found = {}
    for ids in image_chunks(workspace.catalogue):
        rows = rows_of(workspace.catalogue, features.feature_set_id, ids)
        for image_id, row in zip(ids.tolist(), rows, strict=True):
            if row >= 0:
                found[image_id] = features.gather(np.array([row])).tobytes()
    return found


def image_id(workspace: Workspace, path: Path) -> int:
    """The image that was catalogued at a path."""
    raw = str(path).encode()
    return find_by_paths(workspace.catalogue, [raw])[raw]


def stored(features: StoredRows) -> NDArray[np.float16]:
    """All rows on disk, in their order."""
    return features.gather(np.arange(features.rows))


class Telling:
    """A listener that prints a line for each step, for a parent process that waits to kill."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "images") -> Iterator[Telling]:
        """Every stage is told of in the same way."""
        yield self

    def note(self, text: str) -> None: ...

    def expect(self, total: int) -> None: ...

    def advance(self, count: int = 1) -> None:
        """Print a line at once."""
        print("step", flush=True)  # noqa: T201


if __name__ == "__main__":
    encoding.FLUSH_ROWS = 4 * BATCH
    projections.SAMPLE = 2 * BATCH
    with_encoder = with_tiny_encoder(open_workspace(Path(sys.argv[1])), Path(sys.argv[2]))
    encoding.encode(with_encoder, progress=Telling())
