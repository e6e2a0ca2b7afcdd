"""Workspaces with something in them, made through the catalogue itself: no pixels needed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curator.base.values import Decision, FileStamp, InspectedFile
from curator.base.vocabulary import Label, Method, Origin
from curator.catalogue import rounds
from curator.catalogue.files import record_files
from curator.catalogue.images import find_by_paths
from curator.catalogue.labels import record_decisions
from curator.catalogue.sources import add_source
from curator.storage.scores import SCORE_RECORD, ScoreWriter
from curator.workspace import Workspace


def fill(
    workspace: Workspace,
    root: Path,
    names: Sequence[bytes | str],
    *,
    source: str = "photos",
    contents: Mapping[bytes | str, bytes] | None = None,
    licence: str = "",
    attribution: str = "",
) -> dict[str, int]:
    """Catalogue files under `root` that need not exist; name → image id.

    The content of a file is its name, unless `contents` says otherwise.
    """
    record = add_source(
        workspace.catalogue,
        name=source,
        root=os.fsencode(root),
        licence=licence,
        attribution=attribution,
    )
    inspected = [_inspected(os.fsencode(name), (contents or {}).get(name)) for name in names]
    for start in range(0, len(inspected), 10_000):
        record_files(workspace.catalogue, record.source_id, inspected[start : start + 10_000])
    paths = {os.fsencode(root) + b"/" + os.fsencode(name): name for name in names}
    found = find_by_paths(workspace.catalogue, list(paths))
    return {os.fsdecode(name): found[path] for path, name in paths.items()}


def _inspected(name: bytes, content: bytes | None) -> InspectedFile:
    return InspectedFile(
        stamp=FileStamp(path=name, size=100, mtime_ns=1),
        sha256=hashlib.sha256(name if content is None else content).digest(),
        width=64,
        height=48,
        format="JPEG",
        mode="RGB",
    )


def decide(
    workspace: Workspace,
    image_ids: Sequence[int],
    label: Label,
    origin: Origin = Origin.SEED,
    method: Method = Method.IMPORT,
) -> None:
    """Record the same human label for all of these images."""
    decisions = [
        Decision(image_id=image_id, label=label, origin=origin, method=method)
        for image_id in image_ids
    ]
    record_decisions(workspace.catalogue, decisions, actor="tester")


def promote(
    workspace: Workspace,
    scores: Mapping[int, float],
    *,
    above: float = 0.99,
    below: float = 0.03,
    revoke: Sequence[int] = (),
) -> int:
    """Commit a round with these probabilities, promoting by thresholds; its number.

    `revoke` are promoted images between the thresholds that lose their label.
    """
    catalogue = workspace.catalogue
    ids = np.array(sorted(scores), dtype=np.int64)
    probabilities = np.array([scores[int(one)] for one in ids])
    token = rounds.begin_staging(catalogue)
    rounds.stage_scores(catalogue, token, ids, probabilities, probabilities)
    sure = (probabilities > above) | (probabilities < below)
    decided = sure | np.isin(ids, revoke)
    rounds.stage_decisions(
        catalogue,
        token,
        ids[decided],
        promote=sure[decided],
        positive=probabilities[decided] > 0.5,
        probabilities=probabilities[decided],
    )
    new = rounds.NewRound(
        parent_id=rounds.head(catalogue),
        seed=0,
        settings={},
        outcome={},
        started_at=datetime.now(UTC),
        score_digest=_keep_scores(workspace, ids, probabilities),
    )
    return rounds.commit_round(catalogue, token, new).round_id


def _keep_scores(
    workspace: Workspace, ids: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> str:
    records = np.zeros(len(ids), dtype=SCORE_RECORD)
    records["image_id"], records["distance"] = ids, np.nan
    records["probability"] = records["raw"] = probabilities
    with ScoreWriter(workspace.folder("scores")) as writer:
        writer.append(records)
        return writer.finish()
