"""Copying a whole catalogue from one database to another, either way, and comparing the two.

Rows are read in one transaction and written in one. Counts and digests of every table are taken
while they are read and again from what was written. Leases and claims are not copied: they belong
to processes. On PostgreSQL this is also how backups are made and restored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from curator.base.files import cannot_write, sync_folder
from curator.catalogue.backend import Backend
from curator.catalogue.bulk import CHUNK
from curator.catalogue.constructs import copy_rows
from curator.catalogue.engine import Catalogue, Schema, current_schema
from curator.catalogue.models import MOVED, WorkspaceIdentity
from curator.catalogue.sqlite import make_folder, silent
from curator.errors import CatalogueError, LostCatalogueError, StorageError

_LEFT_OUT = ("alembic_version", "lease", "claim")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCopy:
    """A table that was copied: its rows, and the SHA-256 of their values in order of their keys."""

    table: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class _TablePlan:
    """A table and its columns that hold values of their own."""

    name: str
    columns: tuple[str, ...]
    query: str


def copy_to_file(backend: Backend, destination: Path) -> None:
    """Write a consistent copy of a catalogue as a SQLite file; never overwrites.

    Written under another name, compared, flushed to disk, and then renamed.
    """
    if destination.exists():
        raise StorageError(f"{destination} exists already.", "Move it away and try again.")
    partial = destination.with_name(destination.name + ".partial")
    make_folder(destination.parent)
    revision = backend.read_revision(silent)
    if revision is None:
        raise LostCatalogueError(f"The catalogue {backend.name} is empty: it has no tables.")
    schema = Schema(revision=revision, folder=current_schema().folder)
    try:
        _remove(partial)
        engine = backend.make_engine(silent, read_only=True)
        try:
            with (
                backend.translated(),
                engine.connect() as connection,
                connection.begin(),
                Catalogue.create(partial, schema=schema) as copy,
            ):
                with copy.write() as written:
                    _copy_all(connection, written, copy.backend)
                copy.checkpoint()
        finally:
            engine.dispose()
        sync_folder(destination.parent)
        partial.rename(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise cannot_write(destination, error) from error
    finally:
        _remove(partial)


def _remove(file: Path) -> None:
    with suppress(OSError):
        for suffix in ("", "-wal", "-shm"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)


def move_catalogue(
    catalogue: Catalogue, target: Backend, announce: Callable[[], None]
) -> list[TableCopy]:
    """Copy all of a catalogue to a place where there is none; others cannot write meanwhile.

    `announce` writes down the new place while they wait; then they are refused here.
    Raises CatalogueError if there is a catalogue already, or if what was written there differs.
    """
    with catalogue.write() as connection:
        with Catalogue.create(target.address, home=target.home) as copy:
            with copy.write() as written:
                copies = _copy_all(connection, written, target)
            copy.checkpoint()
        announce()
        # Whoever waits to write, or opens this place later, must not take it for the catalogue.
        name = sa.literal(MOVED) + WorkspaceIdentity.c.identity
        connection.execute(sa.update(WorkspaceIdentity).values(identity=name))
    return copies


def replace_rows(connection: Connection, backend: Backend, file: Path) -> None:
    """Make the catalogue at a server what the SQLite file is, in the caller's transaction."""
    with Catalogue.open(file) as source, source.read() as rows:
        _copy_all(rows, connection, backend)


def _copy_all(source: Connection, target: Connection, backend: Backend) -> list[TableCopy]:
    """Replace all rows of the target by those of the source, and compare, in one transaction."""
    plans = _table_plans(source)
    _empty(target, plans)
    copies = [_copy_table(source, target, plan) for plan in plans]
    largest = _largest_generation(source)
    if target.dialect.name == "postgresql":
        numbers = "setval('score_generation_id_seq', %s, true)" if largest else "%s"
        target.exec_driver_sql(f"SELECT {numbers}", (largest,))
    elif largest:
        target.exec_driver_sql(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'score_generation', 0 WHERE NOT"
            " EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'score_generation')"
        )
        target.exec_driver_sql(
            "UPDATE sqlite_sequence SET seq = ? WHERE name = 'score_generation'", (largest,)
        )
    for problem in backend.foreign_key_problems(target):
        raise LostCatalogueError(f"What was copied does not fit together: {problem}.")
    for plan, copy in zip(plans, copies, strict=True):
        written = _digest(plan, _rows(target, plan))
        if written != copy:
            raise CatalogueError(
                f"The table {plan.name} of {backend.name} holds {written.rows:,} rows that are"
                f" not the {copy.rows:,} that were copied.",
                "Nothing was changed, and the catalogue that was copied is as it was.",
            )
    return copies


def _table_plans(connection: Connection) -> list[_TablePlan]:
    """The tables of a catalogue of any schema, those that are referred to first."""
    tables = sa.MetaData()
    # By its name: the search path may name the second copy of `image_state` first.
    tables.reflect(connection, schema=connection.info.get("schema"))
    quote = connection.dialect.identifier_preparer.quote
    plans = []
    for table in tables.sorted_tables:
        if table.name in _LEFT_OUT:
            continue
        stored = [column for column in table.columns if column.computed is None]
        texts = [
            f"CAST({quote(column.name)} AS TEXT)"
            if isinstance(column.type, sa.JSON)
            else quote(column.name)
            for column in stored
        ]
        keys = ", ".join(quote(column.name) for column in table.primary_key.columns)
        query = f"SELECT {', '.join(texts)} FROM {quote(table.name)} ORDER BY {keys}"  # noqa: S608
        plans.append(_TablePlan(table.name, tuple(column.name for column in stored), query))
    return plans


def _empty(connection: Connection, plans: Sequence[_TablePlan]) -> None:
    """Delete all rows; the foreign keys of SQLite are looked at when the transaction ends."""
    quote = connection.dialect.identifier_preparer.quote
    if connection.dialect.name == "postgresql":
        tables = [plan.name for plan in plans]
        schema = quote(connection.info["schema"])
        both = [f"{schema}.image_state", "curator_second.image_state"]
        names = ", ".join([*map(quote, tables), "lease", "claim", *both])
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} DISABLE TRIGGER USER")
        connection.exec_driver_sql(f"TRUNCATE {names}")
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ENABLE TRIGGER USER")
        return
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    for plan in reversed(plans):
        count = connection.exec_driver_sql(f"SELECT count(*) FROM {quote(plan.name)}").scalar()  # noqa: S608
        if count:
            connection.exec_driver_sql(f"DELETE FROM {quote(plan.name)}")  # noqa: S608


def _rows(connection: Connection, plan: _TablePlan) -> Iterator[Sequence[Sequence[Any]]]:
    options = {"stream_results": True, "max_row_buffer": CHUNK}
    result = connection.exec_driver_sql(plan.query, execution_options=options)
    yield from result.partitions(CHUNK)


def _copy_table(source: Connection, target: Connection, plan: _TablePlan) -> TableCopy:
    def passed_on() -> Iterator[Sequence[Sequence[Any]]]:
        for rows in _rows(source, plan):
            plain = [tuple(row) for row in rows]
            if target.dialect.name == "postgresql":
                copy_rows(target, plan.name, plan.columns, plain)
            else:
                quote = target.dialect.identifier_preparer.quote
                names = ", ".join(map(quote, plan.columns))
                marks = ", ".join("?" * len(plan.columns))
                target.exec_driver_sql(
                    f"INSERT INTO {quote(plan.name)} ({names}) VALUES ({marks})",  # noqa: S608
                    plain,
                )
            yield rows

    return _digest(plan, passed_on())


def _digest(plan: _TablePlan, chunks: Iterator[Sequence[Sequence[Any]]]) -> TableCopy:
    digest, count = hashlib.sha256(), 0
    for rows in chunks:
        count += len(rows)
        for row in rows:
            digest.update(repr(tuple(row)).encode("utf-8", "backslashreplace"))
    return TableCopy(table=plan.name, rows=count, digest=digest.hexdigest())


def _largest_generation(connection: Connection) -> int:
    """The largest number that scores were ever given; 0 before the first."""
    query = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'score_generation'"
    if connection.dialect.name == "postgresql":
        query = (
            "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END"
            " FROM score_generation_id_seq"
        )
    return int(connection.exec_driver_sql(query).scalar_one())
