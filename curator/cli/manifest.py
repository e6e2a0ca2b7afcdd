"""The command that takes the result away: `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force
from curator.cli.output import count, emit, emit_json, shown, table


def export(
    context: typer.Context,
    destination: Annotated[
        Path, typer.Argument(metavar="DEST", help="Ends in .csv, .jsonl or .parquet.")
    ],
    format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="csv, jsonl or parquet, whatever the suffix says."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Only this label; may be given several times."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Only labels from here; may be given several times."),
    ] = None,
    relative_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write paths relative to this folder.")
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Write the manifest: one row for each labelled file, sorted by path.

    A sidecar beside it says how it came about: counts, settings, licences, digest.

    Example: curator export clean.csv --label good
    """
    from curator.workflows.export import export as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(
            workspace,
            destination,
            format=format,
            labels=label,
            origins=origin,
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
    if rows:
        emit(table(["label", "origin", "rows"], rows))
    left_out = ", ".join(f"{number:,} {why}" for why, number in report.left_out.items() if number)
    if left_out:
        emit(f"Left out: {left_out}.")
    emit(f"How it came about: {shown(report.sidecar)}")
