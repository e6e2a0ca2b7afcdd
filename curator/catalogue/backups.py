"""Backups of a catalogue in the folder beside it: made by SQLite itself, checked, a few kept.

SQLite copies one state of the catalogue while others go on writing. A copy that its check finds
damaged is thrown away, and then nothing older is removed for it.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from curator.catalogue import sqlite
from curator.catalogue.backend import Backend
from curator.catalogue.engine import BACKUP_FOLDER, Catalogue, backup_path, now
from curator.errors import StorageError
from curator.settings.sections import BackupSettings

MANUAL, SCHEDULED, BEFORE_RESTORE, UNUSABLE = "manual", "scheduled", "before-restore", "unusable"

_NAME = re.compile(r"-(?P<stamp>\d{8}T\d{12})-(?P<reason>[\w-]+)\Z")
_ABANDONED = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRecord:
    """One backup: `reason` is why it was made, `bytes` its size."""

    path: Path
    made_at: datetime
    reason: str
    bytes: int


def list_backups(catalogue_path: Path) -> list[BackupRecord]:
    """The backups beside a catalogue, the newest first; files of other names are the user's.

    Those from the future come last: they were made before the clock was set back.
    """
    backups = []
    for path in (catalogue_path.parent / BACKUP_FOLDER).glob(f"*{catalogue_path.suffix}"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process has removed it meanwhile
            continue
        made_at, reason = datetime.fromtimestamp(status.st_mtime, UTC), MANUAL
        if name := _NAME.search(path.stem):
            with suppress(ValueError):
                made_at = datetime.strptime(name["stamp"], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
                reason = name["reason"]
        backups.append(
            BackupRecord(path=path, made_at=made_at, reason=reason, bytes=status.st_size)
        )
    present = now()
    return sorted(
        backups, key=lambda backup: (backup.made_at <= present, backup.made_at), reverse=True
    )


def make_backup(backend: Backend, reason: str, settings: BackupSettings) -> BackupRecord:
    """Back up a catalogue now, and remove what is more than is kept.

    Raises StorageError if there is no room or it cannot be written; LostCatalogueError if the
    catalogue is damaged.
    """
    path = backend.home
    destination = backup_path(path, reason)
    sqlite.make_folder(destination.parent)
    needed = backend.copy_size()
    free = shutil.disk_usage(destination.parent).free
    if free < 1.2 * needed:
        raise StorageError(
            f"There is no room for a backup of the catalogue in {destination.parent}:"
            f" {free / 1e6:,.0f} MB free, {needed / 1e6:,.0f} MB needed.",
            "Make room, or set `backup.keep=0` to work without backups.",
        )
    backend.copy_to(destination)
    _remove_surplus(path, settings.keep)
    return next(backup for backup in list_backups(path) if backup.path == destination)


def backup_before(catalogue: Catalogue, step: str, settings: BackupSettings) -> None:
    """Back up the catalogue before a step that changes much of it, unless none are kept."""
    if settings.keep:
        make_backup(catalogue.backend, f"before-{step}", settings)


def backup_is_due(path: Path, settings: BackupSettings) -> bool:
    """Whether the last backup on schedule is older than the user wants."""
    if not settings.keep or not settings.every_hours:
        return False
    scheduled = [backup for backup in list_backups(path) if backup.reason == SCHEDULED]
    # A backup from the future was made before the clock was set back.
    limit = timedelta(hours=settings.every_hours)
    return not scheduled or not timedelta(0) <= now() - scheduled[0].made_at < limit


def _remove_surplus(path: Path, keep: int) -> None:
    """Remove the oldest of each kind, and what killed backups left. Those by hand are kept."""
    kinds: dict[str, list[Path]] = {}
    for backup in list_backups(path):
        kind = backup.reason if backup.reason in (SCHEDULED, BEFORE_RESTORE) else "step"
        if backup.reason not in (MANUAL, UNUSABLE):
            kinds.setdefault(kind, []).append(backup.path)
    with suppress(OSError):
        for paths in kinds.values():
            for surplus in paths[max(keep, 1) :]:
                surplus.unlink(missing_ok=True)
        for partial in (path.parent / BACKUP_FOLDER).glob("*.partial"):
            if now().timestamp() - partial.stat().st_mtime > _ABANDONED.total_seconds():
                partial.unlink(missing_ok=True)
