"""Dropping a source: its files leave the catalogue, what people said of its images stays."""

from __future__ import annotations

from dataclasses import dataclass

from curator.audits.certificate import count_valid_about
from curator.base.progress import SILENT, Progress
from curator.catalogue.audits import refuse_open_audit
from curator.catalogue.backups import backup_before
from curator.catalogue.leases import lease
from curator.catalogue.sources import drop_source
from curator.intake.near_duplicates import regroup
from curator.intake.sources import named_source
from curator.intake.user_groups import refresh_user_groups
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class DropReport:
    """A source that was dropped, or after a dry run would be.

    `files` were catalogued in it. `images` lay nowhere else and left the pool: `labelled` by
    people, `promoted` by rounds. `stale_certificates` held before, and do not any more.
    """

    source: str
    root: bytes
    files: int
    images: int
    labelled: int
    promoted: int
    stale_certificates: int
    dry_run: bool


def drop(
    workspace: Workspace,
    *,
    source: str,
    actor: str,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> DropReport:
    """Take a source out of the catalogue: its images leave the pool unless they lie elsewhere too.

    No file is touched. Labels and their history stay; adding the folder again brings the images
    back with them. A dry run only counts. Raises DataError if there is no such source or an audit
    is open, BusyError while an `add` or a round runs.
    """
    catalogue = workspace.catalogue
    with lease(catalogue, "add"), lease(catalogue, "round"):
        record = named_source(catalogue, source)
        refuse_open_audit(catalogue, "dropping a source")
        planned = drop_source(catalogue, record.source_id, dry_run=True)
        leaving = {label for label, count in planned.promoted.items() if count}
        stale = count_valid_about(catalogue, leaving)
        if not dry_run:
            backup_before(catalogue, "drop", workspace.settings.backup)
        dropped = drop_source(catalogue, record.source_id, actor=actor, dry_run=dry_run)
        if not dry_run:
            regroup(workspace, progress=progress)
            refresh_user_groups(workspace)
            catalogue.checkpoint()
    return DropReport(
        source=record.name,
        root=record.root,
        files=dropped.files,
        images=dropped.images,
        labelled=dropped.labelled,
        promoted=sum(dropped.promoted.values()),
        stale_certificates=stale,
        dry_run=dry_run,
    )
