"""Opening the catalogue, and the two kinds of transaction everything else runs in.

A catalogue is addressed by a path or by a SQLAlchemy URL. An older schema is migrated
after a copy was put beside it, a newer one is refused. A current one is opened without
loading Alembic, so that small commands stay quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from sqlalchemy.engine import Connection, Engine, make_url

from curator.catalogue import sqlite
from curator.errors import CatalogueError, StorageError

REVISION = "0001"
"""The schema revision that this code reads and writes; `db/versions` ends with it."""


class Catalogue:
    """One open catalogue. Close it, or use it in a `with` statement.

    `read()` and `write()` give connections inside a transaction that ends with the block:
    committed when it ends well, rolled back when it raises. May be shared by threads;
    each block has a connection of its own.
    """

    def __init__(
        self, engine: Engine, path: Path, *, read_only: bool, warnings: tuple[str, ...]
    ) -> None:
        self.engine = engine
        self.path = path
        self.read_only = read_only
        self.warnings = warnings

    @classmethod
    def create(cls, where: Path | str) -> Catalogue:
        """Make a new catalogue. Raises CatalogueError if there is something already."""
        path = _path_of(where)
        if path.exists() and path.stat().st_size > 0:
            raise CatalogueError(
                f"{path} exists already.", "Open it, or choose another folder for a new workspace."
            )
        with sqlite.translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            engine = sqlite.make_engine(path, read_only=False)
            try:
                _upgrade(engine)
            except BaseException:
                engine.dispose()
                raise
        return cls(engine, path, read_only=False, warnings=_warnings(path))

    @classmethod
    def open(cls, where: Path | str, *, read_only: bool = False) -> Catalogue:
        """Open an existing catalogue, and bring an older one up to date after a backup.

        Raises CatalogueError if it is missing, damaged, no catalogue, or newer than this
        curator; StorageError if it would have to be migrated and cannot be written.
        """
        path = _path_of(where)
        if not path.is_file():
            raise CatalogueError(
                f"There is no catalogue at {path}.",
                "Restore it from `.curator/backups`, or make a workspace with `curator init`.",
            )
        warnings = list(_warnings(path))
        revision = sqlite.read_revision(path)
        if revision != REVISION:
            warnings += _migrate(path, revision, read_only)
        with sqlite.translated(path):
            engine = sqlite.make_engine(path, read_only=read_only)
        return cls(engine, path, read_only=read_only, warnings=tuple(warnings))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one unchanging state until the block ends."""
        with sqlite.translated(self.path), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection that may write; others wait for it, so keep the block short."""
        if self.read_only:
            raise StorageError(
                f"{self.path} was opened for reading only.",
                "Make its folder writable for what this command wants to do.",
            )
        with sqlite.translated(self.path), self.engine.connect() as plain:
            connection = plain.execution_options(curator_write=True)
            with connection.begin():
                yield connection

    def checkpoint(self) -> None:
        """Bring the write-ahead log back to a small size; call after bulk work."""
        if not self.read_only:
            with (
                sqlite.translated(self.path),
                self.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection,
            ):
                sqlite.checkpoint(connection)

    def backup(self, destination: Path) -> None:
        """Write a consistent copy; raises StorageError if it exists or cannot be written."""
        sqlite.copy_database(self.path, destination)

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def now() -> datetime:
    """The present instant, in UTC."""
    return datetime.now(UTC)


def _path_of(where: Path | str) -> Path:
    if isinstance(where, Path):
        return where
    if not re.match(r"^[a-z][a-z0-9+]*:", where):
        return Path(where)
    url = make_url(where)
    if url.get_backend_name() != "sqlite":
        raise CatalogueError(
            f"The catalogue {url.render_as_string()} is not in SQLite.",
            "This version of curator keeps its catalogue in a SQLite file.",
        )
    if not url.database or url.database == ":memory:":
        raise CatalogueError("A catalogue needs a file.", "Name one: sqlite:///catalogue.sqlite")
    return Path(url.database)


def _warnings(path: Path) -> tuple[str, ...]:
    kind = sqlite.network_file_system(path.parent)
    if kind is None:
        return ()
    return (
        f"{path} lies on a network file system ({kind}), where SQLite's locks cannot be"
        " trusted. Keep the workspace on a local disk, or let only one computer use it.",
    )


def _migrate(path: Path, revision: str | None, read_only: bool) -> list[str]:
    if revision is not None and not (revision.isdigit() and revision < REVISION):
        raise CatalogueError(
            f"{path} was written by a newer curator: its schema is {revision}, and this one"
            f" knows {REVISION}.",
            "Use that curator, or a newer one.",
        )
    if read_only:
        raise StorageError(
            f"{path} has an older schema and has to be migrated, but it cannot be written here.",
            "Make the workspace writable and run any command once.",
        )
    notes = []
    if revision is not None:
        stamp = now().strftime("%Y%m%dT%H%M%S%f")
        copy = path.parent / "backups" / f"{path.stem}-schema-{revision}-{stamp}{path.suffix}"
        sqlite.copy_database(path, copy)
        notes.append(
            f"The catalogue was brought from schema {revision} to {REVISION};"
            f" {copy} is a copy from before."
        )
    with sqlite.translated(path):
        engine = sqlite.make_engine(path, read_only=False)
        try:
            _upgrade(engine)
        finally:
            engine.dispose()
    return notes


def _upgrade(engine: Engine) -> None:
    from curator.catalogue.migrate import upgrade

    upgrade(engine)
