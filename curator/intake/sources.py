"""From the paths that a user names to sources, and the walks that `add` makes.

A file belongs to one source only, the innermost. A path under a known source uses that source; a
folder that holds known sources leaves their folders to them and walks them as well.
"""

# Names are bytes here, which pathlib does not take.
# ruff: noqa: PTH100, PTH112, PTH118, PTH119, PTH120
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from curator.catalogue.engine import Catalogue
from curator.catalogue.sources import SourceRecord, add_source, find_source, list_sources
from curator.errors import DataError
from curator.intake.answers import printable
from curator.settings.file import FILE_NAME
from curator.sources.addresses import canonical, is_url, looks_like_url
from curator.sources.files import files_of
from curator.sources.remote import refusal


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


def resolve(paths: Sequence[Path | str], own_folder: Path) -> list[bytes]:
    """Absolute paths and URLs of what the user named, folders without links, each once.

    Raises DataError for a path that does not exist, or that lies in `own_folder`, the
    workspace's own, and for a URL that cannot be read; UsageError for one that is not to be used.
    """
    own = os.fsencode(own_folder.resolve())
    resolved: dict[bytes, None] = {}
    for path in paths:
        if looks_like_url(str(path)):
            location = canonical(str(path))
            if not files_of(location).is_folder(location):
                _look(location)
            resolved[location] = None
            continue
        location = _without_links(Path(path))
        if not os.path.lexists(location):
            raise DataError(f"There is nothing at {shown(location)}.", "Check the path.")
        if is_at_or_under(location, own):
            raise DataError(
                f"{shown(location)} belongs to the workspace itself.",
                "Add the folder where your images are.",
            )
        resolved[location] = None
    return list(resolved)


def _look(url: bytes) -> None:
    try:
        files_of(url).stamp(url)
    except OSError as error:
        raise refusal(url, error) from error


def plan(
    catalogue: Catalogue, paths: Sequence[bytes], own_folder: Path, terms: WalkTerms
) -> list[SourceWalk]:
    """The walks for these paths, none of them twice; new sources are catalogued.

    Raises DataError if a name stands for another folder, or a folder has another name.
    """
    roots = _new_roots(catalogue, paths, terms.name)
    source_of = {path: _source_of(catalogue, path, roots.get(path), terms) for path in paths}
    sources = list_sources(catalogue)
    walks: dict[tuple[int, bytes], SourceRecord] = {}
    for path, source in source_of.items():
        walks.setdefault((source.source_id, relative(path, source.root)), source)
        for inner in sorted(sources, key=lambda record: record.root):
            if inner.root != source.root and is_at_or_under(inner.root, path):
                walks.setdefault((inner.source_id, b""), inner)
    jobs = []
    for (source_id, under), source in walks.items():
        if any(_covers(other, (source_id, under)) for other in walks):
            continue
        other_roots = tuple(record.root for record in sources if record.source_id != source_id)
        own = os.fsencode(own_folder)
        settings = os.fsencode(own_folder.parent / FILE_NAME)
        jobs.append(SourceWalk(source=source, under=under, leave_out=(own, settings, *other_roots)))
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
    absolute = os.path.abspath(os.fsencode(path))
    if os.path.isdir(absolute):
        return os.path.realpath(absolute)
    return os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))


def _covers(outer: tuple[int, bytes], inner: tuple[int, bytes]) -> bool:
    """Whether one walk of a source includes another one."""
    if outer == inner or outer[0] != inner[0]:
        return False
    return not outer[1] or is_at_or_under(inner[1], outer[1])


def _new_roots(
    catalogue: Catalogue, paths: Sequence[bytes], name: str | None
) -> dict[bytes, bytes]:
    """The root of the source to be made for each path that is under none yet."""
    sources = list_sources(catalogue)
    fresh = [path for path in paths if _closest(sources, path) is None]
    folders = {
        path: path if files_of(path).is_folder(path) else os.path.dirname(path) for path in fresh
    }
    if name is not None and folders and find_source(catalogue, name) is None:
        return dict.fromkeys(fresh, _together(list(folders.values())))
    return folders


def _together(folders: Sequence[bytes]) -> bytes:
    """The innermost folder that holds all of these. Raises DataError for several servers."""
    if not any(map(is_url, folders)):
        return os.path.commonpath(folders)
    columns = zip(*(folder.split(b"/") for folder in folders), strict=False)
    common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, columns)]
    if len(common) < 3:
        listed = ", ".join(shown(folder) for folder in folders[:3])
        raise DataError(
            f"One source cannot lie in several places: {listed}.",
            "Add each of them with a name of its own.",
        )
    return b"/".join(common)


def _closest(sources: Sequence[SourceRecord], path: bytes) -> SourceRecord | None:
    holding = [record for record in sources if is_at_or_under(path, record.root)]
    return max(holding, key=lambda record: len(record.root), default=None)


def _source_of(
    catalogue: Catalogue, path: bytes, root: bytes | None, terms: WalkTerms
) -> SourceRecord:
    sources = list_sources(catalogue)
    source = _closest(sources, path)
    if source is not None and terms.name in (None, source.name):
        name, root = source.name, source.root
    elif source is not None:
        raise DataError(
            f"{shown(path)} lies in the source `{source.name}`, not in `{terms.name}`.",
            f"Leave the name out, or use `{source.name}`.",
        )
    else:
        assert root is not None
        name = terms.name or _free_name(sources, root)
    return add_source(
        catalogue,
        name=name,
        root=root,
        licence=terms.licence,
        attribution=terms.attribution,
    )


def _free_name(sources: Sequence[SourceRecord], root: bytes) -> str:
    """The folder's own name, with a number if another source has it."""
    used = {record.name for record in sources}
    plain = shown(os.path.basename(root)) or "root"
    name, number = plain, 1
    while name in used:
        number += 1
        name = f"{plain}-{number}"
    return name


def named_source(catalogue: Catalogue, name: str) -> SourceRecord:
    """The source of this name. Raises DataError, which names those that there are."""
    record = find_source(catalogue, name)
    if record is None:
        names = ", ".join(f"`{existing.name}`" for existing in list_sources(catalogue))
        raise DataError(
            f"There is no source `{name}`.",
            f"Known are {names}." if names else "`curator add` makes the first one.",
        )
    return record
