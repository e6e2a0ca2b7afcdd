"""A source whose folder has moved: found by its images, and taken to its new folder.

The new folder is looked at first: one that holds none of the source's files, or is known to hold
other images, is refused, because a typing error must not lose a whole source. What was added there
meanwhile becomes part of the source, so that no file belongs to two.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH118
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.base.progress import SILENT, Progress
from curator.base.values import FileStamp
from curator.base.vocabulary import LocationState
from curator.catalogue.backups import backup_before
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import KnownFile, walk_locations
from curator.catalogue.images import image_details, lies_at
from curator.catalogue.leases import lease
from curator.catalogue.sources import (
    LocationMove,
    SourceRecord,
    list_sources,
    relocate_source,
    sample_locations,
    shared_locations,
)
from curator.errors import DataError
from curator.intake.sources import is_at_or_under, named_source, relative, resolve, shown
from curator.sources.addresses import is_url
from curator.sources.files import files_of
from curator.workspace import STATE_FOLDER, Workspace

_SAMPLE = 24
"""Files of a source that are looked for, to tell whether it has moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocateReport:
    """Where a source was and is, and how many of its files are `present` there.

    `changed` files are there with another size; `add` will read them again. `merged` are sources
    whose files in that folder are those of this one now.
    """

    source: str
    old_root: bytes
    new_root: bytes
    present: int
    missing: int
    changed: int
    merged: tuple[str, ...] = ()


def relocate(
    workspace: Workspace, *, source: str, root: Path | str, progress: Progress = SILENT
) -> RelocateReport:
    """Say that the source `source` now lies at `root`.

    Files that are not there become `missing`, those that are there again `present`. Files that
    were added there since come to this source, with whatever other source they were added.
    Raises DataError if there is no such source or folder, if none of the source's files is there,
    or what another source holds there is something else; BusyError while an `add` runs.
    """
    catalogue = workspace.catalogue
    (new_root,) = resolve([root], workspace.root / STATE_FOLDER)
    if not files_of(new_root).is_folder(new_root):
        raise DataError(
            f"{shown(new_root)} is not a folder.", "Name the folder that holds the files now."
        )
    with lease(catalogue, "add"):
        record = named_source(catalogue, source)
        moves = _moves(list_sources(catalogue), record, new_root)
        merged = _merged(catalogue, record, moves, new_root)
        present: list[int] = []
        missing: list[int] = []
        changed = 0
        with progress.stage("looking for files", unit="files") as stage:
            for file, size in _sizes(catalogue, record, new_root):
                stage.advance()
                if size is None:
                    missing.append(file.location_id)
                    continue
                present.append(file.location_id)
                changed += size != file.size
        if missing and not present and not merged:
            raise DataError(
                f"{shown(new_root)} contains no file of `{record.name}`.",
                f"Name the folder that corresponds to {shown(record.root)}.",
            )
        if merged:
            backup_before(catalogue, "relocate", workspace.settings.backup)
        by_state = relocate_source(
            catalogue, record.source_id, new_root, present=present, missing=missing, moves=moves
        )
    return RelocateReport(
        source=record.name,
        old_root=record.root,
        new_root=new_root,
        present=by_state.get(LocationState.PRESENT, 0),
        missing=by_state.get(LocationState.MISSING, 0),
        changed=changed,
        merged=merged,
    )


def _moves(
    sources: Sequence[SourceRecord], record: SourceRecord, new_root: bytes
) -> list[LocationMove]:
    """What changes hands when a source comes to `new_root`: a file belongs to the innermost one."""
    moves = []
    for other in sources:
        if other.source_id == record.source_id:
            continue
        ids = (other.source_id, record.source_id)
        if is_at_or_under(new_root, other.root):
            folder = relative(new_root, other.root)
        elif is_at_or_under(other.root, new_root):
            ids, folder = ids[::-1], relative(other.root, new_root)
        else:
            continue
        moves.append(LocationMove(from_id=ids[0], to_id=ids[1], folder=folder))
    return moves


def _merged(
    catalogue: Catalogue, record: SourceRecord, moves: Sequence[LocationMove], new_root: bytes
) -> tuple[str, ...]:
    """The sources from which files come to this one.

    Raises DataError if they hold other images, because a typing error must not mix two sources,
    or if a source that would be no more has other terms.
    """
    merged = []
    for other in list_sources(catalogue):
        giving = [move for move in moves if move.from_id == other.source_id]
        if other.source_id == record.source_id or not giving:
            continue
        total, moved, shared = shared_locations(catalogue, giving[0], record.source_id)
        if not moved:
            continue
        if 2 * shared < total:
            raise DataError(
                f"{shown(new_root)} lies in the source `{other.name}`, which holds only {shared:,}"
                f" of the {total:,} images of `{record.name}` there.",
                f"Check the path. If `{other.name}` is not needed: `curator drop {other.name}`.",
            )
        for field in ("licence", "attribution"):
            terms = getattr(record, field), getattr(other, field)
            if other.root == new_root and all(terms) and terms[0] != terms[1]:
                raise DataError(
                    f"`{record.name}` has the {field} {terms[0]!r}, and `{other.name}` at"
                    f" {shown(new_root)} has {terms[1]!r}.",
                    f"If {terms[0]!r} holds: `curator drop {other.name}`, then relocate again.",
                )
        merged.append(other.name)
    return tuple(merged)


def _sizes(
    catalogue: Catalogue, record: SourceRecord, new_root: bytes
) -> Iterator[tuple[KnownFile, int | None]]:
    """Every known file with its size under the new root, None if it is not there."""
    files = files_of(new_root)
    if is_url(new_root):
        # A listing says it of a thousand files at once, and fails as a whole if it fails.
        listing = (stamp for stamp in files.walk(new_root) if isinstance(stamp, FileStamp))
        listed = next(listing, None)
        for file in walk_locations(catalogue, record.source_id):
            while listed is not None and listed.path < file.path:
                listed = next(listing, None)
            is_there = listed is not None and listed.path == file.path
            yield file, listed.size if is_there and listed is not None else None
        return
    for file in walk_locations(catalogue, record.source_id):
        try:
            yield file, files.stamp(os.path.join(new_root, file.path)).size
        except OSError:
            yield file, None


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedSource:
    """A source of which nothing is left at `old_root`, and the folder where its images lie now."""

    name: str
    old_root: bytes
    new_root: bytes


def moved_sources(catalogue: Catalogue) -> list[MovedSource]:
    """Sources that seem to have moved to a folder that was added since.

    None of a few files of theirs is where it was, and at least half of these lie elsewhere under
    the same name and with the same bytes, all below one folder.
    """
    moved = []
    for source in list_sources(catalogue):
        if is_url(source.root):
            continue  # whether it has moved is not asked of a server with every command
        image_of: dict[bytes, int] = {}
        for path, image_id in sample_locations(catalogue, source.source_id, _SAMPLE):
            if os.path.lexists(os.path.join(source.root, path)):
                break
            image_of[path] = image_id
        else:
            roots: Counter[bytes] = Counter()
            details = image_details(catalogue, list(image_of.values()))
            for path, image_id in image_of.items():
                image = details[image_id]
                roots.update({
                    location.path.removesuffix(b"/" + path)
                    for location in image.locations
                    if location.state is LocationState.PRESENT
                    and location.path.endswith(b"/" + path)
                    and lies_at(location.path, image.size, location.state)
                })  # fmt: skip
            # Of equal counts the first in order of names, so that the answer is always the same.
            root, count = min(roots.items(), key=lambda item: (-item[1], item[0]), default=(b"", 0))
            if 2 * count >= len(image_of) > 0:
                moved.append(
                    MovedSource(name=source.name, old_root=source.root, new_root=root or b"/")
                )
    return moved
