"""A dataset that has moved: its source points to the new folder, nothing is read again.

The new folder is looked at first. One that holds none of the source's files is refused:
a slip of the hand must not lose a whole source.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH116, PTH118
from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from curator.base.progress import SILENT, Progress
from curator.base.vocabulary import LocationState
from curator.catalogue.files import KnownFile, mark_locations, walk_locations
from curator.catalogue.leases import lease
from curator.catalogue.sources import SourceRecord, find_source, list_sources, relocate_source
from curator.errors import DataError
from curator.intake.sources import is_at_or_under, resolve, shown
from curator.workspace import STATE_FOLDER, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocateReport:
    """Where a source was and is, and how many of its files are `present` there.

    `changed` files are there with another size; `add` will read them again.
    """

    source: str
    old_root: bytes
    new_root: bytes
    present: int
    missing: int
    changed: int


def relocate(
    workspace: Workspace, *, source: str, root: Path, progress: Progress = SILENT
) -> RelocateReport:
    """Say that the source `source` now lies at `root`.

    Files that are not there become `missing`, those that are there again `present`.
    Raises DataError if there is no such source or folder, if another source has that
    folder, or if none of the source's files is there; BusyError while an `add` runs.
    """
    catalogue = workspace.catalogue
    record = _known(workspace, source)
    (new_root,) = resolve([root], workspace.root / STATE_FOLDER)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder.", "Name the folder that holds the files now.")
    _refuse_overlap(workspace, record, new_root)
    with lease(catalogue, "add"):
        present: list[int] = []
        missing: list[int] = []
        changed = 0
        with progress.stage("looking for files", unit="files") as stage:
            for file, size in _sizes(workspace, record, new_root):
                stage.advance()
                if size is None:
                    missing.append(file.location_id)
                    continue
                present.append(file.location_id)
                changed += size != file.size
        if missing and not present:
            raise DataError(
                f"None of the {len(missing):,} files of `{source}` is at {shown(new_root)}.",
                f"Name the folder that corresponds to {shown(record.root)}.",
            )
        relocate_source(catalogue, record.source_id, new_root)
        mark_locations(catalogue, present, LocationState.PRESENT)
        mark_locations(catalogue, missing, LocationState.MISSING)
    return RelocateReport(
        source=record.name,
        old_root=record.root,
        new_root=new_root,
        present=len(present),
        missing=len(missing),
        changed=changed,
    )


def _known(workspace: Workspace, name: str) -> SourceRecord:
    record = find_source(workspace.catalogue, name)
    if record is None:
        names = ", ".join(f"`{known.name}`" for known in list_sources(workspace.catalogue))
        raise DataError(
            f"There is no source `{name}`.",
            f"Known are {names}." if names else "`curator add` makes the first one.",
        )
    return record


def _refuse_overlap(workspace: Workspace, record: SourceRecord, new_root: bytes) -> None:
    """A file must not come to belong to two sources."""
    for other in list_sources(workspace.catalogue):
        if other.source_id == record.source_id or is_at_or_under(record.root, other.root):
            continue
        if is_at_or_under(new_root, other.root):
            raise DataError(
                f"{shown(new_root)} lies in the source `{other.name}`.",
                "Two sources cannot share files: choose another folder.",
            )


def _sizes(
    workspace: Workspace, record: SourceRecord, new_root: bytes
) -> Iterator[tuple[KnownFile, int | None]]:
    """Every known file with its size at the new place, None if it is not there."""
    for file in walk_locations(workspace.catalogue, record.source_id):
        try:
            status = os.stat(os.path.join(new_root, file.path))
        except OSError:
            yield file, None
        else:
            yield file, status.st_size if stat.S_ISREG(status.st_mode) else None
