"""Moving the catalogue of a workspace to a PostgreSQL server, or back into a file."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from curator.base.files import sync_folder
from curator.catalogue.backend import backend_of
from curator.catalogue.engine import backup_path
from curator.catalogue.leases import lease
from curator.catalogue.moving import TableCopy
from curator.catalogue.moving import move_catalogue as copy_catalogue
from curator.catalogue.sqlite import SqliteBackend, make_folder
from curator.errors import UsageError
from curator.maintenance.backup import refuse_company
from curator.settings.file import as_toml, write_settings
from curator.workspace import open_workspace

FILE = "file"
"""The address of the workspace's own file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveReport:
    """Where the catalogue is now, what was copied, and the backup that the former file became."""

    address: str
    tables: tuple[TableCopy, ...]
    former: Path | None


def move_catalogue(root: Path, address: str) -> MoveReport:
    """Copy the catalogue of the workspace in `root` to `address`, compare, set `catalogue.url`.

    Raises UsageError for an address that is no server or where the catalogue is already,
    BusyError while somebody works in the workspace, CatalogueError if there is a catalogue already.
    """
    workspace = open_workspace(root)
    with workspace.catalogue as catalogue, ExitStack() as stack:
        backend, path = catalogue.backend, catalogue.backend.home
        url = "" if address == FILE else address
        if url and not url.startswith("postgresql"):
            raise UsageError(
                f"The catalogue cannot be moved to `{address}`.",
                f"Name a database, postgresql+psycopg://HOST/DATABASE, or `{FILE}`.",
            )
        target = backend_of(url or path, home=path)
        if target.name == backend.name:
            raise UsageError(
                f"The catalogue is at {target.name} already.", "`curator doctor` shows where it is."
            )
        refuse_company(catalogue)
        for work in ("add", "encode", "pack", "round", "tune"):
            stack.enter_context(lease(catalogue, work))
        setting = {"catalogue.url": as_toml(url)}
        tables = copy_catalogue(
            catalogue, target, announce=lambda: write_settings(workspace.root, setting)
        )
    former = None
    if isinstance(backend, SqliteBackend):
        # What is named like the catalogue would be taken for it once `catalogue.url` is empty.
        former = backup_path(path, "moved")
        make_folder(former.parent)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(former.with_name(former.name + suffix))
        sync_folder(path.parent)
    return MoveReport(address=target.name, tables=tuple(tables), former=former)
