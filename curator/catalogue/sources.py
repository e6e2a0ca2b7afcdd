"""Sources: the named root folders that images come from."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.catalogue.bulk import Fetched, Query, plain_text
from curator.catalogue.engine import Catalogue, now
from curator.catalogue.models import Location, Source
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
    with catalogue.write() as connection:
        known = _one(connection, Source.c.name == name) or _one(connection, Source.c.root == root)
        if known is None:
            row = {"name": name, "root": root, "licence": licence, "attribution": attribution}
            connection.execute(sa.insert(Source).values(**row, added_at=now()))
        else:
            _check_same(known, name, root)
            changes = _completed(known, {"licence": licence, "attribution": attribution})
            if changes:
                of_this = Source.c.id == known.source_id
                connection.execute(sa.update(Source).where(of_this).values(**changes))
        added = _one(connection, Source.c.name == name)
        assert added is not None
        return added


def _check_same(known: SourceRecord, name: str, root: bytes) -> None:
    if known.name != name:
        raise DataError(
            f"The folder {_shown(root)} is the source `{known.name}` already.",
            f"Leave the name `{name}` out, or use `{known.name}`.",
        )
    if known.root != root:
        raise DataError(
            f"The source `{name}` lies at {_shown(known.root)}, not at {_shown(root)}.",
            f"Choose another name, or run `curator relocate {name} {_shown(root)}` if it moved.",
        )


def _completed(known: SourceRecord, given: dict[str, str]) -> dict[str, str]:
    changes = {}
    for field, value in given.items():
        before = getattr(known, field)
        if value and before and value != before:
            raise DataError(
                f"The source `{known.name}` has the {field} {before!r}, not {value!r}.",
                "Use another source name for files under other terms.",
            )
        if value and not before:
            changes[field] = value
    return changes


def _shown(path: bytes) -> str:
    return plain_text(os.fsdecode(path))


def _one(connection: Connection, condition: sa.ColumnElement[bool]) -> SourceRecord | None:
    row = connection.execute(_select().where(condition)).first()
    return None if row is None else _record(row)


def _select() -> Query:
    return sa.select(
        Source.c.id, Source.c.name, Source.c.root, Source.c.licence, Source.c.attribution
    )


def _record(row: Fetched) -> SourceRecord:
    source_id, name, root, licence, attribution = row
    return SourceRecord(
        source_id=source_id, name=name, root=root, licence=licence, attribution=attribution
    )


def find_source(catalogue: Catalogue, name: str) -> SourceRecord | None:
    """The source with this name."""
    with catalogue.read() as connection:
        return _one(connection, Source.c.name == plain_text(name))


def list_sources(catalogue: Catalogue) -> list[SourceRecord]:
    """All sources, in the order in which they were added."""
    with catalogue.read() as connection:
        return [_record(row) for row in connection.execute(_select().order_by(Source.c.id))]


def forget_empty_sources(catalogue: Catalogue, *, but: Set[int] = frozenset()) -> None:
    """Take out the sources under which no file was ever catalogued, except those in `but`."""
    holds_files = sa.exists().where(Location.c.source_id == Source.c.id)
    with catalogue.write() as connection:
        connection.execute(sa.delete(Source).where(~holds_files, Source.c.id.not_in(sorted(but))))


def relocate_source(catalogue: Catalogue, source_id: int, root: bytes) -> SourceRecord:
    """Say that a source's folder now lies at `root`; its locations move with it.

    Raises DataError if another source has that root.
    """
    with catalogue.write() as connection:
        other = _one(connection, sa.and_(Source.c.root == root, Source.c.id != source_id))
        if other is not None:
            raise DataError(
                f"{_shown(root)} is the root of the source `{other.name}` already.",
                "Two sources cannot lie in one folder: check the path.",
            )
        connection.execute(sa.update(Source).where(Source.c.id == source_id).values(root=root))
        moved = _one(connection, Source.c.id == source_id)
        if moved is None:
            raise DataError(
                f"There is no source with the number {source_id}.", "List them with `status`."
            )
        return moved
