"""The rows of a manifest, streamed in order of their paths from one consistent view.

`manifest_rows` gives everything that is known of each location. `manifest_columns` gives what
a manifest says of it, as columns of plain values straight from the driver, and many times as
quick; it needs sources that do not lie in each other, because then their paths follow one
another and no row has to be compared with one of another source.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from curator.base.values import ManifestRow
from curator.base.vocabulary import CurrentLabel, GroupKind, LocationState, Origin, Split
from curator.catalogue.bulk import CHUNK, Fetched, Query, columns
from curator.catalogue.engine import Catalogue
from curator.catalogue.files import CURRENT
from curator.catalogue.images import absolute
from curator.catalogue.models import (
    Grouping,
    Image,
    ImageGroup,
    ImageState,
    LabelEvent,
    Location,
    Membership,
    ScoreRow,
    Source,
)
from curator.catalogue.pool import generation_now

CLASSES = (CurrentLabel.POSITIVE, CurrentLabel.NEGATIVE)


_STANDINGS: dict[str | None, CurrentLabel | None] = {
    None: None,
    **{one.value: one for one in CurrentLabel},
}
_ORIGINS: dict[str | None, Origin | None] = {None: None, **{one.value: one for one in Origin}}
_SPLITS: dict[str | None, Split | None] = {None: None, **{one.value: one for one in Split}}
"""Words by how they are kept; looking them up is much quicker than asking the enumeration."""


def manifest_rows(
    catalogue: Catalogue,
    *,
    standings: Sequence[CurrentLabel] = CLASSES,
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
    sources: Sequence[str] | None = None,
) -> Iterator[ManifestRow]:
    """One row per present location of each usable image that matches, sorted by path bytes.

    Holds one read transaction until the iterator is exhausted or closed; others may
    write meanwhile. Memory does not grow with the number of rows.
    """
    wanted = _matching(standings, origins, include_unlabelled)
    with catalogue.read() as connection:
        query = _select_rows(connection).where(*wanted)
        streams = [
            _of_source(connection, query, source_id, name, root)
            for source_id, name, root in _sources(connection, sources)
        ]
        yield from heapq.merge(*streams, key=lambda row: (row.path, row.source))


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestColumns:
    """Some locations of one source in order of their paths, each column of one length n.

    `paths` are relative to `root`, in bytes. `image_ids` and `unit_keys` are int64, `grouped`
    bool; what the other columns hold is as in `ManifestRow`, with words as text.
    """

    source: str
    root: bytes
    image_ids: NDArray[np.int64]
    paths: Sequence[bytes]
    sha256: Sequence[bytes]
    standing: Sequence[str | None]
    origin: Sequence[str | None]
    probability: Sequence[float | None]
    round: Sequence[int | None]
    user_group: Sequence[str | None]
    unit_keys: NDArray[np.int64]
    grouped: NDArray[np.bool_]
    split: Sequence[str | None]
    width: Sequence[int | None]
    height: Sequence[int | None]


def sources_lie_apart(catalogue: Catalogue) -> bool:
    """Whether no source's root lies in that of another, as `manifest_columns` needs it."""
    with catalogue.read() as connection:
        roots = sorted(_folder(root) for _, _, root in _sources(connection, None))
    return not any(below.startswith(above) for above, below in pairwise(roots))


def paths_are_plain(catalogue: Catalogue, folder: bytes) -> bool:
    """Whether all sources lie in a folder, and every path from there is text without an escape."""
    above = _folder(folder)
    with catalogue.read() as connection:
        for source_id, _, root in _sources(connection, None):
            if not _folder(root).startswith(above):
                return False
            from_there = _folder(root)[len(above) :]
            query = sa.select(Location.c.path).where(CURRENT, Location.c.source_id == source_id)
            result = connection.execute(query)
            cursor = result.cursor
            assert cursor is not None
            while rows := cursor.fetchmany(CHUNK):
                try:
                    together = (
                        (b"\0" + from_there).join((b"", *(path for (path,) in rows))).decode()
                    )
                except UnicodeDecodeError:
                    return False
                if "\0file:" in together:
                    return False
            result.close()
    return True


def manifest_columns(
    catalogue: Catalogue,
    *,
    standings: Sequence[CurrentLabel] = CLASSES,
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
) -> Iterator[ManifestColumns]:
    """The rows of `manifest_rows` in the same order, some thousands at a time, as columns.

    Right only where `sources_lie_apart`. Holds one read transaction until the iterator is
    exhausted or closed. Memory: what is given out, and a number for each unit that holds
    several images.
    """
    wanted = _matching(standings, origins, include_unlabelled)
    with catalogue.read() as connection:
        shared = _shared_units(connection)
        query = _select_columns(connection).where(CURRENT, *wanted).order_by(Location.c.path)
        for source_id, name, root in sorted(
            _sources(connection, None), key=lambda source: _folder(source[2])
        ):
            result = connection.execute(query.where(Location.c.source_id == source_id))
            cursor = result.cursor
            assert cursor is not None
            while rows := cursor.fetchmany(CHUNK):
                yield _columns(rows, name, root, shared)
            result.close()


def _folder(root: bytes) -> bytes:
    return root.rstrip(b"/") + b"/"


def _shared_units(connection: Connection) -> NDArray[np.int64]:
    """The keys of units that hold more than one image, rising."""
    key = ImageState.c.unit_key
    query = sa.select(key).group_by(key).having(sa.func.count() > 1).order_by(key)
    return columns(connection, query, np.int64)[0]


def _select_columns(connection: Connection) -> Query:
    state = ImageState.c
    # Looked up only where nothing was kept with the label: a join would always look.
    score = (
        sa.select(ScoreRow.c.probability)
        .where(
            ScoreRow.c.generation_id == generation_now(connection),
            ScoreRow.c.image_id == state.image_id,
        )
        .scalar_subquery()
    )
    return (
        sa.select(
            state.image_id,
            Location.c.path,
            Image.c.sha256,
            state.standing,
            state.origin,
            sa.func.coalesce(state.probability, score),
            state.round_id,
            _user_group(connection),
            state.unit_key,
            state.split,
            Image.c.width,
            Image.c.height,
        )
        .select_from(Location)
        .join(ImageState, state.image_id == Location.c.image_id)
        .join(Image, Image.c.id == Location.c.image_id)
    )


def _columns(
    rows: Sequence[Sequence[object]], source: str, root: bytes, shared: NDArray[np.int64]
) -> ManifestColumns:
    turned: list[Sequence[Any]] = list(zip(*rows, strict=True))
    image_ids, paths, sha256, standing, origin, probability, round_ids = turned[:7]
    user_group, units, split, width, height = turned[7:]
    unit_keys = np.array(units, dtype=np.int64)
    return ManifestColumns(
        source=source,
        root=root,
        image_ids=np.array(image_ids, dtype=np.int64),
        paths=paths,
        sha256=sha256,
        standing=standing,
        origin=origin,
        probability=probability,
        round=round_ids,
        user_group=user_group,
        unit_keys=unit_keys,
        grouped=_among(unit_keys, shared),
        split=split,
        width=width,
        height=height,
    )


def _among(keys: NDArray[np.int64], rising: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(rising):
        return np.zeros(len(keys), dtype=np.bool_)
    place = np.minimum(np.searchsorted(rising, keys), len(rising) - 1)
    found: NDArray[np.bool_] = rising[place] == keys
    return found


def count_manifest_rows(
    catalogue: Catalogue,
    *,
    standings: Sequence[CurrentLabel] = CLASSES,
    origins: Sequence[Origin] | None = None,
    include_unlabelled: bool = False,
    sources: Sequence[str] | None = None,
) -> int:
    """How many rows `manifest_rows` would give."""
    wanted = _matching(standings, origins, include_unlabelled)
    query = (
        sa.select(sa.func.count())
        .select_from(ImageState)
        .join(Location, Location.c.image_id == ImageState.c.image_id)
        .where(*wanted)
    )
    with catalogue.read() as connection:
        if sources is not None:
            chosen = [source_id for source_id, _, _ in _sources(connection, sources)]
            query = query.where(Location.c.source_id.in_(chosen))
        return connection.execute(query).scalar_one()


def _sources(
    connection: Connection, names: Sequence[str] | None
) -> Sequence[tuple[int, str, bytes]]:
    query = sa.select(Source.c.id, Source.c.name, Source.c.root).order_by(Source.c.id)
    if names is not None:
        query = query.where(Source.c.name.in_(list(names)))
    return [(source_id, name, root) for source_id, name, root in connection.execute(query)]


def _matching(
    standings: Sequence[CurrentLabel], origins: Sequence[Origin] | None, include_unlabelled: bool
) -> list[sa.ColumnElement[bool]]:
    labelled: sa.ColumnElement[bool] = ImageState.c.standing.in_(list(standings))
    if origins is not None:
        labelled = sa.and_(labelled, ImageState.c.origin.in_(list(origins)))
    if include_unlabelled:
        labelled = sa.or_(labelled, ImageState.c.standing.is_(None))
    return [ImageState.c.usable == 1, Location.c.state == LocationState.PRESENT, labelled]


def _of_source(
    connection: Connection, query: Query, source_id: int, name: str, root: bytes
) -> Iterator[ManifestRow]:
    ordered = query.where(CURRENT, Location.c.source_id == source_id).order_by(Location.c.path)
    for rows in connection.execute(ordered).partitions(CHUNK):
        for row in rows:
            yield _manifest_row(row, name, root)


def _select_rows(connection: Connection) -> Query:
    state, mate = ImageState.c, ImageState.alias()
    others = sa.exists().where(mate.c.unit_key == state.unit_key, mate.c.image_id != state.image_id)
    current = sa.and_(
        ScoreRow.c.generation_id == generation_now(connection),
        ScoreRow.c.image_id == state.image_id,
    )
    return (
        sa.select(
            state.image_id,
            Location.c.path,
            Image.c.sha256,
            state.standing,
            state.origin,
            sa.func.coalesce(state.probability, ScoreRow.c.probability),
            state.round_id,
            _user_group(connection),
            state.unit_key,
            others,
            state.split,
            Image.c.width,
            Image.c.height,
            Image.c.size,
            Location.c.mtime_ns,
            Image.c.format,
            LabelEvent.c.reasons,
            LabelEvent.c.note,
        )
        .select_from(Location)
        .join(ImageState, state.image_id == Location.c.image_id)
        .join(Image, Image.c.id == Location.c.image_id)
        .outerjoin(LabelEvent, LabelEvent.c.id == state.event_id)
        .outerjoin(ScoreRow, current)
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


def _manifest_row(row: Fetched, source: str, root: bytes) -> ManifestRow:
    image_id, path, sha256, standing, origin, probability, round_id, user_group = row[:8]
    unit_key, grouped, split, width, height, size, mtime_ns, format, reasons, note = row[8:]
    return ManifestRow(
        image_id=image_id,
        path=absolute(root, path),
        source=source,
        sha256=sha256,
        standing=_STANDINGS[standing],
        origin=_ORIGINS[origin],
        probability=probability,
        round=round_id,
        user_group=user_group,
        unit_key=unit_key,
        grouped=bool(grouped),
        split=_SPLITS[split],
        width=width,
        height=height,
        size=size,
        mtime_ns=mtime_ns,
        format=format,
        reasons=tuple(reasons or ()),
        note=note or "",
    )
