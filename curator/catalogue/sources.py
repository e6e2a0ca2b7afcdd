"""Sources: the named root folders that images come from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.text import same_text
from curator.base.vocabulary import CurrentLabel, LocationState, Origin
from curator.catalogue.bulk import CHUNK, Query, plain_text, records
from curator.catalogue.constructs import within
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.files import CURRENT, files_at, refresh_usable, set_states
from curator.catalogue.models import ImageState, Location, Source, SourceDrop
from curator.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A source as it is catalogued; `root` is an absolute path in bytes."""

    source_id: int
    name: str
    root: bytes
    licence: str
    attribution: str


def add_source(
    catalogue: Catalogue, *, name: str, root: bytes, licence: str = "", attribution: str = ""
) -> SourceRecord:
    """Add a source, or return the one that has this name and root already.

    A licence or attribution that is given replaces an empty one. Raises DataError if the
    name stands for another root, the root has another name, or the licence differs.
    """
    name, licence, attribution = map(plain_text, (name, licence, attribution))
    terms = {"licence": licence, "attribution": attribution}
    with catalogue.write() as connection:
        existing = [
            *read_sources(connection, Source.c.name == name),
            *read_sources(connection, Source.c.root == root),
        ]
        if not existing:
            row = {"name": name, "root": root, **terms, "added_at": now()}
            connection.execute(sa.insert(Source).values(**row))
        else:
            _check_same(existing[0], name, root)
            changes = _completed(existing[0], terms)
            if changes:
                of_this = Source.c.id == existing[0].source_id
                connection.execute(sa.update(Source).where(of_this).values(**changes))
        return read_sources(connection, Source.c.name == name)[0]


def _check_same(source: SourceRecord, name: str, root: bytes) -> None:
    if source.name != name:
        raise DataError(
            f"The folder {_shown(root)} is the source `{source.name}` already.",
            f"Leave the name `{name}` out, or use `{source.name}`.",
        )
    if source.root != root:
        raise DataError(
            f"The source `{name}` lies at {_shown(source.root)}, not at {_shown(root)}.",
            f"Choose another name, or run `curator relocate {name} {_shown(root)}` if it moved.",
        )


def _completed(source: SourceRecord, terms: dict[str, str]) -> dict[str, str]:
    """The terms that the source does not have yet. Raises DataError if one differs."""
    changes = {}
    for field, value in terms.items():
        before = getattr(source, field)
        if value and before and value != before:
            raise DataError(
                f"The source `{source.name}` has the {field} {before!r}, not {value!r}.",
                "Use another source name for files under other terms.",
            )
        if value and not before:
            changes[field] = value
    return changes


def _shown(path: bytes) -> str:
    return plain_text(os.fsdecode(path))


def read_sources(connection: Connection, *conditions: sa.ColumnElement[bool]) -> list[SourceRecord]:
    """The sources that fulfil the conditions, in the order in which they were added."""
    source = Source.c
    query = sa.select(
        source.id.label("source_id"), source.name, source.root, source.licence, source.attribution
    )
    return records(connection, query.where(*conditions).order_by(source.id), SourceRecord)


def find_source(catalogue: Catalogue, name: str) -> SourceRecord | None:
    """The source with this name, in whatever Unicode form it is written."""
    sources = {source.name: source for source in list_sources(catalogue)}
    return sources.get(same_text(plain_text(name), sources) or "")


def list_sources(catalogue: Catalogue) -> list[SourceRecord]:
    """All sources, in the order in which they were added."""
    with catalogue.read() as connection:
        return read_sources(connection)


def forget_empty_sources(catalogue: Catalogue, *, but: Set[int] = frozenset()) -> None:
    """Take out the sources under which no file was ever catalogued, except those in `but`."""
    holds_files = sa.exists().where(Location.c.source_id == Source.c.id)
    with catalogue.write() as connection:
        connection.execute(sa.delete(Source).where(~holds_files, Source.c.id.not_in(sorted(but))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationMove:
    """Locations that come to belong to another source.

    Those of `from_id` under `folder`, relative to its root (empty for all); the root of `to_id`
    is this folder.
    """

    from_id: int
    to_id: int
    folder: bytes


def shared_locations(
    catalogue: Catalogue, move: LocationMove, source_id: int
) -> tuple[int, int, int]:
    """How many locations a source has, how many are moved, and how many of its own hold an image
    that is among those moved."""
    moved = _inside(move).with_only_columns(Location.c.image_id).where(CURRENT).correlate(None)
    own = sa.select(sa.func.count()).where(Location.c.source_id == source_id, CURRENT)
    with catalogue.read() as connection:
        return (
            connection.execute(own).scalar_one(),
            connection.execute(
                sa.select(sa.func.count()).select_from(moved.subquery())
            ).scalar_one(),
            connection.execute(own.where(Location.c.image_id.in_(moved))).scalar_one(),
        )


def relocate_source(
    catalogue: Catalogue,
    source_id: int,
    root: bytes,
    *,
    present: Sequence[int],
    missing: Sequence[int],
    moves: Sequence[LocationMove] = (),
) -> Mapping[LocationState, int]:
    """Record that a source's folder now lies at `root`; its locations by state then.

    `present` and `missing` are the ids of locations that are there or not. `moves` are between
    this source and others; of two locations that come to one path, the other source's is kept,
    because it was seen there. A source that had this root, and gives all it has, is no more; its
    terms complete those of this one. All of it is one transaction. Raises DataError if a source
    has that root and gives nothing.
    """
    this = Source.c.id == source_id
    with catalogue.write() as connection:
        set_states(connection, present, LocationState.PRESENT)
        set_states(connection, missing, LocationState.MISSING)
        for move in moves:
            _move_locations(connection, move, moved_id=source_id)
        for other in read_sources(connection, Source.c.root == root, ~this):
            if other.source_id not in {move.from_id for move in moves}:
                raise DataError(
                    f"{_shown(root)} is the root of the source `{other.name}` already.",
                    "Two sources cannot lie in one folder: check the path.",
                )
            for record in read_sources(connection, this):
                completed = {
                    field: getattr(other, field)
                    for field in ("licence", "attribution")
                    if not getattr(record, field)
                }
                if completed:
                    connection.execute(sa.update(Source).where(this).values(**completed))
            connection.execute(sa.delete(Source).where(Source.c.id == other.source_id))
        connection.execute(sa.update(Source).where(this).values(root=root))
        if moves:
            _forget_moved_within(connection, source_id)
        by_state = sa.select(Location.c.state, sa.func.count()).where(
            Location.c.source_id == source_id
        )
        return dict(connection.execute(by_state.group_by(Location.c.state)).all())


def _inside(move: LocationMove) -> Query:
    query: Query = sa.select(
        Location.c.id, Location.c.path, Location.c.image_id, Location.c.state
    ).where(Location.c.source_id == move.from_id)
    if move.folder:
        # "0" follows "/" in ASCII.
        query = query.where(
            Location.c.path > move.folder + b"/", Location.c.path < move.folder + b"0"
        )
    return query


def _move_locations(connection: Connection, move: LocationMove, *, moved_id: int) -> None:
    """Give locations to another source; `moved_id` is the source whose folder has moved."""
    start = len(move.folder) + 1 if move.folder else 0
    last = 0
    query = _inside(move).order_by(Location.c.id).limit(CHUNK)
    while rows := connection.execute(query.where(Location.c.id > last)).all():
        last = rows[-1].id
        current = [row for row in rows if row.state is not LocationState.CHANGED]
        resident = files_at(connection, move.to_id, [row.path[start:] for row in current])
        forgotten, replaced = set[int](), set[int]()
        for row in current:
            there = resident.get(row.path[start:])
            if there is None:
                continue
            former, newer = (row.id, row.image_id), (there.location_id, there.image_id)
            if move.to_id == moved_id:
                former, newer = newer, former
            if newer[1] is None:
                forgotten.add(newer[0])  # unreadable there: what was known of the path stays
            elif former[1] in (None, newer[1]):
                forgotten.add(former[0])
            else:
                replaced.add(former[0])
        set_states(connection, sorted(replaced), LocationState.CHANGED)
        connection.execute(sa.delete(Location).where(within(Location.c.id, sorted(forgotten))))
        changes = [
            {"at": row.id, "name": row.path[start:]} for row in rows if row.id not in forgotten
        ]
        if changes:
            change = sa.update(Location).where(Location.c.id == sa.bindparam("at"))
            change = change.values(source_id=move.to_id, path=sa.bindparam("name"))
            connection.execute(change, changes)


def _forget_moved_within(connection: Connection, source_id: int) -> None:
    """Forget missing files whose image lies elsewhere in the same source: they were renamed."""
    other = Location.alias()
    there = sa.exists().where(
        other.c.image_id == Location.c.image_id,
        other.c.source_id == source_id,
        other.c.state == LocationState.PRESENT,
    )
    missing = sa.and_(
        Location.c.source_id == source_id, Location.c.state == LocationState.MISSING, there
    )
    connection.execute(sa.delete(Location).where(missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedImages:
    """What goes with a source.

    `files` locations go. `images` usable images lie nowhere else and leave the pool; of these
    `labelled` have a label of people, `promoted` one of a round, by class.
    """

    files: int
    images: int
    labelled: int
    promoted: Mapping[CurrentLabel, int]


def drop_source(
    catalogue: Catalogue, source_id: int, *, actor: str = "", dry_run: bool = False
) -> DroppedImages:
    """Take out a source and its locations; images that lie nowhere else cannot be used then.

    Images, label events and features stay: a file with the same bytes brings an image back as it
    was. The drop is recorded for `curator log`. A dry run only counts.
    """
    of_source = Location.c.source_id == source_id
    with catalogue.read() if dry_run else catalogue.write() as connection:
        files = connection.execute(
            sa.select(sa.func.count()).where(of_source, CURRENT)
        ).scalar_one()
        leaving = _leaving(connection, source_id)
        promoted = {
            label: count
            for (label, origin), count in leaving.items()
            if label is not None and origin is Origin.PROMOTED
        }
        unlabelled = sum(count for (label, _), count in leaving.items() if label is None)
        images = sum(leaving.values())
        dropped = DroppedImages(
            files=files,
            images=images,
            labelled=images - unlabelled - sum(promoted.values()),
            promoted=promoted,
        )
        if not dry_run:
            (record,) = read_sources(connection, Source.c.id == source_id)
            row = {
                "source": record.name,
                "root": record.root,
                "files": files,
                "images": images,
                "labelled": dropped.labelled,
                "promoted": sum(promoted.values()),
                "actor": plain_text(actor),
                "made_at": now(),
            }
            connection.execute(sa.insert(SourceDrop).values(**row))
            values = connection.execute(sa.select(Location.c.image_id).where(of_source)).scalars()
            image_ids = sorted({image_id for image_id in values if image_id is not None})
            connection.execute(sa.delete(Location).where(of_source))
            connection.execute(sa.delete(Source).where(Source.c.id == source_id))
            refresh_usable(connection, image_ids)
    return dropped


def _leaving(
    connection: Connection, source_id: int
) -> dict[tuple[CurrentLabel | None, Origin | None], int]:
    """Usable images that lie in this source alone, by current label and origin."""
    state, other = ImageState.c, Location.alias()
    here = sa.select(Location.c.image_id).where(Location.c.source_id == source_id, CURRENT)
    elsewhere = sa.exists().where(
        other.c.image_id == state.image_id,
        other.c.source_id != source_id,
        other.c.state != LocationState.CHANGED,
    )
    query = (
        sa.select(state.standing, state.origin, sa.func.count())
        .where(state.usable == 1, state.image_id.in_(here), ~elsewhere)
        .group_by(state.standing, state.origin)
    )
    return {(label, origin): count for label, origin, count in connection.execute(query)}


def sample_locations(catalogue: Catalogue, source_id: int, size: int) -> list[tuple[bytes, int]]:
    """Path and image of at most `size` present locations, spread over a source."""
    here = sa.and_(Location.c.source_id == source_id, Location.c.state == LocationState.PRESENT)
    ends = sa.select(sa.func.min(Location.c.id), sa.func.max(Location.c.id)).where(here)
    locations: dict[bytes, int] = {}
    with catalogue.read() as connection:
        first, last = connection.execute(ends).one()
        query = sa.select(Location.c.path, Location.c.image_id).where(
            here, Location.c.image_id.is_not(None)
        )
        for step in range(size if first is not None else 0):
            start = first + (last - first) * step // size
            row = connection.execute(
                query.where(Location.c.id >= start).order_by(Location.c.id).limit(1)
            ).first()
            if row is not None and row.image_id is not None:
                locations[row.path] = row.image_id
    return list(locations.items())
