"""What a database must do for the catalogue, and which one an address names.

Everything else in the catalogue is the same on SQLite and PostgreSQL: `constructs` holds the SQL
that they write differently, a backend what they do differently.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from curator.catalogue.sqlite import Notify, SqliteBackend
from curator.errors import CatalogueError


class Turn(StrEnum):
    """What a transaction that writes lets others write meanwhile.

    A file lets nobody. On a server people's decisions, claims and leases (`SHORT`, one at a time)
    go on beside a round that is `STAGED`, until `publish_states`.
    """

    ALONE = "alone"
    SHORT = "short"
    STAGED = "staged"


class Backend(Protocol):
    """One catalogue in a database: its engine, transactions, checks and copies.

    `name` is what messages call it. `home` is its file, or where its file would be: backups lie
    beside it.
    """

    @property
    def name(self) -> str: ...

    @property
    def home(self) -> Path: ...

    @property
    def role(self) -> str | None:
        """Who a server takes this process for, once it is connected; None for a file."""

    @property
    def address(self) -> Path | str:
        """What `backend_of` makes this backend from."""

    def description(self) -> str:
        """Where the catalogue is and in which version of which database, as a phrase."""

    def exists(self) -> bool:
        """Whether there is something at the address."""

    def is_writable(self) -> bool:
        """Whether this user may write there."""

    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the place."""

    def read_revision(self, notify: Notify) -> str | None:
        """The schema revision, None without tables; LostCatalogueError if it is no catalogue."""

    def prepare_place(self) -> None:
        """Make a new catalogue possible there."""

    def make_engine(
        self, notify: Notify, *, read_only: bool, temporary: sa.MetaData | None = None
    ) -> Engine:
        """An engine whose connections see one state while they read and write one at a time.

        A connection with the option `curator_write`, a `Turn`, waits for it when it begins.
        """

    def stage_states(self, connection: Connection) -> None:
        """Let a `STAGED` transaction change current labels in a copy that nobody reads."""

    def publish_states(self, connection: Connection, notify: Notify) -> None:
        """Make that copy the one that all read once this transaction commits; labels wait now.

        Images whose state changed meanwhile have it there, too, and are in `touched`: their
        labels have to be derived again.
        """

    def suspend_foreign_keys(self, connection: Connection) -> None:
        """Let a migration rebuild tables; before its transaction begins."""

    def translated(self) -> AbstractContextManager[None]:
        """Turns errors of the database into errors that say what to do."""

    def integrity_problems(self, connection: Connection) -> list[str]:
        """What the database itself finds wrong with its storage."""

    def foreign_key_problems(self, connection: Connection) -> list[str]:
        """Rows that refer to rows which do not exist."""

    def settle(self, engine: Engine) -> None:
        """Tidy up after bulk work."""

    def expect_many_writes(self, engine: Engine) -> None:
        """Make short transactions quicker from now on."""

    def copy_size(self) -> int:
        """About how many bytes a copy takes."""

    def copy_to(self, destination: Path) -> None:
        """Write a consistent copy as a SQLite file, checked; never overwrites."""


def backend_of(where: Path | str, *, home: Path | None = None) -> Backend:
    """The backend for a path or a URL; `home` is where the file of a server's catalogue would be.

    Raises CatalogueError if the URL is of another database.
    """
    if isinstance(where, Path) or not re.match(r"^[a-z][a-z0-9+]*:", where):
        return SqliteBackend(Path(where))
    url = make_url(where)
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise CatalogueError(
                "A catalogue needs a file.", "Name one: sqlite:///catalogue.sqlite"
            )
        return SqliteBackend(Path(url.database))
    if url.get_backend_name() == "postgresql":
        # Loading its dialect takes as long as a small command.
        from curator.catalogue.postgres import PostgresBackend

        return PostgresBackend(url, home or Path("catalogue.sqlite"))
    raise CatalogueError(
        f"The catalogue {url.render_as_string()} is in a database that curator does not support.",
        "Use a file, or postgresql+psycopg://HOST/DATABASE.",
    )
