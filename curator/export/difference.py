"""What changed between two manifests, image by image.

Images are compared by their bytes, so moving or renaming files changes no label. Both
manifests are sorted on disk and walked side by side; memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from curator.export.reading import by_image
from curator.export.rows import Entry


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


def changes(old: Iterable[Entry], new: Iterable[Entry], scratch: Path) -> Iterator[Change | None]:
    """One item per image of either manifest, in order of SHA-256; None for the same in both.

    Raises DataError if a manifest says two things of one image.
    """
    left, right = _sides(old, scratch), _sides(new, scratch)
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
            change = (
                Change(kind=kind, sha256=after[0], old=before[1], new=after[1]) if kind else None
            )
            yield change
            before, after = next(left, None), next(right, None)


def _kind(old: Side, new: Side) -> Kind | None:
    if old.label != new.label:
        return Kind.RELABELLED
    if old.origin != new.origin:
        return Kind.ORIGIN
    if old.split != new.split:
        return Kind.SPLIT
    return Kind.MOVED if old.paths != new.paths else None


def _sides(entries: Iterable[Entry], scratch: Path) -> Iterator[tuple[str, Side]]:
    for first, others in by_image(entries, scratch):
        yield (
            first.sha256,
            Side(
                label=first.label,
                origin=first.origin,
                probability=first.probability,
                split=first.split,
                paths=(first.path, *(other.path for other in others)),
            ),
        )
