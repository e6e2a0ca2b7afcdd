"""What changed from one manifest to another, counted by what it was and became."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from curator.base.files import cannot_write
from curator.base.progress import SILENT, Progress
from curator.export.difference import Change, Kind, Side, changes
from curator.export.reading import Manifest, open_manifest

__all__ = ["Change", "ChangeCounts", "Difference", "Kind", "Side", "diff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCounts:
    """So many images went from the one to the other; None where they were not there."""

    kind: Kind
    old_label: str | None
    old_origin: str | None
    new_label: str | None
    new_origin: str | None
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed from `old` to `new`.

    `same` images are alike in both. `counts` say how many changed and how, `tallies` also
    from which label and origin to which. `changes` are the images themselves, in order of
    their hash, as many as were asked for.
    """

    old: Path
    new: Path
    same: int
    counts: dict[Kind, int]
    tallies: list[ChangeCounts]
    changes: list[Change] = field(default_factory=list)


def diff(
    old: Path, new: Path, *, limit: int | None = None, progress: Progress = SILENT
) -> Difference:
    """Compare two manifests of any format; folders that an export made count as theirs.

    At most `limit` changes are listed, all of them are counted. Raises DataError if one
    cannot be read, or says two things of an image.
    """
    before, after = open_manifest(old), open_manifest(new)
    for manifest in (before, after):
        warn_if_changed(manifest, progress)
    same, listed = 0, list[Change]()
    cells: Counter[tuple[Kind, str | None, str | None, str | None, str | None]] = Counter()
    try:
        with tempfile.TemporaryDirectory() as scratch, progress.stage("compare") as stage:
            for change in changes(before.entries(), after.entries(), Path(scratch)):
                stage.advance()
                if change is None:
                    same += 1
                    continue
                cells[change.kind, *_labels(change.old), *_labels(change.new)] += 1
                if limit is None or len(listed) < limit:
                    listed.append(change)
    except OSError as error:
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
    order = list(Kind)
    counts = {kind: sum(n for cell, n in cells.items() if cell[0] is kind) for kind in order}
    tallies = [
        ChangeCounts(
            kind=kind,
            old_label=old_label,
            old_origin=old_origin,
            new_label=new_label,
            new_origin=new_origin,
            images=images,
        )
        for (kind, old_label, old_origin, new_label, new_origin), images in sorted(
            cells.items(),
            key=lambda cell: (order.index(cell[0][0]), *(word or "" for word in cell[0][1:])),
        )
    ]
    return Difference(old=old, new=new, same=same, counts=counts, tallies=tallies, changes=listed)


def warn_if_changed(manifest: Manifest, progress: Progress) -> None:
    """Say so if a manifest is not the one that its sidecar was written for."""
    if manifest.changed:
        progress.note(
            f"{manifest.file} is not as it was exported: its digest is not the one in its sidecar."
        )


def _labels(side: Side | None) -> tuple[str | None, str | None]:
    return (None, None) if side is None else (side.label, side.origin)
