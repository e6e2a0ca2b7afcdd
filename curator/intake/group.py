"""Groups: near-duplicates that curator finds, and what the user says belongs together.

Near-duplicates are found again from the whole set whenever it changed, so that groups do
not depend on the order in which images came. The user's own groups come from a CSV file,
or from the part of the path that a regular expression captures.
"""

# Names are bytes here, which pathlib does not take.
from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import GroupKind
from curator.catalogue.groups import GroupRecord, current_grouping, replace_grouping
from curator.catalogue.images import hash_chunks, image_chunks, signatures
from curator.intake.grouping import ALGORITHM, NearGroup, find_groups
from curator.intake.likeness import SIGNATURE_BYTES
from curator.intake.user_groups import GroupReport, group_by_csv, group_by_pattern
from curator.workspace import STATE_FOLDER, Workspace

__all__ = ["GroupReport", "RegroupReport", "group_by_csv", "group_by_pattern", "regroup"]

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RegroupReport:
    """The near-duplicates that stand: groups of two or more, and the images in them."""

    groups: int
    images: int
    recomputed: bool


def regroup(workspace: Workspace, *, progress: Progress = SILENT) -> RegroupReport:
    """Bring the groups of near-duplicates up to date; quick if they are.

    They follow from the usable images and the settings `duplicates.*` alone.
    """
    catalogue = workspace.catalogue
    wanted = _inputs(workspace)
    standing = current_grouping(catalogue, GroupKind.PERCEPTUAL)
    if standing is not None and dict(standing.details).get("inputs") == wanted:
        return RegroupReport(
            groups=standing.groups,
            images=int(standing.details.get("images", standing.members)),
            recomputed=False,
        )
    found = list(_find(workspace, progress)) if workspace.settings.duplicates.enabled else []
    images = len({image_id for group in found for image_id in (*group.primary, *group.secondary)})
    details = {"inputs": wanted, "images": images}
    report = replace_grouping(catalogue, GroupKind.PERCEPTUAL, found, details=details)
    return RegroupReport(groups=report.grouping.groups, images=images, recomputed=True)


def _inputs(workspace: Workspace) -> dict[str, Any]:
    """Everything that the groups follow from."""
    duplicates = workspace.settings.duplicates
    pool = hashlib.sha256()
    for image_ids in image_chunks(workspace.catalogue, size=100_000):
        pool.update(image_ids.astype("<i8").tobytes())
    return {
        "algorithm": ALGORITHM,
        "enabled": duplicates.enabled,
        "hash_radius": duplicates.hash_radius,
        "pixel_tolerance": duplicates.pixel_tolerance,
        "pool": pool.hexdigest(),
    }


def _find(workspace: Workspace, progress: Progress) -> Iterator[GroupRecord]:
    duplicates = workspace.settings.duplicates
    chunks = list(hash_chunks(workspace.catalogue))
    if not chunks:
        return
    image_ids = np.concatenate([chunk.image_ids for chunk in chunks])
    sha256 = np.concatenate([chunk.sha256 for chunk in chunks])
    hashes = np.concatenate([chunk.hashes for chunk in chunks])
    with (
        tempfile.TemporaryFile(dir=workspace.root / STATE_FOLDER) as scratch,
        progress.stage("near-duplicates", total=len(image_ids)) as stage,
    ):
        pictures = np.memmap(
            scratch, dtype=np.uint8, mode="w+", shape=(len(image_ids), SIGNATURE_BYTES)
        )
        there = _load_signatures(workspace, image_ids, pictures)
        groups = find_groups(
            sha256[there],
            hashes[there],
            pictures if there.all() else pictures[there],
            radius=duplicates.hash_radius,
            tolerance=duplicates.pixel_tolerance,
            advance=stage.advance,
        )
    image_ids, sha256 = image_ids[there], sha256[there]
    for group in groups:
        yield _record(group, image_ids, sha256)


def _load_signatures(
    workspace: Workspace, image_ids: NDArray[np.int64], pictures: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Fill in the signatures row by row; which images have one."""
    there = np.zeros(len(image_ids), np.bool_)
    for start in range(0, len(image_ids), _AT_ONCE):
        some = image_ids[start : start + _AT_ONCE].tolist()
        stored = signatures(workspace.catalogue, some)
        for place, image_id in enumerate(some, start=start):
            signature = stored.get(image_id, b"")
            if len(signature) == SIGNATURE_BYTES:
                pictures[place] = np.frombuffer(signature, np.uint8)
                there[place] = True
    return there


def _record(
    group: NearGroup, image_ids: NDArray[np.int64], sha256: NDArray[np.uint8]
) -> GroupRecord:
    lead = group.representative
    return GroupRecord(
        name=sha256[lead].tobytes().hex()[:16],
        primary=tuple(image_ids[list(group.members)].tolist()),
        secondary=tuple(image_ids[list(group.others)].tolist()),
        representative_id=int(image_ids[lead]),
    )
