"""What changed from one manifest to another, image by image and counted.

Images are compared by their bytes, so moving or renaming files changes no label. Both
manifests are sorted on disk and walked side by side; memory does not grow with them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from curator.base.files import cannot_write
from curator.base.progress import SILENT, Progress
from curator.export.reading import Manifest, by_image, open_manifest
from curator.export.rows import ManifestRow


class Kind(StrEnum):
    """What happened to an image; the first that fits."""

    ADDED = "added"
    DROPPED = "dropped"
    RELABELLED = "relabelled"
    ORIGIN = "origin"
    SPLIT = "split"
    MOVED = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An image in one manifest; `paths` in order."""

    label: str | None
    origin: str | None
    probability: float | None
    split: str | None
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One image that is not in both manifests alike; `old` or `new` is None if not in it."""

    kind: Kind
    sha256: str
    old: Side | None
    new: Side | None


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
            folder = Path(scratch)
            images = (by_image(m.rows(), folder, manifest=m) for m in (before, after))
            for change in changes(*images):
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


def changes(
    old: Iterable[Sequence[ManifestRow]], new: Iterable[Sequence[ManifestRow]]
) -> Iterator[Change | None]:
    """One per image of either manifest, in order of SHA-256; None for the same in both.

    Each of the two gives the rows of an image at a time, as `by_image` does.
    """
    left, right = map(_side, old), map(_side, new)
    before, after = next(left, None), next(right, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before[0] < after[0]):
            assert before is not None
            yield Change(kind=Kind.DROPPED, sha256=before[0], old=before[1], new=None)
            before = next(left, None)
        elif before is None or after[0] < before[0]:
            yield Change(kind=Kind.ADDED, sha256=after[0], old=None, new=after[1])
            after = next(right, None)
        else:
            kind = _kind(before[1], after[1])
            if kind is None:
                yield None
            else:
                yield Change(kind=kind, sha256=after[0], old=before[1], new=after[1])
            before, after = next(left, None), next(right, None)


def _side(rows: Sequence[ManifestRow]) -> tuple[str, Side]:
    side = Side(
        label=rows[0].label,
        origin=rows[0].origin,
        probability=rows[0].probability,
        split=rows[0].split,
        paths=tuple(row.path for row in rows),
    )
    return rows[0].sha256, side


def _kind(old: Side, new: Side) -> Kind | None:
    if old.label != new.label:
        return Kind.RELABELLED
    if old.origin != new.origin:
        return Kind.ORIGIN
    if old.split != new.split:
        return Kind.SPLIT
    return Kind.MOVED if old.paths != new.paths else None


def warn_if_changed(manifest: Manifest, progress: Progress) -> None:
    """Say so if a manifest is not the one that its sidecar was written for."""
    if manifest.changed:
        progress.note(
            f"{manifest.file} is not as it was exported: its digest is not the one in its sidecar."
        )


def _labels(side: Side | None) -> tuple[str | None, str | None]:
    return (None, None) if side is None else (side.label, side.origin)
