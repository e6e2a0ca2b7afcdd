"""Commands for the result: `export` takes it away, `diff` compares, `import` brings it back."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curator.base.text import count, percent
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force, flag, path_argument, path_option, value
from curator.cli.output import emit, emit_json, shown, strong, table
from curator.errors import CuratorError

if TYPE_CHECKING:
    from curator.export.diff import Difference
    from curator.export.export import ExportReport
    from curator.export.import_manifest import ImportReport


def export(
    context: typer.Context,
    destination: Annotated[
        Path, path_argument("DEST", "A file (.csv, .jsonl, .parquet), or a new folder.")
    ],
    format: Annotated[
        str | None,
        value(
            "FORMAT",
            "csv, jsonl, parquet; with the images: imagefolder, huggingface, webdataset,"
            " croissant, fiftyone.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None, value("LABEL", "Only this label; may be given several times.")
    ] = None,
    origin: Annotated[
        list[str] | None, value("ORIGIN", "Only labels from here; may be given several times.")
    ] = None,
    source: Annotated[
        list[str] | None, value("NAME", "Only this source; may be given several times.")
    ] = None,
    split: Annotated[
        list[str] | None,
        value("SPLIT", "Only what was used as train, calibration or test; repeatable."),
    ] = None,
    round: Annotated[
        list[int] | None, value("N", "Only what this round promoted; may be repeated.")
    ] = None,
    min_probability: Annotated[
        float | None, value("P", "Only labels of rounds that are at least this probable.")
    ] = None,
    quality: Annotated[
        list[str] | None,
        value(
            "BOUND",
            "Only images with it, as 'sharpness>0.3': sharpness, brightness, contrast,"
            " entropy, side, aspect; repeatable.",
        ),
    ] = None,
    one_per_group: Annotated[
        bool, flag("--one-per-group", help="One image of those that belong together.")
    ] = False,
    include_unlabelled: Annotated[
        bool, flag("--include-unlabelled", help="Images without a label too, with their scores.")
    ] = False,
    provisional: Annotated[
        bool, flag("--provisional", help="Certified policy: also labels without a certificate.")
    ] = False,
    divide: Annotated[
        str | None, value("80/10/10", "Train, validation and test parts, by group.")
    ] = None,
    files: Annotated[
        str, value("WAY", "How images come to a folder: auto, reflink, hardlink, symlink, copy.")
    ] = "auto",
    shard_size: Annotated[int, value("MB", "Size of a WebDataset shard.", min=1)] = 1_000,
    convert: Annotated[
        str | None,
        value(
            "png|jpeg",
            "In a folder: convert HEIC, AVIF, QOI and other formats that its readers do not"
            " decode.",
            show_default="leave them as they are",
        ),
    ] = None,
    check: Annotated[
        bool,
        flag("--check", help="Read each file and leave out files that hold another image now."),
    ] = False,
    relative_to: Annotated[
        Path | None, path_option("DIR", "Write paths relative to this folder.")
    ] = None,
    evidence: Annotated[
        Path | None,
        path_option(
            "FILE.zip", "Write the evidence of its certificate here, for `check-certificate`."
        ),
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Write the manifest: one row for each labelled file; or a folder with the images in it.

    A sidecar says how it came about: counts, filters, settings, licences, digest, and the
    certificate if it is about exactly these labels. Under the certified policy, promoted
    labels that no certificate is about are left out unless you ask for them.

    Example: curator export clean.csv --label good

    Example: curator export clean --format imagefolder --divide 80/10/10
    """
    from curator.export.export import export as workflow
    from curator.export.filters import ExportRequest, Filters
    from curator.report.status import status

    request = ExportRequest(
        destination=destination,
        format=format,
        filters=Filters(
            labels=label or (),
            origins=origin or (),
            sources=source or (),
            splits=split or (),
            rounds=round or (),
            min_probability=min_probability,
            quality=quality or (),
            one_per_group=one_per_group,
            include_unlabelled=include_unlabelled,
            provisional=provisional,
        ),
        divide=divide,
        relative_to=relative_to,
        files=files,
        shard_bytes=shard_size * 1_000_000,
        convert=convert,
        check=check,
        force=force,
        evidence=evidence,
    )
    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, request, call.progress())
        call.next_step = status(workspace).advice(exported=True)
    call.finished_work.append(f"{destination} is written.")
    if json:
        emit_json(report)
    else:
        _print_report(report, destination, divided=divide is not None)
        if evidence is not None:
            emit(f"Evidence of the certificate: {shown(evidence)}")
            command = shlex.join(["curator", "check-certificate", str(evidence), str(destination)])
            call.next_step = f"Check the certificate as others will: {command}"
    if not report.rows:
        raise typer.Exit(CuratorError.exit_code)


def check_certificate(
    evidence: Annotated[Path, path_argument("EVIDENCE", "What `export --evidence` wrote.")],
    manifest: Annotated[
        Path | None, path_argument("MANIFEST", "The .csv, .jsonl or folder beside it.")
    ] = None,
    commitment: Annotated[
        list[str] | None,
        value("DIGEST", "Commitment printed when the audit was opened or certified; repeatable."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check somebody's certificate without their workspace: digests, draw, test, and manifest.

    All is computed anew from the evidence. With a commitment that you were told when the audit was
    opened, any later change of frame, order, plan or salt is found; without one only what does
    not fit together. The check is one file of its own, curator/check_certificate.py, for whoever
    wants to read it. It ends with 3 if a check fails.

    Example: curator check-certificate evidence.zip clean.csv
    """
    from curator.check_certificate import EvidenceError, check, report_json, report_lines
    from curator.errors import DataError

    try:
        report = check(evidence, manifest, commitment or ())
    except EvidenceError as error:
        raise DataError(error.problem, error.advice) from error
    if json:
        emit_json(report_json(report))
    else:
        for line in report_lines(report):
            emit(shown(line))
    if not report.valid:
        raise typer.Exit(DataError.exit_code)


_REASONS_OF_ROWS = (
    "vanished", "unreadable", "changed", "provisional",
    "other-source", "other-split", "other-round", "less-probable", "uncertain",
)  # fmt: skip
"""Why an image with the right label may be left out all the same."""


def _print_report(report: ExportReport, destination: Path, *, divided: bool) -> None:
    images = count(report.images, "image")
    emit(f"Wrote {count(report.rows, 'row')} ({images}) to {shown(destination)}")
    rows = [
        [shown(name), origin, number]
        for name, origins in report.labels.items()
        for origin, number in origins.items()
    ]
    if report.unlabelled:
        rows.append(["-", "-", report.unlabelled])
    if rows:
        emit(table(["label", "origin", "rows"], rows))
    if divided:
        emit(_parts(report.splits))
    if report.placed:
        ways = ", ".join(f"{number:,} by {way}" for way, number in report.placed.items())
        emit(f"Files: {ways}.")
    left_out = ", ".join(f"{number:,} {why}" for why, number in report.left_out.items() if number)
    if left_out:
        emit(f"Left out: {left_out}.")
    if report.absent:
        emit(
            f"The files of {count(report.absent, 'row')} are gone, or hold another image now."
            " If a folder has moved: `curator relocate SOURCE NEW_ROOT`; `curator doctor` looks."
        )
    if not report.rows:
        if any(report.left_out.get(why) for why in _REASONS_OF_ROWS):
            emit("The export is empty: all that has such a label was left out, as said above.")
        else:
            missing = ", or its file is missing" if report.left_out["missing"] else ""
            emit(
                f"The export is empty: no image has such a label yet{missing}. See"
                " `curator status`."
            )
    certificate = report.certificate
    if certificate is not None:
        emit(
            f"Certificate ({certificate['state']}): at most {percent(certificate['bound'], 2)} of"
            f" {certificate['certified']:,} promoted labels are wrong, at"
            f" {100 * certificate['confidence']:.4g}% confidence."
        )
    if report.certificate_note:
        emit(f"No certificate holds for the promoted labels: {shown(report.certificate_note)}.")
    for warning in report.warnings:
        emit(f"{strong('Warning')}  {shown(warning)}")
    emit(f"Provenance: {shown(report.sidecar)}")


def _parts(splits: dict[str, dict[str, int]]) -> str:
    labels = sorted({label for counts in splits.values() for label in counts})
    header = ["part", *(shown(label) or "-" for label in labels)]
    rows = [[part, *(counts.get(label, 0) for label in labels)] for part, counts in splits.items()]
    return table(header, rows)


def diff(
    context: typer.Context,
    old: Annotated[Path, path_argument("OLD", "A manifest, or a folder of one.")],
    new: Annotated[Path, path_argument("NEW", "The one to compare with it.")],
    limit: Annotated[
        int | None, value("N", "Images to list (default: 10, with --json all).", min=0)
    ] = None,
    json: AsJson = False,
) -> None:
    """Compare two manifests: what was added, dropped and relabelled, by origin.

    Images are compared by their bytes, whatever the format and wherever the files lie.

    Example: curator diff monday.csv friday.csv
    """
    from curator.export.diff import diff as workflow

    call = invocation(context)
    shown_at_most = limit if json or limit is not None else 10
    difference = workflow(old, new, limit=shown_at_most, progress=call.progress())
    if json:
        emit_json(difference)
    else:
        emit("\n".join(_difference(difference)))


def _difference(difference: Difference) -> Iterator[str]:
    total = sum(difference.counts.values())
    changed = ", ".join(f"{n:,} {_DONE[kind]}" for kind, n in difference.counts.items() if n)
    yield f"{count(total, 'image')} changed{f': {changed}' if changed else ''}."
    yield f"{count(difference.same, 'image')} are the same in both."
    if difference.tallies:
        rows = [
            [_DONE[cell.kind], _side(cell.old_label, cell.old_origin),
             _side(cell.new_label, cell.new_origin), cell.images]
            for cell in difference.tallies
        ]  # fmt: skip
        yield ""
        yield table(["what", "old", "new", "images"], rows)
    if difference.changes:
        yield ""
        for change in difference.changes:
            side = change.new or change.old
            assert side is not None
            words = [_side(at.label, at.origin) if at else "-" for at in (change.old, change.new)]
            yield f"  {' -> '.join(words)}  {shown(side.paths[0])}"
    if len(difference.changes) < total:
        yield f"  and {total - len(difference.changes):,} more; --limit N lists more of them."


def _side(label: str | None, origin: str | None) -> str:
    return "-" if label is None else f"{shown(label)} ({origin})"


_DONE = {
    "added": "added",
    "dropped": "dropped",
    "relabelled": "relabelled",
    "origin": "of another origin",
    "split": "in another split",
    "moved": "moved",
}


def import_(
    context: typer.Context,
    manifest: Annotated[Path, path_argument("MANIFEST", "A file or folder that `export` wrote.")],
    json: AsJson = False,
) -> None:
    """Restore the labels of a manifest, with their origins, and say what could not be.

    Add the images first: they are found by their bytes, wherever they lie now. Promotions
    come back as one round. For labels from elsewhere there is `curator label`.

    Example: curator import clean.csv
    """
    from curator.export.import_manifest import import_manifest

    call = invocation(context)
    with call.workspace() as workspace:
        report = import_manifest(
            workspace, manifest, actor=workspace.actor, progress=call.progress()
        )
    if json:
        emit_json(report)
    else:
        emit("\n".join(_restored(report)))


def _restored(report: ImportReport) -> Iterator[str]:
    total = sum(sum(origins.values()) for origins in report.restored.values())
    yield f"Restored {count(total, 'label')} of {count(report.images, 'image')}."
    if report.restored:
        rows = [
            [shown(label), origin, number]
            for label, origins in report.restored.items()
            for origin, number in origins.items()
        ]
        yield table(["label", "origin", "images"], rows)
    if report.unchanged:
        yield f"{report.unchanged:,} were here already."
    missed = report.missed
    sentences = (
        (missed.images, "are not in the catalogue; `curator add` them and import again"),
        (missed.kept, "have a human label here already, which stays"),
        (missed.promotions, "were promoted; this workspace has rounds of its own, which are kept"),
        (missed.conflicts, "are conflicts, of which a manifest does not hold the two sides"),
        (missed.groups, "belong to groups of yours; bring these with `curator group`"),
        (missed.splits, "came to another split than they had"),
    )
    for number, words in sentences:
        if number:
            yield f"Not restored: {number:,} {words}."
    for name in missed.examples:
        yield f"  {shown(name)}"
    if report.round is not None:
        former = ", ".join(map(str, missed.rounds)) or "unknown rounds"
        yield (
            f"Promotions (of {former}) are round {report.round} now, without a model:"
            " `curator round` trains one and revises them."
        )
    yield "Reasons, notes, certificates, and who decided when do not come back from a manifest."
