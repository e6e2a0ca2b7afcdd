"""The command that shows the whole way on real photographs: `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, named_path
from curator.cli.output import emit, emit_json, shown


def demo(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            parser=named_path, metavar="DIR", help="A new folder, which becomes a workspace."
        ),
    ] = Path("demo"),
    json: AsJson = False,
) -> None:
    """Curate real photographs of solar cells from 200 seed labels, and measure the outcome.

    Needs the package `elpv-dataset`, and no network. Takes minutes on two cores.

    Example: curator demo
    """
    from curator.demo import demo as workflow

    report = workflow(folder, progress=invocation(context).progress())
    if json:
        emit_json(report.as_json())
        return
    emit(report.summary())
    emit(f"Manifest: {shown(report.manifest)}")
    emit(f"Contact sheet: {shown(report.picture)}")
    emit(f"Look around: curator -w {shown(report.folder)} status")
