"""Sources: the named root folders that images come from."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.catalogue.bulk import plain_text, records
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
    """The source with this name."""
    with catalogue.read() as connection:
        return next(iter(read_sources(connection, Source.c.name == plain_text(name))), None)


def list_sources(catalogue: Catalogue) -> list[SourceRecord]:
    """All sources, in the order in which they were added."""
    with catalogue.read() as connection:
        return read_sources(connection)


def forget_empty_sources(catalogue: Catalogue, *, but: Set[int] = frozenset()) -> None:
    """Take out the sources under which no file was ever catalogued, except those in `but`."""
    holds_files = sa.exists().where(Location.c.source_id == Source.c.id)
    with catalogue.write() as connection:
        connection.execute(sa.delete(Source).where(~holds_files, Source.c.id.not_in(sorted(but))))


def relocate_source(catalogue: Catalogue, source_id: int, root: bytes) -> SourceRecord:
    """Record that a source's folder now lies at `root`; its locations move with it.

    Raises DataError if another source has that root.
    """
    this = Source.c.id == source_id
    with catalogue.write() as connection:
        for other in read_sources(connection, Source.c.root == root, ~this):
            raise DataError(
                f"{_shown(root)} is the root of the source `{other.name}` already.",
                "Two sources cannot lie in one folder: check the path.",
            )
        connection.execute(sa.update(Source).where(this).values(root=root))
        for moved in read_sources(connection, this):
            return moved
        raise DataError(
            f"There is no source with the number {source_id}.", "List them with `status`."
        )
