"""From the paths that a user names to sources, and to what is walked in each.

A file belongs to one source only. A path under a known source uses that source; a folder
that holds known sources leaves their folders to them and walks them as well.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH100, PTH112, PTH118, PTH119, PTH120
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curator.catalogue.engine import Catalogue
from curator.catalogue.sources import SourceRecord, add_source, find_source, list_sources
from curator.errors import DataError
from curator.intake.answers import printable
from curator.settings.file import FILE_NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWalk:
    """One walk: a source, the folder or file in it, and folders that others walk."""

    source: SourceRecord
    under: bytes
    leave_out: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkTerms:
    """What the user said about new sources: a name or none, licence, attribution."""

    name: str | None = None
    licence: str = ""
    attribution: str = ""


def resolve(paths: Sequence[Path], own_folder: Path) -> list[bytes]:
    """Absolute paths of what the user named, folders without links, each once.

    Raises DataError for a path that does not exist, or that lies in `own_folder`, the
    workspace's own.
    """
    own = os.fsencode(own_folder.resolve())
    places: dict[bytes, None] = {}
    for path in paths:
        place = _without_links(path)
        if not os.path.lexists(place):
            raise DataError(f"There is nothing at {shown(place)}.", "Check the path.")
        if is_at_or_under(place, own):
            raise DataError(
                f"{shown(place)} belongs to the workspace itself.",
                "Add the folder where your images are.",
            )
        places[place] = None
    return list(places)


def plan(
    catalogue: Catalogue, places: Sequence[bytes], own_folder: Path, terms: WalkTerms
) -> list[SourceWalk]:
    """The walks for these places, none of them twice; new sources are catalogued.

    Raises DataError if a name stands for another folder, or a folder has another name.
    """
    roots = _new_roots(catalogue, places, terms.name)
    sources = {place: _source_of(catalogue, place, roots.get(place), terms) for place in places}
    known = list_sources(catalogue)
    walks: dict[tuple[int, bytes], SourceRecord] = {}
    for place, source in sources.items():
        walks.setdefault((source.source_id, relative(place, source.root)), source)
        for inner in sorted(known, key=lambda record: record.root):
            if inner.root != source.root and is_at_or_under(inner.root, place):
                walks.setdefault((inner.source_id, b""), inner)
    jobs = []
    for (source_id, under), source in walks.items():
        if any(_covers(other, (source_id, under)) for other in walks):
            continue
        others = tuple(record.root for record in known if record.source_id != source_id)
        own = os.fsencode(own_folder)
        settings = os.fsencode(own_folder.parent / FILE_NAME)
        jobs.append(SourceWalk(source=source, under=under, leave_out=(own, settings, *others)))
    return jobs


def is_at_or_under(path: bytes, folder: bytes) -> bool:
    """Whether an absolute path is `folder` or lies in it."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def relative(path: bytes, root: bytes) -> bytes:
    """`path`, which is at or under `root`, relative to it; empty for `root` itself."""
    return path[len(root.rstrip(b"/")) :].lstrip(b"/")


def shown(path: bytes) -> str:
    """A path for a message, whatever its bytes."""
    return printable(os.fsdecode(path))


def _without_links(path: Path) -> bytes:
    """Folders resolved whole; of a file only its folder, because its link is its name."""
    given = os.path.abspath(os.fsencode(path))
    if os.path.isdir(given):
        return os.path.realpath(given)
    return os.path.join(os.path.realpath(os.path.dirname(given)), os.path.basename(given))


def _covers(outer: tuple[int, bytes], inner: tuple[int, bytes]) -> bool:
    """Whether one walk of a source includes another one."""
    if outer == inner or outer[0] != inner[0]:
        return False
    return not outer[1] or is_at_or_under(inner[1], outer[1])


def _new_roots(
    catalogue: Catalogue, places: Sequence[bytes], name: str | None
) -> dict[bytes, bytes]:
    """The root of the source to be made for each place that is under none yet."""
    known = list_sources(catalogue)
    fresh = [place for place in places if _closest(known, place) is None]
    folders = {place: place if os.path.isdir(place) else os.path.dirname(place) for place in fresh}
    if name is not None and folders and find_source(catalogue, name) is None:
        together = os.path.commonpath(list(folders.values()))
        return dict.fromkeys(fresh, together)
    return folders


def _closest(known: Sequence[SourceRecord], place: bytes) -> SourceRecord | None:
    holding = [record for record in known if is_at_or_under(place, record.root)]
    return max(holding, key=lambda record: len(record.root), default=None)


def _source_of(
    catalogue: Catalogue, place: bytes, root: bytes | None, terms: WalkTerms
) -> SourceRecord:
    known = list_sources(catalogue)
    source = _closest(known, place)
    if source is not None and terms.name in (None, source.name):
        name, root = source.name, source.root
    elif source is not None:
        raise DataError(
            f"{shown(place)} lies in the source `{source.name}`, not in `{terms.name}`.",
            f"Leave the name out, or use `{source.name}`.",
        )
    else:
        assert root is not None
        name = terms.name or _free_name(known, root)
    return add_source(
        catalogue,
        name=name,
        root=root,
        licence=terms.licence,
        attribution=terms.attribution,
    )


def _free_name(known: Sequence[SourceRecord], root: bytes) -> str:
    """The folder's own name, with a number if another source has it."""
    taken = {record.name for record in known}
    plain = shown(os.path.basename(root)) or "root"
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}-{number}"
    return name
