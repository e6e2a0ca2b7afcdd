"""Putting a backup in the place of a catalogue, and what that would lose.

The risk that audits have spent is carried over: an audit that the backup does not know,
or knows as open, is entered there as abandoned. Its frame, draw and answers are not.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from curator.base.files import sync_folder
from curator.catalogue import sqlite
from curator.catalogue.backend import Backend
from curator.catalogue.engine import Catalogue
from curator.catalogue.models import METADATA, MOVED
from curator.catalogue.moving import replace_rows
from curator.errors import LostCatalogueError

LOST_FRAME = "lost-"
"""Begins the digest of the frame of an audit of which only the spent risk was carried over."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LostLabel:
    """A decision of a person that a restore would lose."""

    path: str
    label: str
    origin: str
    actor: str | None
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What the catalogue holds and the backup does not; ids of rounds, audits and certificates."""

    images: int = 0
    labels: tuple[LostLabel, ...] = ()
    promotions: int = 0
    rounds: tuple[int, ...] = ()
    audits: tuple[int, ...] = ()
    certificates: tuple[int, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the backup holds all of it."""
        return self == Losses()


def read_backup_identity(backup: Path) -> str | None:
    """The workspace that a backup names as its own; None if it is from before they had names."""
    with sqlite.translated(backup), closing(sqlite.look_at(backup)) as connection:
        table = "SELECT 1 FROM sqlite_master WHERE name = 'workspace_identity'"
        if connection.execute(table).fetchone() is None:
            return None
        row = connection.execute("SELECT identity FROM workspace_identity").fetchone()
        return None if row is None else str(row[0]).removeprefix(MOVED)


_LOCKED = "SELECT count(outcome) FROM audit_item WHERE audit_id = ?"
"""How many answers of an audit a verdict has used."""
_ABANDON = "UPDATE audit SET state = 'abandoned', closed_at = opened_at"


def losses(path: Path, backup: Path) -> Losses:
    """What would be lost if `backup` took the place of the catalogue at `path`."""
    with sqlite.translated(path), closing(sqlite.look_at(path, beside=backup)) as connection:

        def lost(table: str, *same: str, columns: str = "old.id", more: str = "1") -> list[Any]:
            agree = " AND ".join(f"new.{name} IS old.{name}" for name in ("id", *same))
            return connection.execute(
                f"SELECT {columns} FROM main.{table} old WHERE {more} AND NOT EXISTS"  # noqa: S608
                f" (SELECT 1 FROM beside.{table} new WHERE {agree}) ORDER BY old.id"
            ).fetchall()

        path_query = (
            "(SELECT s.root || '/' || l.path FROM main.location l JOIN main.source s"
            " ON s.id = l.source_id WHERE l.image_id = old.image_id LIMIT 1)"
        )
        label_rows = lost(
            "label_event",
            *("image_id", "kind", "made_at"),
            columns=f"{path_query}, old.label, old.origin, old.actor, old.made_at",
            more="old.kind = 'assert'",
        )
        promoted = lost("label_event", "image_id", "kind", "made_at", more="old.kind = 'promote'")
        return Losses(
            images=len(lost("image", "sha256")),
            labels=tuple(
                LostLabel(
                    path=os.fsdecode(where or b"").encode("utf-8", "backslashreplace").decode(),
                    label=label,
                    origin=origin,
                    actor=actor,
                    made_at=_EPOCH + timedelta(microseconds=made_at),
                )
                for where, label, origin, actor, made_at in label_rows
            ),
            promotions=len(promoted),
            rounds=tuple(number for (number,) in lost("round", "finished_at")),
            audits=tuple(number for (number,) in lost("audit", "opened_at")),
            certificates=tuple(number for (number,) in lost("certificate", "issued_at")),
        )


@contextmanager
def as_file(backend: Backend) -> Iterator[Path]:
    """The catalogue as a SQLite file: its own, or a copy of it for as long as the block runs."""
    if isinstance(backend, sqlite.SqliteBackend):
        yield backend.home
        return
    folder = backend.home.parent / "looking"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        backend.copy_to(folder / backend.home.name)
        yield folder / backend.home.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace_catalogue(
    backend: Backend, backup: Path, *, identity: str, present: tuple[Connection, Path] | None
) -> None:
    """Put a copy of `backup` in the place of a catalogue, in one step.

    An older schema is migrated in the copy. Leases and claims in it are ended, and it becomes the
    workspace's own (`identity`). `present` is a transaction that writes in the catalogue, so that
    nobody else does until it ends, and a copy that says what audits spent; None where the
    catalogue cannot be read, or is another workspace's.
    """
    path = backend.home
    folder = path.parent / "restoring"
    shutil.rmtree(folder, ignore_errors=True)
    sqlite.make_folder(folder)
    copy = folder / path.name
    try:
        sqlite.copy_database(backup, copy)
        Catalogue.open(copy).close()
        with sqlite.translated(copy), closing(sqlite3.connect(copy)) as connection, connection:
            for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                raise LostCatalogueError(
                    f"{backup} is damaged: {table} row {row} refers to a missing row of {parent}.",
                    "Nothing was changed. `curator backup --list` lists the other backups.",
                )
            connection.execute("DELETE FROM lease")
            connection.execute("DELETE FROM claim")
            connection.execute(
                "INSERT INTO workspace_identity (id, identity) VALUES (1, ?)"
                " ON CONFLICT (id) DO UPDATE SET identity = excluded.identity",
                [identity],
            )
            if present is None:
                # Nobody knows any more which of its answers were used for a verdict.
                connection.execute(f"{_ABANDON} WHERE state = 'open'")
            else:
                _carry_spent_risk(connection, present[1])
        if present is None:
            _put(backend, copy)
        elif isinstance(backend, sqlite.SqliteBackend):
            _fill(present[0], copy)
        else:
            replace_rows(present[0], backend, copy)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _carry_spent_risk(connection: sqlite3.Connection, present: Path) -> None:
    """Enter the audits of the catalogue at `present` that the copy does not know as abandoned."""
    with closing(sqlite.look_at(present)) as look:
        look.row_factory = sqlite3.Row
        audits = [dict(row) for row in look.execute("SELECT * FROM audit ORDER BY id")]
        locked = [look.execute(_LOCKED, [audit["id"]]).fetchone()[0] for audit in audits]
    own = {row[1] for row in connection.execute("PRAGMA table_info(audit)")}
    for audit, used in zip(audits, locked, strict=True):
        same = [audit["opened_at"], audit["level"]]
        match = connection.execute(
            "SELECT id, state FROM audit WHERE (opened_at, level) = (?, ?)", same
        ).fetchone()
        if match is None:
            frame = connection.execute(
                "INSERT INTO frame (digest, size, round_id, details, made_at)"
                " VALUES (?, 1, NULL, '{}', ?)",
                [f"{LOST_FRAME}{audit['opened_at']}-{audit['id']}", audit["opened_at"]],
            ).lastrowid
            values = {name: audit[name] for name in audit.keys() & own - {"id"}}
            values |= {"frame_id": frame, "state": "abandoned"}
            values["closed_at"] = audit["closed_at"] or audit["opened_at"]
            names = ", ".join(values)
            marks = ", ".join("?" * len(values))
            connection.execute(
                f"INSERT INTO audit ({names}) VALUES ({marks})",  # noqa: S608 - own columns
                list(values.values()),
            )
        elif match[1] == "open" and (
            audit["state"] != "open"
            or used != connection.execute(_LOCKED, [match[0]]).fetchone()[0]
        ):
            # A verdict is known by now, of all or of a stratum: to answer again is to look twice.
            connection.execute(f"{_ABANDON} WHERE id = ?", [match[0]])


def _fill(connection: Connection, copy: Path) -> None:
    """Make the rows of a catalogue those of `copy`, as a part of this transaction."""
    run = connection.exec_driver_sql
    run("ATTACH DATABASE ? AS restored", (os.fspath(copy),))
    run("PRAGMA defer_foreign_keys = ON")
    triggers = run("SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger'").all()
    for name, _ in triggers:
        run(f"DROP TRIGGER main.{name}")
    for table in reversed(METADATA.sorted_tables):
        run(f"DELETE FROM main.{table.name}")  # noqa: S608 - own names, here and below
    for table in METADATA.sorted_tables:
        names = ", ".join(column.name for column in table.columns if column.computed is None)
        run(f"INSERT INTO main.{table.name} ({names}) SELECT {names} FROM restored.{table.name}")  # noqa: S608
    for _, statement in triggers:
        run(statement)
    # Numbers of scores are never given twice, whichever of the two gave more.
    run(
        "UPDATE main.sqlite_sequence SET seq = max(seq, coalesce((SELECT seq FROM"
        " restored.sqlite_sequence there WHERE there.name = main.sqlite_sequence.name), 0))"
    )


def _put(backend: Backend, copy: Path) -> None:
    """Put `copy` in the place of a catalogue that nobody can use."""
    if not isinstance(backend, sqlite.SqliteBackend):
        with Catalogue.open(backend.address, home=backend.home) as target:
            with target.write() as connection:
                replace_rows(connection, backend, copy)
            target.checkpoint()
        return
    path = backend.home
    try:
        # Who has it open sees the new state.
        with (
            sqlite.translated(path),
            closing(sqlite3.connect(copy)) as source,
            closing(sqlite3.connect(path, timeout=sqlite.BUSY_SECONDS)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return
    except LostCatalogueError:
        # Its log must go first: SQLite would apply it to the new file.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        os.replace(copy, path)  # noqa: PTH105
        sync_folder(path.parent)
