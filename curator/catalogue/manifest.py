"""The rows of a manifest as columns of plain values, streamed from one consistent view.

The values come straight from the driver, some thousand rows at a time and without an object for
each row, which is many times as fast as records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import compress, pairwise
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.arrays import BoolArray, IntArray
from curator.base.vocabulary import CurrentLabel, GroupKind, LocationState, Origin
from curator.catalogue.bulk import CHUNK, Query, columns
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import CURRENT
from curator.catalogue.models import (
    Grouping,
    Image,
    ImageGroup,
    ImageState,
    Location,
    Membership,
    ScoreRow,
    Source,
)
from curator.catalogue.pool import generation_now
from curator.catalogue.quality import QualityBound, within_bounds

CLASSES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationArrays:
    """Some locations of one source in order of their paths, each column of one length n.

    `paths` are bytes relative to `root`. `image_ids` and `unit_keys` are int64; images that must
    stay together share a unit key, and `grouped` tells whether the unit has another image.
    `label` and `origin` are None without a label. `probability` is the current P(positive) where
    there is one, `promoted_probability` that at promotion for promoted images. `user_group` is the
    name of the user's own group. `size` is that of the image in bytes; `present` is False for files
    that were missing when `add` last looked. `mtime_ns` and `format` (the decoder's name, as in
    `JPEG`) are those that `add` recorded; empty unless they were requested.
    """

    source: str
    root: bytes
    image_ids: IntArray
    paths: Sequence[bytes]
    sha256: Sequence[bytes]
    label: Sequence[str | None]
    origin: Sequence[str | None]
    probability: Sequence[float | None]
    promoted_probability: Sequence[float | None]
    round: Sequence[int | None]
    user_group: Sequence[str | None]
    unit_keys: IntArray
    grouped: BoolArray
    split: Sequence[str | None]
    width: Sequence[int | None]
    height: Sequence[int | None]
    size: Sequence[int]
    present: BoolArray
    mtime_ns: Sequence[int] = ()
    format: Sequence[str | None] = ()

    def where(self, mask: BoolArray) -> LocationArrays:
        """The rows of a mask (n,)."""
        selectors = mask.tolist()

        def rows_of(column: Any) -> Any:
            if isinstance(column, np.ndarray):
                return column[mask]
            return list(compress(column, selectors))

        names = [field.name for field in fields(self) if field.name not in ("source", "root")]
        return replace(self, **{name: rows_of(getattr(self, name)) for name in names})


def sources_lie_apart(catalogue: Catalogue) -> bool:
    """Whether no source's root lies in that of another."""
    with catalogue.read() as connection:
        roots = sorted(_folder(root) for _, _, root in _sources(connection))
    return not any(below.startswith(above) for above, below in pairwise(roots))


def paths_are_plain(catalogue: Catalogue, folder: bytes) -> bool:
    """Whether all sources lie in a folder, and every path from there is text without an escape."""
    above = _folder(folder)
    with catalogue.read() as connection:
        for source_id, _, root in _sources(connection):
            if not _folder(root).startswith(above):
                return False
            from_there = _folder(root)[len(above) :]
            query = sa.select(Location.c.path).where(CURRENT, Location.c.source_id == source_id)
            for rows in _raw_rows(connection, query):
                # No path holds a NUL, so one decoding checks all of them.
                joined = (b"\0" + from_there).join((b"", *(path for (path,) in rows)))
                try:
                    if "\0file:" in joined.decode():
                        return False
                except UnicodeDecodeError:
                    return False
    return True


def manifest_columns(
    catalogue: Catalogue,
    *,
    labels: Sequence[CurrentLabel] = CLASSES,
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
    bounds: Sequence[QualityBound] = (),
    with_files: bool = False,
) -> Iterator[LocationArrays]:
    """One row per location of each usable image that matches, some thousands at a time.

    Sources come in order of their roots and their rows in order of path bytes, so all rows are
    in order of their absolute paths where `sources_lie_apart`. `with_files` adds modification
    time and format. Holds one read transaction until the iterator is exhausted or
    closed; others may write meanwhile. Memory: what is given out, and a number for each unit
    that holds several images.
    """
    matching = _matching(labels, origins, include_unlabelled, bounds)
    with catalogue.read() as connection:
        shared = _shared_units(connection)
        query = _select(connection, with_files).where(CURRENT, *matching).order_by(Location.c.path)
        for source_id, name, root in sorted(
            _sources(connection), key=lambda source: _folder(source[2])
        ):
            for rows in _raw_rows(connection, query.where(Location.c.source_id == source_id)):
                yield _columns(rows, name, root, shared)


def count_manifest_rows(
    catalogue: Catalogue,
    *,
    labels: Sequence[CurrentLabel] = CLASSES,
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
    bounds: Sequence[QualityBound] = (),
) -> int:
    """How many rows `manifest_columns` would give."""
    query = (
        sa.select(sa.func.count())
        .select_from(ImageState)
        .join(Location, Location.c.image_id == ImageState.c.image_id)
        .where(CURRENT, *_matching(labels, origins, include_unlabelled, bounds))
    )
    with catalogue.read() as connection:
        return connection.execute(query).scalar_one()


def _folder(root: bytes) -> bytes:
    return root.rstrip(b"/") + b"/"


def _sources(connection: Connection) -> Sequence[tuple[int, str, bytes]]:
    query = sa.select(Source.c.id, Source.c.name, Source.c.root).order_by(Source.c.id)
    return [(source_id, name, root) for source_id, name, root in connection.execute(query)]


def _raw_rows(connection: Connection, query: Query) -> Iterator[Sequence[Any]]:
    """Rows as the driver's tuples: SQLAlchemy's row objects cost more than the query."""
    result = connection.execute(query)
    cursor = result.cursor
    assert cursor is not None
    while rows := cursor.fetchmany(CHUNK):
        yield rows
    result.close()


def _matching(
    labels: Sequence[CurrentLabel],
    origins: Sequence[Origin] | None,
    include_unlabelled: bool,
    bounds: Sequence[QualityBound],
) -> list[sa.ColumnElement[bool]]:
    labelled: sa.ColumnElement[bool] = ImageState.c.standing.in_(list(labels))
    if origins is not None:
        labelled = sa.and_(labelled, ImageState.c.origin.in_(list(origins)))
    if include_unlabelled:
        labelled = sa.or_(labelled, ImageState.c.standing.is_(None))
    conditions = [ImageState.c.usable == 1, labelled]
    return [*conditions, within_bounds(ImageState.c.image_id, bounds)] if bounds else conditions


def _shared_units(connection: Connection) -> IntArray:
    """The keys of units that hold more than one image, ascending."""
    key = ImageState.c.unit_key
    query = sa.select(key).group_by(key).having(sa.func.count() > 1).order_by(key)
    return columns(connection, query, np.int64)[0]


def _select(connection: Connection, with_files: bool) -> Query:
    state = ImageState.c
    score = (
        sa.select(ScoreRow.c.probability)
        .where(
            ScoreRow.c.generation_id == generation_now(connection),
            ScoreRow.c.image_id == state.image_id,
        )
        .scalar_subquery()
    )
    files = (Location.c.mtime_ns, Image.c.format) if with_files else ()
    return (
        sa.select(
            state.image_id,
            state.unit_key,
            Location.c.path,
            Image.c.sha256,
            state.standing,
            state.origin,
            score,
            state.probability,
            state.round_id,
            _user_group(connection),
            state.split,
            Image.c.width,
            Image.c.height,
            Image.c.size,
            Location.c.state == LocationState.PRESENT,
            *files,
        )
        .select_from(Location)
        .join(ImageState, state.image_id == Location.c.image_id)
        .join(Image, Image.c.id == Location.c.image_id)
    )


def _user_group(connection: Connection) -> sa.ColumnElement[str | None]:
    grouping = connection.execute(
        sa.select(Grouping.c.id).where(
            Grouping.c.kind == GroupKind.USER, Grouping.c.is_current == 1
        )
    ).scalar()
    if grouping is None:
        return sa.literal(None, sa.String)
    return (
        sa.select(ImageGroup.c.name)
        .join(Membership, Membership.c.group_id == ImageGroup.c.id)
        .where(
            Membership.c.grouping_id == grouping,
            Membership.c.image_id == ImageState.c.image_id,
            sa.text("membership.is_primary = 1"),
        )
        .scalar_subquery()
    )


def _columns(
    rows: Sequence[Sequence[object]], source: str, root: bytes, shared_units: IntArray
) -> LocationArrays:
    by_column: list[Sequence[Any]] = list(zip(*rows, strict=True))
    image_ids, units, paths, sha256, label, origin, probability = by_column[:7]
    promoted_probability, round_ids, user_group, split, width, height = by_column[7:13]
    size, present, *files = by_column[13:]
    mtime_ns, format = files or ((), ())
    unit_keys = np.array(units, dtype=np.int64)
    return LocationArrays(
        source=source,
        root=root,
        image_ids=np.array(image_ids, dtype=np.int64),
        paths=paths,
        sha256=sha256,
        label=label,
        origin=origin,
        probability=probability,
        promoted_probability=promoted_probability,
        round=round_ids,
        user_group=user_group,
        unit_keys=unit_keys,
        grouped=_are_among(unit_keys, shared_units),
        split=split,
        width=width,
        height=height,
        size=size,
        present=np.array(present, dtype=np.bool_),
        mtime_ns=mtime_ns,
        format=format,
    )


def _are_among(keys: IntArray, ascending: IntArray) -> BoolArray:
    # `np.isin` sorts both arrays for every chunk and takes ten times as long.
    if not len(ascending):
        return np.zeros(len(keys), dtype=np.bool_)
    positions = np.minimum(np.searchsorted(ascending, keys), len(ascending) - 1)
    return np.equal(ascending[positions], keys)
