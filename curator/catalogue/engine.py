"""Opening the catalogue, and the two kinds of transaction everything else runs in.

A catalogue is addressed by a path or by a SQLAlchemy URL. An older schema is migrated
after a copy was put beside it, a newer one is refused. A current one is opened without
loading Alembic, so that small commands stay quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from curator.base.files import resource_folder
from curator.catalogue.backend import Backend, Turn, backend_of
from curator.catalogue.bulk import temporary
from curator.catalogue.last_rows import write_last_rows
from curator.catalogue.models import METADATA, MOVED, Lease, WorkspaceIdentity
from curator.catalogue.sqlite import Notify, silent
from curator.errors import (
    BusyError,
    CatalogueError,
    CuratorError,
    LostCatalogueError,
    StorageError,
)

REVISION = "0013"
"""The newest schema revision; `db/versions` ends with it."""
_UNEXPECTED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    sa.exc.SQLAlchemyError,
)
"""What code raises that was given something it cannot be given."""
BACKUP_FOLDER = "backups"
"""Beside the catalogue; `curator backup` and `curator restore` look there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A schema revision, and the folder with the migrations that lead to it."""

    revision: str
    folder: Path

    def known_revisions(self) -> set[str]:
        """The revisions that migrations lead to; a migration's file name begins with its own."""
        return {file.name.partition("_")[0] for file in (self.folder / "versions").glob("*_*.py")}


def current_schema() -> Schema:
    """The schema that this code reads and writes; `db/versions` ends with it."""
    return Schema(revision=REVISION, folder=resource_folder("db"))


class Catalogue:
    """One open catalogue. Close it, or use it in a `with` statement.

    `read()` and `write()` give connections inside a transaction that ends with the block:
    committed when it ends well, rolled back when it raises. May be shared by threads;
    each block has a connection of its own. `notify` is told what is waited for. While
    this process holds leases (their tokens are in `held_leases`), no write is committed after one
    of them was ended. `has_written` says whether anything was committed through this object.
    """

    def __init__(
        self,
        engine: Engine,
        backend: Backend,
        *,
        read_only: bool,
        warnings: tuple[str, ...] = (),
        notify: Notify = silent,
    ) -> None:
        self.engine = engine
        self.backend = backend
        self.path = backend.home
        self.read_only = read_only
        self.warnings = warnings
        self.notify = notify
        self.held_leases: set[str] = set()
        self.has_written = False

    @classmethod
    def create(
        cls,
        where: Path | str,
        *,
        home: Path | None = None,
        schema: Schema | None = None,
        notify: Notify = silent,
    ) -> Catalogue:
        """Make a new catalogue. Raises CatalogueError if there is something already."""
        backend, schema = backend_of(where, home=home), schema or current_schema()
        if backend.exists() and backend.read_revision(notify) is not None:
            raise CatalogueError(
                f"{backend.name} exists already.",
                "Open it, or choose another folder for a new workspace.",
            )
        backend.prepare_place()
        with backend.translated():
            _upgrade(backend, schema, notify)
            engine = backend.make_engine(notify, read_only=False, temporary=temporary)
        return cls(engine, backend, read_only=False, warnings=backend.warnings(), notify=notify)

    @classmethod
    def open(
        cls,
        where: Path | str,
        *,
        home: Path | None = None,
        read_only: bool = False,
        schema: Schema | None = None,
        notify: Notify = silent,
    ) -> Catalogue:
        """Open an existing catalogue, and bring an older one up to date after a backup.

        Where the file or its folder cannot be written it is opened for reading, and a
        warning says so. Raises LostCatalogueError if it is missing, empty, damaged or no
        catalogue, CatalogueError if it is newer than this curator; StorageError if it would have
        to be migrated and cannot be written.
        """
        backend, schema = backend_of(where, home=home), schema or current_schema()
        if not backend.exists():
            raise LostCatalogueError(f"There is no catalogue at {backend.name}.")
        warnings = list(backend.warnings())
        if not read_only and not backend.is_writable():
            read_only = True
            warnings.append(f"{backend.name} cannot be written; it is opened for reading only.")
        revision = backend.read_revision(notify)
        if revision is None:
            # A new schema in it would pass for a workspace that never had an image.
            raise LostCatalogueError(f"The catalogue {backend.name} is empty: it has no tables.")
        if revision != schema.revision:
            warnings += _migrate(backend, revision, schema, read_only, notify)
        with backend.translated():
            engine = backend.make_engine(notify, read_only=read_only, temporary=temporary)
        return cls(engine, backend, read_only=read_only, warnings=tuple(warnings), notify=notify)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one unchanging state until the block ends."""
        with self.backend.translated(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, turn: Turn = Turn.ALONE) -> Iterator[Connection]:
        """A connection that may write; others wait for it, so keep the block short."""
        if self.read_only:
            raise StorageError(
                f"{self.backend.name} was opened for reading only.",
                "Make its folder writable for what this command wants to do.",
            )
        with self.backend.translated(), self.engine.connect() as plain:
            connection = plain.execution_options(curator_write=turn)
            with connection.begin():
                self.check_right(connection)
                yield connection
        self.has_written = True

    def check_right(self, connection: Connection) -> None:
        """Raises CatalogueError if the catalogue was moved while this process had it open.

        Raises BusyError if a lease that this process works under was ended by another one.
        """
        moved = sa.exists().where(WorkspaceIdentity.c.identity.startswith(MOVED))
        tokens = frozenset(self.held_leases)
        theirs = Lease.c.token.in_(tokens)
        lease_count = sa.select(sa.func.count()).select_from(Lease).where(theirs).scalar_subquery()
        is_moved, leases = connection.execute(sa.select(moved, lease_count)).one()
        if is_moved:
            raise CatalogueError(
                f"{self.backend.name} was moved away by `curator catalogue move` meanwhile.",
                "Nothing of this step was kept. Run the command again.",
            )
        if leases != len(tokens):
            raise BusyError(
                f"Another process has ended the lease of this one on {self.backend.name}: this"
                " process did not renew it in time, or `curator doctor --release` was called.",
                "What was committed before is kept, nothing of this step. Run the command again.",
            )

    @contextmanager
    def snapshot(self) -> Iterator[Catalogue]:
        """A catalogue whose every `read()` sees the one state of now, whatever others write.

        For one thread, and only until the block ends. Writers do not wait for it.
        """
        with self.read() as connection:
            yield _Snapshot(self, connection)

    def checkpoint(self) -> None:
        """Bring the write-ahead log back to a small size; call after bulk work."""
        if not self.read_only:
            # Without room for it the log stays long, and nothing that it holds is lost.
            with suppress(StorageError), self.backend.translated():
                self.backend.settle(self.engine)

    def expect_many_writes(self) -> None:
        """Make short transactions quicker from now on, as before a review; a moment's work."""
        if not self.read_only:
            with self.backend.translated():
                self.backend.expect_many_writes(self.engine)

    def backup(self, destination: Path) -> None:
        """Write a consistent copy; raises StorageError if it exists or cannot be written."""
        self.backend.copy_to(destination)

    def close(self) -> None:
        """Let go of the file, after writing down its last rows if this process added any."""
        if self.has_written:
            self.has_written = False
            # Without it `verify` knows less, and nothing is lost.
            with suppress(CuratorError, *_UNEXPECTED), self.read() as connection:
                write_last_rows(connection, self.path.parent)
        self.engine.dispose()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What fails on a damaged file fails anywhere, and is no bug: the file is looked at then.
        problems = []
        if isinstance(error, _UNEXPECTED):
            with suppress(CuratorError), self.read() as connection:
                problems = damage(self.backend, connection)
        self.close()
        if problems:
            raise LostCatalogueError(f"{self.backend.name} is damaged: {problems[0]}.") from error


def damage(backend: Backend, connection: Connection) -> list[str]:
    """What is wrong with the database itself, or with the names in its schema; empty if nothing."""
    if problems := backend.integrity_problems(connection):
        return problems
    inspector = sa.inspect(connection)
    for table in METADATA.sorted_tables:
        if not inspector.has_table(table.name):
            problems.append(f"it has no table {table.name}")
            continue
        present = {column["name"] for column in inspector.get_columns(table.name)}
        problems += [
            f"its table {table.name} has no column {column.name}"
            for column in table.columns
            if column.computed is None and column.name not in present
        ]
    return problems


class _Snapshot(Catalogue):
    """One transaction of a catalogue, in the shape of a catalogue."""

    def __init__(self, whole: Catalogue, connection: Connection) -> None:
        super().__init__(whole.engine, whole.backend, read_only=True, warnings=whole.warnings)
        self._connection = connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """The connection of the snapshot."""
        yield self._connection

    def close(self) -> None:
        """Nothing: the file belongs to the catalogue that this was taken of."""


def now() -> datetime:
    """The present instant, in UTC."""
    return datetime.now(UTC)


def backup_path(path: Path, reason: str) -> Path:
    """Where a backup of the catalogue at `path` that is made now belongs."""
    name = f"{path.stem}-{now():%Y%m%dT%H%M%S%f}-{reason}{path.suffix}"
    return path.parent / BACKUP_FOLDER / name


def _migrate(
    backend: Backend, revision: str, schema: Schema, read_only: bool, notify: Notify
) -> list[str]:
    name = backend.name
    if revision not in schema.known_revisions():
        if revision.isdigit() and revision > schema.revision:
            raise CatalogueError(
                f"{name} was written by a newer curator: its schema is {revision}, and this one"
                f" knows {schema.revision}.",
                "Use that curator, or a newer one.",
            )
        raise LostCatalogueError(
            f"{name} has the schema {revision!r}, which no curator has written."
        )
    if read_only:
        raise StorageError(
            f"{name} has an older schema and has to be migrated, but it cannot be written here.",
            "Make the workspace writable and run any command once.",
        )
    copy = backup_path(backend.home, f"schema-{revision}")
    backend.copy_to(copy)
    with backend.translated():
        _upgrade(backend, schema, notify)
    return [
        f"The catalogue was brought from schema {revision} to {schema.revision};"
        f" {copy} is a copy from before."
    ]


def _upgrade(backend: Backend, schema: Schema, notify: Notify) -> None:
    """Run the migrations up to a schema in one transaction.

    Killed or failed, it leaves the catalogue as it was. Of two processes that open an old
    catalogue at once, the second waits and finds nothing to do. Raises CatalogueError if rows
    would refer to nothing afterwards.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.folder).replace("%", "%%"))
    engine = backend.make_engine(notify, read_only=False)
    try:
        with engine.connect() as plain:
            backend.suspend_foreign_keys(plain)
            connection = plain.execution_options(curator_write=Turn.ALONE)
            with connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, schema.revision)
                problems = backend.foreign_key_problems(connection)
                if problems:
                    raise CatalogueError(
                        f"The catalogue cannot be brought up to date: {problems[0]}.",
                        "Nothing was changed. Keep a copy of it, and report this.",
                    )
    finally:
        engine.dispose()
