"""The manifest: what the catalogue holds now, written for others to use.

Rows stream from one consistent view of the catalogue through sorting into the file, so a
pool of any size fits, and a manifest is either there in full, with its sidecar, or not
there. Nothing is written over without being told to. Formats that hold the images
themselves are made in `export.folder`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from curator.audits.evidence import write_evidence
from curator.base.files import check_destination, replacing
from curator.base.progress import SILENT, Progress
from curator.errors import DataError
from curator.export.building import ABOUT
from curator.export.catalogue_rows import ExportRows
from curator.export.filters import ExportRequest, Selection, select
from curator.export.folder import export_folder
from curator.export.formats import WRITERS, Format, choose_format
from curator.export.rows import ExportCounts
from curator.export.sidecar import about_export, digest_of, short, sidecar_bytes, sidecar_path
from curator.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written, and what was left out and why.

    `labels` is the user's label → origin → rows, `splits` split → label → rows; `images`
    counts distinct images among the rows, `unlabelled` rows without a label, `absent` rows of a
    manifest whose file is gone, as all others of the image are. `left_out`
    counts images that have no row, by why: their label, `other-origin`, `unlabelled`,
    `quarantined`; and files: `missing`, `vanished`, `unreadable`, `changed`,
    `gone-but-elsewhere` (another file of the image has a row), or passed over by a filter.
    `digest` is the SHA-256 of the manifest in hexadecimal. `placed` says how many files
    came to a folder in which way. `certificate` is what is promised for the promoted
    labels, or None; `certificate_note` why none holds for them. `warnings` are reasons not to trust
    the promoted labels.
    """

    destination: Path
    sidecar: Path
    format: str
    rows: int
    images: int
    labels: dict[str, dict[str, int]]
    unlabelled: int
    absent: int
    splits: dict[str, dict[str, int]]
    left_out: dict[str, int]
    digest: str
    placed: dict[str, int]
    certificate: Any
    certificate_note: str
    warnings: list[str]


def export(
    workspace: Workspace, request: ExportRequest, progress: Progress = SILENT
) -> ExportReport:
    """Write the manifest and, beside it, its sidecar; or a folder with the images in it.

    Raises UsageError for a word that means nothing here, and StorageError if the destination
    exists or cannot be written; a manifest then is not there, and a folder is not under its name.
    Raises DataError if evidence is asked for, and no certificate is about what was written.
    """
    format = choose_format(request.destination, request.format)
    selection = select(workspace, request)
    if request.evidence is not None:
        check_destination(request.evidence, force=request.force)
    placed: dict[str, int] = {}
    if format.is_folder:
        sidecar = request.destination.absolute() / ABOUT
        about, placed = export_folder(workspace, request, format, selection, progress)
    else:
        sidecar = sidecar_path(request.destination)
        about = _export_manifest(workspace, request, format, selection, progress)
    manifest = about["manifest"]
    if request.evidence is not None:
        _write_evidence(workspace, request, selection, about)
    return ExportReport(
        destination=request.destination.absolute() if format.is_folder else request.destination,
        sidecar=sidecar,
        format=manifest["format"],
        rows=manifest["rows"],
        images=manifest["images"],
        labels=about["labels"],
        unlabelled=about["unlabelled"],
        absent=manifest["absent"],
        splits=about["splits"],
        left_out=about["left_out"],
        digest=manifest["sha256"],
        placed=placed,
        certificate=about["certificate"],
        certificate_note=about["certificate_note"],
        warnings=about["warnings"],
    )


def _write_evidence(
    workspace: Workspace, request: ExportRequest, selection: Selection, about: dict[str, Any]
) -> None:
    """Write what the certificates of an export rest on, once it is known to be theirs."""
    assert request.evidence is not None
    if about["certificate"] is None or about["certificate_note"] or not selection.certified:
        note = about["certificate_note"] or "no certificate covers it"
        raise DataError(
            f"{request.destination} is written, but there is no evidence for it: {note}.",
            "Evidence covers exactly the promoted images of a valid certificate. See `curator"
            " status`; export all of them, or audit again with `curator audit`.",
        )
    write_evidence(workspace, request.evidence, selection.certified.issued, force=request.force)


def _export_manifest(
    workspace: Workspace,
    request: ExportRequest,
    format: Format,
    selection: Selection,
    progress: Progress,
) -> dict[str, Any]:
    """Write the manifest and its sidecar; the content of the sidecar."""
    destination, relative_to = request.destination, request.relative_to
    sidecar = sidecar_path(destination)
    check_destination(destination, force=request.force)
    check_destination(sidecar, force=request.force)
    scratch = destination.absolute().parent
    rows = ExportRows(workspace, selection, relative_to=relative_to, check=request.check)
    counts = ExportCounts()

    # Once all rows are counted; cached, so that a Parquet file and its sidecar say the same.
    @cache
    def about() -> dict[str, Any]:
        return about_export(
            workspace,
            selection,
            counts,
            rows,
            name=destination.name,
            format=format,
            relative_to=relative_to,
        )

    with replacing(destination) as stream, progress.stage("export", rows.total(), "rows") as stage:
        batches = rows.columns(stage.advance, scratch, counts)
        WRITERS[format](batches, stream, lambda: short(about()))
        about()["manifest"]["sha256"] = digest_of(stream)
        # The sidecar first: a manifest without one would say nothing about its origin.
        with replacing(sidecar) as beside:
            beside.write(sidecar_bytes(about()))
    return about()
