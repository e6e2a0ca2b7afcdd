"""What is specific to PostgreSQL: its transactions, plans, numbers and error messages.

Readers see one state (REPEATABLE READ). Writers wait for each other by advisory locks and then
see what is committed (READ COMMITTED: a snapshot from before the lock would be older than what the
last writer did). Ids are the next after the largest, as SQLite gives them: what was rolled back
leaves no gap, so the same work gives the same queues and manifests on both.

There are two copies of `image_state`. The commit of a round writes the one that is not in use, in
one transaction, while people label; then it stops them, takes over what they changed, and
exchanges the two. Which one a transaction means is settled when it begins, by its search path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.adapt import Buffer, Loader
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.schema import CreateTable

from curator.catalogue.backend import Turn
from curator.catalogue.bulk import (
    MOST_DELETED,
    count_temporary_rows,
    emptied,
    touched,
)
from curator.catalogue.constructs import plan_for_many
from curator.catalogue.models import METADATA, ImageState, ScoreGeneration
from curator.catalogue.sqlite import BUSY_SECONDS, NOTICE_SECONDS, Notify, silent
from curator.errors import (
    BusyError,
    CatalogueError,
    CuratorError,
    LostCatalogueError,
    LostConnectionError,
    StorageError,
)

OLDEST_VERSION = 14
CONNECT_SECONDS = 15
_TURN = 0x43555241
"""The advisory lock of who writes now; a staged round takes it only at its end."""
_STATES = _TURN + 1
"""The advisory lock of who changes more than people decide. It is taken before `_TURN`, and who
only records decisions never waits for it."""
_TRY_TURN = f"pg_try_advisory_xact_lock({_TURN})"
SECOND = "curator_second"
"""The schema with the second copy of `image_state`, and what belongs to it (migration 0013)."""
_COPIED = [column.name for column in ImageState.columns if column.computed is None]
_BYTE_ORDER = ("C", "POSIX", "C.UTF-8", "C.utf8")
"""Collations that compare text byte by byte, as SQLite does."""

_IN_THE_WAY = """
SELECT a.pid, a.usename, a.client_addr FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objid = %(lock)s
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

FEW = 1_000
"""Up to so many rows of a batch are joined through indexes, whatever the planner thinks."""

_PLAN_FOR_FEW = ", ".join(
    f"set_config('enable_{way}', 'off', true)" for way in ("hashjoin", "mergejoin", "seqscan")
)


class _NumberLoader(Loader):
    """`sum` and the like give NUMERIC here: a whole number, or a float."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return int(text) if text.lstrip(b"-").isdigit() else float(text)


class PostgresBackend:
    """A catalogue in a database of a PostgreSQL server (see `Backend`)."""

    def __init__(self, url: URL, home: Path) -> None:
        if url.password is not None or "password" in url.query:
            raise CatalogueError(
                "The address of the catalogue holds a password.",
                "Take it out of `catalogue.url`; put it into the environment (PGPASSWORD) or into"
                " ~/.pgpass.",
            )
        self.home = home
        self.role: str | None = None
        self._url = url.set(drivername="postgresql+psycopg")

    @property
    def name(self) -> str:
        """The URL."""
        return self._url.render_as_string()

    @property
    def address(self) -> str:
        """The URL."""
        return self.name

    def description(self) -> str:
        """URL, version, and whether damaged pages would be noticed."""
        with self._look() as connection:
            checked = connection.execute("SHOW data_checksums").fetchone()[0] == "on"
            number = connection.info.server_version
        version = f"PostgreSQL {number // 10_000}.{number % 10_000}"
        checksums = "with checksums of its pages" if checked else "without checksums of its pages"
        return f"{self.name} ({version}, {checksums})"

    def exists(self) -> bool:
        """Whether the database has tables."""
        return self.read_revision() is not None

    def is_writable(self) -> bool:
        """Whether this role may record labels."""
        query = "SELECT has_table_privilege('label_event', 'INSERT')"
        with self._look() as connection:
            return bool(connection.execute(query).fetchone()[0])

    def warnings(self) -> tuple[str, ...]:
        """None: what cannot be worked with is refused when it is opened."""
        return ()

    def read_revision(self, notify: Notify = silent) -> str | None:
        """The schema revision, None without tables; LostCatalogueError if it is no catalogue."""
        with self._look() as connection:
            tables = {
                name
                for (name,) in connection.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
                )
            }
            if not tables:
                return None
            if not {"alembic_version", "label_event"} <= tables:
                raise LostCatalogueError(
                    f"{self.name} is a database, but not a catalogue of curator.",
                    "Name another database in `catalogue.url`.",
                )
            revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
            if len(revisions) != 1:
                raise LostCatalogueError(
                    f"{self.name} does not say which schema it has: its table `alembic_version`"
                    f" has {len(revisions)} rows instead of 1."
                )
            return str(revisions[0][0])

    @contextmanager
    def _look(self) -> Iterator[Any]:
        """A plain connection; the server is one that a catalogue can be kept on."""
        with self.translated():
            arguments, options = sa.create_engine(self._url).dialect.create_connect_args(self._url)
            with psycopg.connect(
                *arguments, **options, connect_timeout=CONNECT_SECONDS, autocommit=True
            ) as connection:
                self._check_server(connection)
                yield connection

    def _check_server(self, connection: psycopg.Connection[Any]) -> None:
        version = connection.info.server_version // 10_000
        row = connection.execute(
            "SELECT current_setting('server_encoding'), datcollate, pg_backend_pid()"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        encoding, collation, process = row
        if version < OLDEST_VERSION:
            raise CatalogueError(
                f"{self.name} is PostgreSQL {version}.", f"Use {OLDEST_VERSION} or newer."
            )
        if encoding != "UTF8" or collation not in _BYTE_ORDER:
            raise CatalogueError(
                f"{self.name} has the encoding {encoding} and the collation {collation}; a"
                " catalogue needs UTF8 and C, or its order would not be that of SQLite.",
                f"Make its database with `createdb -T template0 -E UTF8 --locale=C"
                f" {self._url.database}`.",
            )
        if process != connection.info.backend_pid:
            # A pooler tells a number of its own when a client connects.
            raise CatalogueError(
                f"{self.name} is reached through a connection pooler, which may give each"
                " transaction another session; temporary tables would be lost.",
                "Name the server itself in `catalogue.url`.",
            )

    def prepare_place(self) -> None:
        """Nothing: the database is made by who runs the server."""

    def make_engine(
        self, notify: Notify, *, read_only: bool, temporary: sa.MetaData | None = None
    ) -> Engine:
        """An engine whose writers begin in turn, with the temporary tables."""
        engine = sa.create_engine(
            self._url,
            isolation_level="REPEATABLE READ",
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "curator"},
            execution_options={"preserve_rowcount": True},
        )
        tables = [] if temporary is None or read_only else temporary.sorted_tables
        statements = [str(CreateTable(table).compile(engine)) for table in tables]

        def prepare(raw: Any, record: Any) -> None:
            raw.adapters.register_loader("numeric", _NumberLoader)
            self._check_server(raw)
            # Plans for few rows look costly, and compiling one takes longer than running it.
            raw.execute("SET jit = off")
            info = record.info
            row = raw.execute(
                "SELECT session_user, current_schema(), current_setting('search_path'),"
                f" to_regclass('{SECOND}.in_use') IS NOT NULL"
            ).fetchone()
            self.role, info["schema"], info["path"], info["has_second"] = row
            info["is_empty"] = set[str]()
            info["temporary_rows"] = {table.name: 0 for table in tables}
            for statement in statements:
                raw.execute(statement)
            raw.commit()

        event.listen(engine, "connect", prepare)
        align = "" if temporary is None else _next_ids(engine)

        def begin(connection: Connection) -> None:
            turn = connection.get_execution_options().get("curator_write")
            info = connection.info
            info["is_noting"] = turn and not self._wait_for_turn(connection, turn, notify)
            if not info["has_second"]:
                return
            # Not while a round is staged: ids that it has given out cannot be seen yet.
            numbers = align if turn and turn is not Turn.STAGED and not info["is_noting"] else ""
            path = f"CASE WHEN is_second THEN {_set_path(info, second=True)} END"
            query = f"SELECT is_second, {path} {numbers} FROM {SECOND}.in_use"  # noqa: S608
            steps = [query]
            if turn and tables:
                counts = info["temporary_rows"]
                for name, rows in counts.items():
                    many = rows > MOST_DELETED
                    steps.append(f"{'TRUNCATE' if many else 'DELETE FROM'} {name}")
                    counts[name] = 0 if many else rows
                # Plans that were made for many rows would read whole tables for a few.
                steps += [] if info.get("is_few", True) else ["DISCARD PLANS"]
                info["is_empty"], info["is_few"] = set(counts), True
            raw: Any = connection.connection.dbapi_connection
            with raw.pipeline():
                cursors = [raw.execute(step) for step in steps]
            info["is_second"] = cursors[0].fetchone()[0]

        event.listen(engine, "begin", begin)
        if tables:
            event.listen(engine, "after_cursor_execute", _analyse)
            event.listen(engine, "rollback", _expect_rows)

        @event.listens_for(engine, "set_connection_execution_options")
        def writers_see_what_is_committed(connection: Connection, options: Any) -> None:
            if options.get("curator_write") and "isolation_level" not in options:
                connection.execution_options(isolation_level="READ COMMITTED")

        return engine

    def _wait_for_turn(self, connection: Connection, turn: Turn, notify: Notify) -> bool:
        """Take the locks of a writer; whether no round is staged beside it."""
        # With the driver's cursor: SQLAlchemy would end the transaction when the first wait ends.
        cursor: Any = connection.connection.cursor()
        shared = "_shared" if turn is Turn.SHORT else ""
        states, writes = f"pg_try_advisory_xact_lock{shared}({_STATES})", _TRY_TURN
        if turn is not Turn.SHORT:
            # In this order, or two would wait for each other.
            writes = "false" if turn is Turn.STAGED else f"CASE WHEN {states} THEN {_TRY_TURN} END"
        # A batch of a reviewer has few rows, and PostgreSQL would expect some thousands of a
        # temporary table that was never analysed, and read whole tables to join them.
        with cursor.connection.pipeline():
            cursor.execute(f"SELECT {states}, {writes}, {_PLAN_FOR_FEW}")
        is_quiet, is_writing = cursor.fetchone()[:2]
        if not is_quiet and turn is not Turn.SHORT:
            self._take(cursor, _STATES, notify)
        if not is_writing and turn is not Turn.STAGED:
            self._take(cursor, _TURN, notify)
        return is_quiet or turn is not Turn.SHORT

    def _take(self, cursor: Any, lock: int, notify: Notify) -> None:
        """Take a lock; if that takes long, say who holds it."""
        cursor.execute(f"SELECT pg_try_advisory_xact_lock({lock})")
        if cursor.fetchone()[0]:
            return
        take = f"SELECT pg_advisory_xact_lock({lock})"
        cursor.execute("SAVEPOINT turn")
        cursor.execute(f"SET LOCAL lock_timeout = {round(NOTICE_SECONDS * 1000)}")
        try:
            cursor.execute(take)
        except psycopg.errors.LockNotAvailable:
            cursor.execute("ROLLBACK TO turn")
            cursor.execute(_IN_THE_WAY, {"lock": lock})
            who = "another process"
            for process, role, address in cursor.fetchall():
                who = f"{role} on {address or 'the server itself'} (server process {process})"
            notify(f"{self.name} is locked by {who}. Waiting up to {BUSY_SECONDS:.0f} s.")
            cursor.execute(f"SET LOCAL lock_timeout = {round(BUSY_SECONDS * 1000)}")
            cursor.execute(take)
        cursor.execute("SET LOCAL lock_timeout = 0")

    def stage_states(self, connection: Connection) -> None:
        """Bring the copy that nobody reads up to date, and change that one from here on."""
        plan_for_many(connection)
        used, other = self._copies(connection)
        names, values = (", ".join(f"{of}{name}" for name in _COPIED) for of in ("", "u."))
        changes = ", ".join(f"{name} = excluded.{name}" for name in _COPIED[1:])
        other_values = ", ".join(f"o.{name}" for name in _COPIED)
        connection.exec_driver_sql(
            f"INSERT INTO {other} ({names}) SELECT {values} FROM {used} u"  # noqa: S608
            f" LEFT JOIN {other} o ON o.image_id = u.image_id"
            f" WHERE ({other_values}) IS DISTINCT FROM ({values})"
            f" ON CONFLICT (image_id) DO UPDATE SET {changes}"
        )
        connection.exec_driver_sql(f"ANALYZE {other}")
        second = not connection.info["is_second"]
        connection.exec_driver_sql(f"SELECT {_set_path(connection.info, second=second)}")

    def publish_states(self, connection: Connection, notify: Notify) -> None:
        """Stop who labels, take over what they changed, and exchange the copies."""
        self._take(connection.connection.cursor(), _TURN, notify)
        used, other = self._copies(connection)
        names, values = (", ".join(f"{of}{name}" for name in _COPIED[1:]) for of in ("", "u."))
        emptied(connection, touched)
        for statement in (
            f"INSERT INTO touched SELECT image_id FROM {SECOND}.changed",  # noqa: S608
            f"UPDATE {other} o SET ({names}) = ROW({values}) FROM touched t, {used} u"  # noqa: S608
            " WHERE u.image_id = t.image_id AND o.image_id = t.image_id",
            f"DELETE FROM {SECOND}.changed",  # noqa: S608
            f"UPDATE {SECOND}.in_use SET is_second = NOT is_second",  # noqa: S608
        ):
            connection.exec_driver_sql(statement)

    def _copies(self, connection: Connection) -> tuple[str, str]:
        """The copy of `image_state` in use when the transaction began, and the other one."""
        quote = connection.dialect.identifier_preparer.quote
        main, second = (
            f"{quote(name)}.image_state" for name in (connection.info["schema"], SECOND)
        )
        return (second, main) if connection.info["is_second"] else (main, second)

    def suspend_foreign_keys(self, connection: Connection) -> None:
        """Nothing: tables are altered in place."""

    def integrity_problems(self, connection: Connection) -> list[str]:
        """None: PostgreSQL compares its pages with their checksums when it reads them."""
        return []

    def foreign_key_problems(self, connection: Connection) -> list[str]:
        """None: PostgreSQL refuses such rows, in migrations too."""
        return []

    def settle(self, engine: Engine) -> None:
        """Let the planner know what bulk work has changed."""
        with engine.connect() as plain:
            connection = plain.execution_options(isolation_level="AUTOCOMMIT")
            for table in METADATA.sorted_tables:
                connection.exec_driver_sql(f'ANALYZE "{table.name}"')
            connection.exec_driver_sql(f"ANALYZE {SECOND}.image_state")

    def expect_many_writes(self, engine: Engine) -> None:
        """Nothing: the server keeps its log."""

    def copy_size(self) -> int:
        """What the database takes on the server's disk: a file is smaller."""
        with self._look() as connection:
            row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return int(row[0])

    def copy_to(self, destination: Path) -> None:
        """Write a consistent copy as a SQLite file, checked; never overwrites."""
        from curator.catalogue.moving import copy_to_file

        copy_to_file(self, destination)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn errors of the database into errors that say what to do.

        A violated constraint is a bug of ours and passes through as it is.
        """
        try:
            yield
        except CuratorError:
            raise
        except (sa.exc.DBAPIError, psycopg.Error) as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            explained = self._explain(cause)
            if explained is None:
                raise
            raise explained from error

    def _explain(self, error: Any) -> CuratorError | None:
        code = getattr(error, "sqlstate", None) or ""
        text = " ".join(str(error).split())
        if code == "3D000" or ("does not exist" in text and "database" in text):
            return CatalogueError(
                f"There is no database at {self.name}.",
                f"Make it: `createdb -T template0 -E UTF8 --locale=C {self._url.database}`.",
            )
        if code.startswith("28") or "authentication failed" in text or "no password" in text:
            return CatalogueError(
                f"{self.name} refuses the login ({text}).",
                "Set PGUSER and PGPASSWORD, or write ~/.pgpass.",
            )
        if code in ("53100", "53200"):
            return StorageError(
                f"The server of {self.name} has no room left ({text}).",
                "Make room there and run the command again; nothing of this step was kept.",
            )
        if code == "42501" or code == "25006":
            return StorageError(
                f"{self.name} cannot be written ({text}).", "Ask who runs the server for the right."
            )
        if code in ("55P03", "40P01", "40001", "57014"):
            return BusyError(
                f"{self.name} was busy ({text}).",
                "Wait until the other process has finished, then run the command again.",
            )
        if code in ("XX001", "XX002"):
            return LostCatalogueError(f"{self.name} is damaged ({text}).")
        is_lost = code[:2] in ("08", "57", "53") or not code
        if is_lost and isinstance(error, psycopg.OperationalError):
            return LostConnectionError(
                f"The connection to {self.name} failed ({text}).",
                "Check that the server runs and can be reached, then try again. What was committed"
                " before is kept, nothing of this step.",
            )
        return None


def _set_path(info: Any, *, second: bool) -> str:
    """Makes `image_state` mean one of its copies until the transaction ends."""
    path = info["path"].replace("'", "''")
    return f"set_config('search_path', '{f'{SECOND}, ' if second else ''}{path}', true)"


def _next_ids(engine: Engine) -> str:
    """Columns that set every sequence behind the largest id, so that a rollback leaves no gap.

    Numbers of scores are never given twice, so theirs is left alone.
    """
    quote = engine.dialect.identifier_preparer.quote
    parts = []
    for table in METADATA.sorted_tables:
        column = table.autoincrement_column
        if column is not None and table is not ScoreGeneration:
            query = f"SELECT max({column.name}) + 1 FROM {quote(table.name)}"  # noqa: S608
            sequence = f"{table.name}_{column.name}_seq"
            parts.append(f", setval('{sequence}', coalesce(({query}), 1), false)")
    return "".join(parts)


def _analyse(
    connection: Connection, cursor: Any, statement: str, values: Any, _: Any, many: bool
) -> None:
    # Nobody else counts the rows of temporary tables.
    name = count_temporary_rows(connection, statement, cursor.rowcount)
    if name is not None and cursor.rowcount > FEW:
        plan_for_many(connection)
        cursor.connection.execute(f"ANALYZE {name}")


def _expect_rows(connection: Connection) -> None:
    # What was truncated in this transaction is there again. A lost connection takes it along.
    if connection.invalidated:
        return
    counts = connection.info["temporary_rows"]
    counts.update(dict.fromkeys(counts, MOST_DELETED + 1))
