"""Commands for the result: `export` takes it away, `diff` compares, `import` brings it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force, flag
from curator.cli.output import count, emit, emit_json, percent, shown, table


def export(
    context: typer.Context,
    destination: Annotated[
        Path,
        typer.Argument(metavar="DEST", help="A file (.csv, .jsonl, .parquet), or a new folder."),
    ],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="csv, jsonl, parquet; with the images: imagefolder, huggingface, webdataset,"
            " croissant.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Only this label; may be given several times."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Only labels from here; may be given several times."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this source; may be given several times."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPLIT", help="Only what was used as train, calibration or test; repeatable."
        ),
    ] = None,
    round: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Only what this round promoted; may be repeated."),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(metavar="P", help="Only labels of rounds that are at least this probable."),
    ] = None,
    one_per_group: Annotated[
        bool, flag("--one-per-group", help="One image of those that belong together.")
    ] = False,
    include_unlabelled: Annotated[
        bool, flag("--include-unlabelled", help="Images without a label too, with their scores.")
    ] = False,
    provisional: Annotated[
        bool,
        flag("--provisional", help="Certified policy: also what no certificate is about."),
    ] = False,
    divide: Annotated[
        str | None,
        typer.Option(metavar="80/10/10", help="Train, validation and test parts, by group."),
    ] = None,
    files: Annotated[
        str,
        typer.Option(
            metavar="WAY",
            help="How images come to a folder: auto, reflink, hardlink, symlink, copy.",
        ),
    ] = "auto",
    shard_size: Annotated[
        int, typer.Option(metavar="MB", help="Size of a WebDataset shard.", min=1)
    ] = 1_000,
    check: Annotated[
        bool,
        flag("--check", help="Read each file and leave out what is not the image any more."),
    ] = False,
    relative_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write paths relative to this folder.")
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
    from curator.workflows.export import Filters
    from curator.workflows.export import export as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(
            workspace,
            destination,
            format=format,
            filters=Filters(
                labels=label or (),
                origins=origin or (),
                sources=source or (),
                splits=split or (),
                rounds=round or (),
                min_probability=min_probability,
                one_per_group=one_per_group,
                include_unlabelled=include_unlabelled,
                provisional=provisional,
            ),
            divide=divide,
            files=files,
            shard_bytes=shard_size * 1_000_000,
            check=check,
            relative_to=relative_to,
            force=force,
            progress=call.progress(),
        )
    if json:
        emit_json(report)
        return
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
    if divide is not None:
        emit(_parts(report.splits))
    if report.placed:
        ways = ", ".join(f"{number:,} by {way}" for way, number in report.placed.items())
        emit(f"Files: {ways}.")
    left_out = ", ".join(f"{number:,} {why}" for why, number in report.left_out.items() if number)
    if left_out:
        emit(f"Left out: {left_out}.")
    if report.certificate is not None:
        told = report.certificate
        emit(
            f"Certificate ({told['state']}): at most {percent(told['bound'], 2)} of"
            f" {told['certified']:,} promoted labels are wrong, at {told['confidence']:.4g}."
        )
    if report.certificate_note:
        emit(f"No certificate holds for the promoted labels: {shown(report.certificate_note)}.")
    emit(f"How it came about: {shown(report.sidecar)}")


def _parts(splits: dict[str, dict[str, int]]) -> str:
    labels = sorted({label for counts in splits.values() for label in counts})
    header = ["part", *(shown(label) or "-" for label in labels)]
    rows = [[part, *(counts.get(label, 0) for label in labels)] for part, counts in splits.items()]
    return table(header, rows)
