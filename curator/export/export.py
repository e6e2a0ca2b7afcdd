"""The manifest: what the catalogue holds now, written for others to use.

Rows stream from one consistent view of the catalogue through sorting into the file, so a
pool of any size fits, and a manifest is either there in full, with its sidecar, or not
there. Nothing is written over without being told to. Formats that hold the images
themselves are made in `export_folder`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.audits.certificate import CertifiedImages
from curator.base.files import check_destination, replacing
from curator.base.progress import SILENT, Progress
from curator.base.values import ManifestRow
from curator.errors import UsageError
from curator.export.about import about_export, left_out, short
from curator.export.formats import TOGETHER, WRITERS, Format, choose_format
from curator.export.placing import Way, check_file
from curator.export.quick_rows import ExportColumns, is_quick
from curator.export.rows import in_columns, in_order
from curator.export.sidecar import ExportCounts, digest_of, sidecar_bytes, sidecar_path
from curator.export.slow_rows import EVERYTHING, ExportRows, Filters, ImageChoice, choose_images
from curator.workspace import Workspace

__all__ = ["CertifiedImages", "ExportReport", "Filters", "export"]

SHARD_BYTES = 1_000_000_000
"""Size of a shard unless the user says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written, and what was left out and why.

    `labels` is the user's label → origin → rows, `splits` split → label → rows; `images`
    counts distinct images among the rows, `unlabelled` rows without a label. `left_out`
    counts images that have no row, by why: their label, `other-origin`, `unlabelled`,
    `quarantined`; and files: `missing`, `vanished`,
    `unreadable`, `changed`, or passed over by a filter.
    `digest` is the SHA-256 of the manifest in hexadecimal. `placed` says how many files
    came to a folder in which way. `certificate` is what is promised for the promoted
    labels, or None; `certificate_note` why none holds for them.
    """

    destination: Path
    sidecar: Path
    format: str
    rows: int
    images: int
    labels: dict[str, dict[str, int]]
    unlabelled: int
    splits: dict[str, dict[str, int]]
    left_out: dict[str, int]
    digest: str
    placed: dict[str, int]
    certificate: Any
    certificate_note: str


def export(
    workspace: Workspace,
    destination: Path,
    *,
    format: str | None = None,
    filters: Filters = EVERYTHING,
    divide: str | None = None,
    relative_to: Path | None = None,
    files: str = Way.AUTO,
    shard_bytes: int = SHARD_BYTES,
    check: bool = False,
    force: bool = False,
    certified: CertifiedImages | None = None,
    progress: Progress = SILENT,
) -> ExportReport:
    """Write the manifest and, beside it, its sidecar; or a folder with the images in it.

    `divide` (`80/10/10`) makes train, validation and test parts. `files` and `shard_bytes`
    say how images come to a folder. `check` makes a manifest open each file and leave out
    what is not the image any more; folders always do. Raises UsageError for a word that
    means nothing here, and StorageError if the destination exists or cannot be written;
    a manifest then is not there, and a folder is not under its name. `certified` is for
    callers that know of a certificate which is not the catalogue's.
    """
    kind = choose_format(destination, format)
    choice = choose_images(workspace, filters, divide)
    certified = certified or choice.covered.certified()
    if kind.is_folder:
        from curator.export.folder import export_folder

        if relative_to is not None:
            raise UsageError(
                "Paths in a folder are relative to the folder.", "Leave out --relative-to."
            )
        return export_folder(
            workspace,
            destination,
            kind=kind,
            filters=filters,
            choice=choice,
            way=_way(files),
            shard_bytes=shard_bytes,
            force=force,
            certified=certified,
            progress=progress,
        )
    return _export_manifest(
        workspace,
        destination,
        kind=kind,
        filters=filters,
        choice=choice,
        relative_to=relative_to,
        check=_still_the_image if check else None,
        force=force,
        certified=certified,
        progress=progress,
    )


def _export_manifest(
    workspace: Workspace,
    destination: Path,
    *,
    kind: Format,
    filters: Filters,
    choice: ImageChoice,
    relative_to: Path | None,
    check: Callable[[ManifestRow], str | None] | None,
    force: bool,
    certified: CertifiedImages | None,
    progress: Progress,
) -> ExportReport:
    sidecar = sidecar_path(destination)
    check_destination(destination, force=force)
    check_destination(sidecar, force=force)
    rows = ExportRows(workspace, choice, relative_to, check)
    scratch = destination.absolute().parent
    tally = ExportCounts()
    about: dict[str, Any] = {}

    def known_at_the_end() -> dict[str, Any]:
        about.update(
            about_export(
                workspace,
                name=destination,
                format=kind,
                filters=filters,
                choice=choice,
                relative_to=relative_to,
                tally=tally,
                without=left_out(workspace, choice, rows.left_out),
                certified=certified,
            )
        )
        return short(about)

    with replacing(destination) as stream, progress.stage("export", rows.count(), "rows") as stage:
        if check is None and is_quick(workspace, choice, relative_to):
            quick = ExportColumns(workspace, choice, relative_to, tally, rows.left_out)
            batches = quick.batches(stage.advance, scratch)
        else:
            items = rows.taken(stage.advance, scratch)
            entries = in_order((item.entry for item in tally.see(items)), scratch)
            batches = in_columns(tally.count(entries), TOGETHER)
        WRITERS[kind](batches, stream, known_at_the_end)
        if not about:
            known_at_the_end()
        about["manifest"]["sha256"] = digest_of(stream)
        # The sidecar first: a manifest without one would say nothing about its origin.
        with replacing(sidecar) as beside:
            beside.write(sidecar_bytes(about))
    return report_of(destination, sidecar, kind, tally, about)


def report_of(
    destination: Path,
    sidecar: Path,
    kind: Format,
    tally: ExportCounts,
    about: dict[str, Any],
    placed: dict[str, int] | None = None,
) -> ExportReport:
    """The report of an export that is described by `about`."""
    return ExportReport(
        destination=destination,
        sidecar=sidecar,
        format=str(kind),
        rows=tally.rows,
        images=tally.images,
        labels=tally.by_label(),
        unlabelled=tally.unlabelled,
        splits=tally.by_part(),
        left_out=about["left_out"],
        digest=about["manifest"]["sha256"],
        placed=placed or {},
        certificate=about["certificate"],
        certificate_note=about["certificate_note"],
    )


def _still_the_image(row: ManifestRow) -> str | None:
    return check_file(row.path, row.sha256)


def _way(files: str) -> Way:
    try:
        return Way(files)
    except ValueError:
        raise UsageError(
            f"Files cannot be put there as `{files}`.", f"Choose from {', '.join(Way)}."
        ) from None
