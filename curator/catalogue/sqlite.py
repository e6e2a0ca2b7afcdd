"""What is specific to SQLite: pragmas, triggers, backups, its error messages.

Write transactions begin IMMEDIATE, so that a second writer waits its turn instead of
failing; the write-ahead log lets readers go on meanwhile, and is kept short.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.schema import CreateTable

from curator.base.files import cannot_write, sync_folder
from curator.errors import (
    BusyError,
    CatalogueError,
    CuratorError,
    DataError,
    LostCatalogueError,
    StorageError,
)

T = TypeVar("T")

APPLICATION_ID = 0x43555241
"""Marks a SQLite file as a catalogue of curator ("CURA")."""
BUSY_SECONDS = 600.0
"""How long a lock is waited for; the commit of a huge round takes seconds."""
NOTICE_SECONDS = 1.0
"""After so long it is said who holds the lock."""
CACHE_KILOBYTES = 65_536
"""Pages of the database that a connection keeps in memory."""
WAL_LIMIT = 64 * 1024 * 1024
"""Bytes of write-ahead log kept on disk after a checkpoint."""
_ROOM = 4_000_000
"""Bytes of the log before SQLite begins it anew, which it does after a thousand pages."""

APPEND_ONLY = ("label_event", "round", "head_move", "exclusion", "source_drop")
"""Tables whose rows are never changed and never deleted."""

_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "afs", "9p", "lustre", "beegfs",
        "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.rclone", "ceph",
        "fuse.ceph", "gpfs", "ncpfs", "coda", "pvfs2", "orangefs", "davfs", "fuse.davfs",
    }
)  # fmt: skip


Notify = Callable[[str], None]
"""Told a sentence about what is waited for."""


def silent(text: str) -> None:
    """Tell nobody."""


class SqliteBackend:
    """A catalogue in a SQLite file (see `Backend`)."""

    def __init__(self, path: Path) -> None:
        self.home = path

    @property
    def name(self) -> str:
        """The path."""
        return str(self.home)

    @property
    def role(self) -> None:
        """None: a file knows no roles."""

    @property
    def address(self) -> Path:
        """The path."""
        return self.home

    def description(self) -> str:
        """File and version."""
        return f"{self.home} (SQLite {sqlite3.sqlite_version})"

    def exists(self) -> bool:
        """Whether there is a file."""
        return self.home.is_file()

    def is_writable(self) -> bool:
        """Whether SQLite can write it: it needs the file and its folder."""
        return is_writable(self.home)

    def warnings(self) -> tuple[str, ...]:
        """Locks cannot be trusted on a network file system."""
        kind = network_file_system(self.home.parent)
        if kind is None:
            return ()
        return (
            f"{self.home} lies on a network file system ({kind}), where SQLite's locks cannot be"
            " trusted. Keep the workspace on a local disk, or let only one computer use it.",
        )

    def read_revision(self, notify: Notify = silent) -> str | None:
        """See `read_revision`."""
        return read_revision(self.home, notify)

    def prepare_place(self) -> None:
        """Make the folder."""
        make_folder(self.home.parent)

    def make_engine(
        self, notify: Notify, *, read_only: bool, temporary: sa.MetaData | None = None
    ) -> Engine:
        """See `make_engine`."""
        return make_engine(self.home, notify, read_only=read_only, temporary=temporary)

    def stage_states(self, connection: Connection) -> None:
        """Nothing: nobody else writes to the file, nor reads what is not committed."""

    def publish_states(self, connection: Connection, notify: Notify) -> None:
        """Nothing changed meanwhile."""
        connection.exec_driver_sql("DELETE FROM touched")

    def suspend_foreign_keys(self, connection: Connection) -> None:
        """For this connection."""
        raw = connection.connection.dbapi_connection
        assert raw is not None
        raw.execute("PRAGMA foreign_keys = OFF")

    def translated(self) -> AbstractContextManager[None]:
        """See `translated`."""
        return translated(self.home)

    def integrity_problems(self, connection: Connection) -> list[str]:
        """What SQLite itself finds wrong with the file; empty when nothing is."""
        try:
            rows = connection.exec_driver_sql("PRAGMA integrity_check(100)").scalars().all()
        except sa.exc.DatabaseError as error:
            # A schema that was changed in its middle can stop the check itself.
            return [str(error.orig)]
        return [str(row) for row in rows if row != "ok"]

    def foreign_key_problems(self, connection: Connection) -> list[str]:
        """Rows that refer to rows which do not exist."""
        rows = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(100)
        return [
            f"{table} row {row} refers to a missing row of {parent}"
            for table, row, parent, _ in rows
        ]

    def settle(self, engine: Engine) -> None:
        """Move the write-ahead log into the database as far as readers allow, without waiting."""
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 0")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            cursor.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
        finally:
            connection.close()

    def expect_many_writes(self, engine: Engine) -> None:
        """See `make_room_in_log`."""
        make_room_in_log(engine, self.home)

    def copy_size(self) -> int:
        """The file and its log."""
        log = self.home.with_name(self.home.name + "-wal")
        return self.home.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def copy_to(self, destination: Path) -> None:
        """See `copy_database`."""
        copy_database(self.home, destination)


def make_engine(
    path: Path, notify: Notify, *, read_only: bool, temporary: sa.MetaData | None = None
) -> Engine:
    """An engine on one catalogue file, with pragmas and transactions set up.

    Connections that may write have the `temporary` tables. With `read_only` nothing is
    ever written, not even a lock file where the folder does not allow it. `notify` is told whom
    a writer waits for.
    """
    query = {"uri": "true"}
    if read_only:
        query["mode"] = "ro"
        if not os.access(path.parent, os.W_OK) and not _wal_in_use(path):
            query["immutable"] = "1"
    url = URL.create("sqlite", database=f"file:{_uri_path(path)}", query=query)

    def deserialize(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise LostCatalogueError(f"{path} is damaged: a value is not JSON.") from error

    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_SECONDS}, json_deserializer=deserialize
    )
    event.listen(engine, "connect", _prepare_read_only if read_only else _prepare)
    if temporary is not None and not read_only:
        tables = [str(CreateTable(t).compile(engine)) for t in temporary.sorted_tables]
        event.listen(engine, "connect", lambda raw, _: [raw.execute(table) for table in tables])

    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get("curator_write", False):
            connection.exec_driver_sql("BEGIN")
            return
        raw = connection.connection.dbapi_connection
        assert raw is not None
        _patiently(raw, path, notify, lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    event.listen(engine, "begin", begin)
    return engine


def _patiently(raw: Any, path: Path, notify: Notify, act: Callable[[], T]) -> T:
    """What `act` gives on this connection; if it waits long for a lock, say who holds it."""
    try:
        raw.execute(f"PRAGMA busy_timeout = {round(min(NOTICE_SECONDS, BUSY_SECONDS) * 1000)}")
        try:
            return act()
        except (sa.exc.OperationalError, sqlite3.OperationalError) as error:
            cause: Any = error.orig if isinstance(error, sa.exc.OperationalError) else error
            if cause.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
        notify(f"{path} is locked by {_lock_holder(path)}. Waiting up to {BUSY_SECONDS:.0f} s.")
        raw.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
        return act()
    finally:
        raw.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")


def _lock_holder(path: Path) -> str:
    """Who keeps others from writing, as well as this computer can tell."""
    import psutil

    # SQLite locks byte 120 of the index of the log while it writes, and bytes from 2**30 on of
    # the database itself where somebody wants it alone. (To open these files here would end the
    # locks of this process.)
    inodes: dict[str, int] = {}
    for file, lowest in ((path.with_name(path.name + "-shm"), 120), (path, 1 << 30)):
        with suppress(OSError):
            inodes[str(file.stat().st_ino)] = lowest
    locks = Path("/proc/locks").read_text() if Path("/proc/locks").is_file() else ""
    for lock in re.finditer(r": POSIX +\S+ +WRITE (\d+) \w+:\w+:(\d+) (\d+) (\w+)$", locks, re.M):
        pid, inode, first, last = int(lock[1]), lock[2], int(lock[3]), lock[4]
        if inode not in inodes:
            continue
        lowest = inodes[inode]
        if (last != "EOF" and int(last) < lowest) or (lowest == 120 < first):
            continue
        if pid == os.getpid():
            return "another thread of this process"
        with suppress(psutil.Error):
            words = psutil.Process(pid).cmdline()
            return f"process {pid} ({' '.join(words)[-100:]})"
        return f"process {pid}"
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"file:{_uri_path(path)}?mode=ro", uri=True)) as look,
    ):
        leases = look.execute("SELECT name, pid, host FROM lease").fetchall()
        if leases:
            return "another process, perhaps " + ", ".join(
                f"`{name}` (process {pid} on {host})" for name, pid, host in leases
            )
    return "another process"


def make_folder(folder: Path) -> None:
    """Make a folder for a catalogue. Raises StorageError if that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be made: {error.strerror}.",
            "Choose a folder that you may write to, or move away what is in its place.",
        ) from error


def is_writable(path: Path) -> bool:
    """Whether SQLite can write this file: it needs the file and its folder."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _uri_path(path: Path) -> str:
    return re.sub(r"[%?#]", lambda match: f"%{ord(match[0]):02x}", os.fspath(path.absolute()))


def _wal_in_use(path: Path) -> bool:
    wal = path.with_name(path.name + "-wal")
    return wal.exists() and wal.stat().st_size > 0


def _prepare(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"journal_size_limit = {WAL_LIMIT}",
        f"cache_size = {-CACHE_KILOBYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_read_only(connection: sqlite3.Connection, record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA cache_size = {-CACHE_KILOBYTES}")


def read_revision(path: Path, notify: Notify = silent) -> str | None:
    """The schema revision written in a catalogue file, None if the file is empty.

    Looks without writing. Raises LostCatalogueError when the file is not a catalogue, or does
    not record exactly one revision.
    """
    with translated(path), closing(_look(path)) as connection:
        try:
            names = _patiently(
                connection,
                path,
                notify,
                lambda: connection.execute("SELECT name FROM sqlite_master").fetchall(),
            )
        except UnicodeDecodeError as error:
            # SQLite quotes the damaged schema, and Python cannot decode what it quotes.
            raise LostCatalogueError(f"{path} is damaged: its schema is not text.") from error
        tables = {name for (name,) in names}
        if not tables:
            return None
        mark = connection.execute("PRAGMA application_id").fetchone()[0]
        if mark != APPLICATION_ID:
            raise LostCatalogueError(f"{path} is a database, but not a catalogue of curator.")
        if "alembic_version" not in tables:
            raise _no_revision(path, "is missing")
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if len(revisions) != 1:
            raise _no_revision(path, f"has {len(revisions)} rows instead of 1")
        return str(revisions[0][0])


def _no_revision(path: Path, reason: str) -> CatalogueError:
    return LostCatalogueError(
        f"{path} does not say which schema it has: its table `alembic_version` {reason}."
    )


def _look(path: Path) -> sqlite3.Connection:
    mode = "mode=rw"
    if not is_writable(path):
        mode = "mode=ro" if _wal_in_use(path) else "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{_uri_path(path)}?{mode}", uri=True, timeout=BUSY_SECONDS)


def look_at(path: Path, *, beside: Path | None = None) -> sqlite3.Connection:
    """A connection that only looks; another database that nobody has open is attached `beside`."""
    connection = _look(path)
    connection.execute("PRAGMA query_only = ON")
    if beside is not None:
        connection.execute(
            "ATTACH DATABASE ? AS beside", [f"file:{_uri_path(beside)}?mode=ro&immutable=1"]
        )
    return connection


def copy_database(path: Path, destination: Path) -> None:
    """A consistent copy of a catalogue, also while others write; never overwrites.

    Written under another name, checked, flushed to disk, and then renamed. Raises
    LostCatalogueError, and keeps nothing, if what was copied is damaged.
    """
    if destination.exists():
        raise StorageError(f"{destination} exists already.", "Move it away and try again.")
    partial = destination.with_name(destination.name + ".partial")
    make_folder(destination.parent)
    try:
        partial.unlink(missing_ok=True)
        with (
            translated(destination),
            closing(_look(path)) as source,
            closing(sqlite3.connect(partial)) as target,
        ):
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")
            # At once: in steps it would begin anew whenever somebody writes meanwhile.
            source.backup(target)
        problems = file_problems(partial)
        if problems:
            raise LostCatalogueError(f"{path} is damaged: {problems[0]}.")
        with partial.open("rb") as copy:
            os.fsync(copy.fileno())
        partial.rename(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise cannot_write(destination, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def file_problems(path: Path) -> list[str]:
    """What a quick check finds wrong with a database file that nobody has open."""
    # SQLite forgets CHECK constraints where it may only read. Nothing is written either way.
    writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    uri = f"file:{_uri_path(path)}?mode={'rw' if writable else 'ro&immutable=1'}"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return [str(error)]
    return [str(text) for (text,) in rows if text != "ok"]


def make_room_in_log(engine: Engine, path: Path) -> None:
    """Let the write-ahead log have its usual length before many short transactions come.

    A log that grows has its new length written down by the file system with every commit,
    and on a busy disk that takes many times as long as writing over what is there. Pages
    that are rolled back lengthen it and leave no other trace. Nothing is waited for.
    """
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size >= _ROOM:
        return
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("PRAGMA cache_size = 64")  # so that pages are written out at once
            cursor.execute("CREATE TABLE room (filling BLOB)")
            cursor.execute("INSERT INTO room VALUES (zeroblob(?))", (_ROOM + (1 << 19),))
        except sqlite3.OperationalError:
            pass  # somebody writes, or the disk is nearly full: it was only for speed
        finally:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
            cursor.execute(f"PRAGMA cache_size = {-CACHE_KILOBYTES}")
            cursor.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}")
    finally:
        connection.close()
    with log.open("rb") as written:
        os.fsync(written.fileno())


def network_file_system(path: Path) -> str | None:
    """The type of the file system that `path` lies on if it is a network one, else None."""
    mounts = Path("/proc/self/mounts")
    if not mounts.is_file():
        return None
    kind = file_system(path, mounts.read_text(encoding="utf-8", errors="surrogateescape"))
    return kind if is_network(kind) else None


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system that a path lies on, given the system's list of mounts."""
    resolved = path.resolve()
    deepest, kind = -1, ""
    for line in mounts.splitlines():
        _, mount, fstype, *_ = line.split(" ")
        # A space or a backslash in a mount point is written as an octal escape.
        folder = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), mount))
        if resolved.is_relative_to(folder) and len(folder.parts) >= deepest:
            deepest, kind = len(folder.parts), fstype
    return kind


def is_network(kind: str) -> bool:
    """Whether a type of file system belongs to another computer."""
    return kind in _NETWORK_FILE_SYSTEMS


@contextmanager
def translated(path: Path | str) -> Iterator[None]:
    """Turn errors of the database into errors that say what to do.

    A violated constraint is a bug of ours and passes through as it is.
    """
    try:
        yield
    except CuratorError:
        raise
    except OverflowError as error:
        if "SQLite" not in str(error):
            raise
        raise DataError("A number is larger than any in the catalogue.", "Correct it.") from error
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        explained = _explain(path, cause)
        if explained is None:
            raise
        raise explained from error


def _explain(path: Path | str, error: Any) -> CuratorError | None:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    text = str(error)
    # Where there is no room for the index of its log, SQLite calls it an error of the disk.
    is_full = code == sqlite3.SQLITE_IOERR and shutil.disk_usage(Path(path).parent).free < _ROOM
    if code == sqlite3.SQLITE_FULL or is_full:
        return StorageError(
            f"The disk is full: {path} could not be written.",
            "Make room and run the command again; nothing of this step was kept.",
        )
    if code == sqlite3.SQLITE_READONLY:
        return StorageError(
            f"{path} cannot be written.", "Check the rights of the file and its folder."
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyError(
            f"{path} has been locked for more than {BUSY_SECONDS:.0f} s by"
            f" {_lock_holder(Path(path))}.",
            "Wait until that process has finished or end it, then run the command again.",
        )
    # Some damage has no code of its own.
    damage = any(phrase in text for phrase in ("Could not decode", "unsupported file format"))
    if damage or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LostCatalogueError(f"{path} is damaged ({text}).")
    if code == sqlite3.SQLITE_CANTOPEN:
        return CatalogueError(f"{path} cannot be opened.", "Check that it exists and may be read.")
    if code == sqlite3.SQLITE_IOERR:
        return StorageError(
            f"Reading or writing {path} failed ({text}).",
            "Check the disk and its free space, then run the command again.",
        )
    return None
