"""Backing up the catalogue of a workspace, and restoring a backup.

A restore says first what would be lost, backs up what is there, and puts the backup in its place
in one step. Nothing in `.curator/` but the catalogue is changed. What audits spent of the
confidence is not given back.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from curator.base.files import cannot_write, replacing
from curator.catalogue import sqlite
from curator.catalogue.backend import backend_of
from curator.catalogue.backups import (
    BEFORE_RESTORE,
    SCHEDULED,
    UNUSABLE,
    BackupRecord,
    backup_is_due,
    list_backups,
    make_backup,
)
from curator.catalogue.claims import live_sessions
from curator.catalogue.engine import Catalogue, backup_path
from curator.catalogue.last_rows import LAST_ROWS
from curator.catalogue.leases import list_leases
from curator.catalogue.restoring import (
    Losses,
    as_file,
    losses,
    read_backup_identity,
    replace_catalogue,
)
from curator.catalogue.sqlite import SqliteBackend
from curator.errors import BusyError, DataError, LostCatalogueError
from curator.settings.file import FILE_NAME, read_settings
from curator.settings.sections import BackupSettings
from curator.workspace import (
    CATALOGUE_NAME,
    IDENTITY_NAME,
    STATE_FOLDER,
    Workspace,
    open_workspace,
    read_identity,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What a restore of `backup` would do.

    `losses` is None, and `problem` says why, where the present catalogue cannot be read or is
    not this workspace's.
    """

    root: Path
    backup: Path
    losses: Losses | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a restore did; `saved` is the copy of what was there before, None if nothing was."""

    plan: RestorePlan
    saved: Path | None


def scheduled_backup(workspace: Workspace) -> BackupRecord | None:
    """A backup on schedule if one is due and something was written; None if not.

    Raises StorageError or LostCatalogueError if it cannot be made.
    """
    catalogue, settings = workspace.catalogue, workspace.settings.backup
    if not catalogue.has_written or not backup_is_due(catalogue.path, settings):
        return None
    return make_backup(catalogue.backend, SCHEDULED, settings)


def plan_restore(root: Path, backup: Path | None) -> RestorePlan:
    """What restoring `backup` (default: the newest that is whole) would lose.

    Raises DataError if there is no such backup or it is another workspace's, LostCatalogueError
    if it is damaged, BusyError if somebody works in this workspace.
    """
    path = root / STATE_FOLDER / CATALOGUE_NAME
    file = _find_backup(path, backup)
    revision = sqlite.read_revision(file)
    problems = sqlite.file_problems(file)
    if revision is None or problems:
        raise LostCatalogueError(
            f"{file} is damaged: {problems[0] if problems else 'it is empty'}.",
            "`curator backup --list` lists the others.",
        )
    identity = read_backup_identity(file)
    if identity not in (None, read_identity(root) or identity):
        raise DataError(
            f"{file} is a catalogue of another workspace ({identity}).",
            f"Restore it there; this workspace is {read_identity(root)}.",
        )
    try:
        with open_workspace(root).catalogue as catalogue:
            refuse_company(catalogue)
            with catalogue.read() as connection:
                damage = catalogue.backend.integrity_problems(connection)
            if damage:
                raise LostCatalogueError(f"{catalogue.backend.name} is damaged: {damage[-1]}.")
            with as_file(catalogue.backend) as present:
                lost = losses(present, file)
                return RestorePlan(root=root, backup=file, losses=lost, problem=None)
    except LostCatalogueError as error:
        return RestorePlan(root=root, backup=file, losses=None, problem=error.problem)


def restore(plan: RestorePlan) -> RestoreReport:
    """Do what was planned, after a copy of what is there.

    Raises StorageError if there is no room for both, and BusyError if more would be lost by now;
    then nothing is changed.
    """
    path = plan.root / STATE_FOLDER / CATALOGUE_NAME
    identity = read_identity(plan.root) or read_backup_identity(plan.backup) or uuid.uuid4().hex
    address = read_settings(plan.root / FILE_NAME).catalogue.url
    backend = backend_of(address or path, home=path)
    try:
        if plan.losses is None:
            # A server's catalogue that cannot be read is left to who runs the server.
            saved = _save_bytes(path) if isinstance(backend, SqliteBackend) else None
            _announce(plan.root, identity)
            replace_catalogue(backend, plan.backup, identity=identity, present=None)
            return RestoreReport(plan=plan, saved=saved)
        with Catalogue.open(backend.address, home=path) as catalogue:
            # Who writes now waits, and writes into what was restored.
            with catalogue.write() as connection:
                saved = make_backup(backend, BEFORE_RESTORE, BackupSettings()).path
                if losses(saved, plan.backup) != plan.losses:
                    raise BusyError(
                        "The workspace changed after its losses were listed.",
                        "Nothing was changed. Run `curator restore` again: it lists them anew.",
                    )
                _announce(plan.root, identity)
                replace_catalogue(
                    backend, plan.backup, identity=identity, present=(connection, saved)
                )
            catalogue.checkpoint()
    except OSError as error:
        raise cannot_write(path, error) from error
    return RestoreReport(plan=plan, saved=saved)


def _announce(root: Path, identity: str) -> None:
    """Name the workspace, and forget its last rows: from here on they are meant to be gone."""
    with replacing(root / STATE_FOLDER / IDENTITY_NAME) as stream:
        stream.write(f"{identity}\n".encode())
    (root / STATE_FOLDER / LAST_ROWS).unlink(missing_ok=True)


def _find_backup(path: Path, named: Path | None) -> Path:
    if named is not None:
        for candidate in (named, path.parent / "backups" / named):
            if candidate.is_file():
                return candidate.absolute()
        raise DataError(f"There is no backup {named}.", "`curator backup --list` lists them.")
    for backup in list_backups(path):
        if backup.reason != UNUSABLE and not sqlite.file_problems(backup.path):
            return backup.path
    raise DataError(
        f"There is no backup in {path.parent / 'backups'}.",
        "Name a copy of the catalogue of your own: `curator restore FILE`.",
    )


def refuse_company(catalogue: Catalogue) -> None:
    """Raises BusyError while another process works here: it would go on with what is gone."""
    for holder in list_leases(catalogue):
        raise BusyError(
            f"`{holder.name}` is running in this workspace: {holder.text}.",
            "Wait until it has finished, or end it with `curator doctor --release`.",
        )
    for actor, session in live_sessions(catalogue):
        raise BusyError(
            f"{actor} has a review open in this workspace (process {session.split('/')[-2]}).",
            "End the review first; one that was killed counts as open for 10 minutes at most.",
        )


def _save_bytes(path: Path) -> Path | None:
    """A copy of a catalogue that SQLite cannot read, with its log."""
    if not path.is_file() or not path.stat().st_size:
        return None
    saved = backup_path(path, UNUSABLE)
    sqlite.make_folder(saved.parent)
    for suffix in ("", "-wal"):
        part = path.with_name(path.name + suffix)
        if part.is_file():
            shutil.copyfile(part, saved.with_name(saved.name + suffix))
    return saved
