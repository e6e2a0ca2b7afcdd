"""The command `report`: the story of the curation as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, Force, named_path
from curator.cli.output import emit, emit_json, shown, size


def report(
    context: typer.Context,
    destination: Annotated[
        Path | None,
        typer.Argument(
            parser=named_path,
            metavar="DEST.html",
            help="report.html in the workspace, if not given.",
        ),
    ] = None,
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Tell what was done as one HTML page, with plots and pictures, that can be sent to anybody.

    The page needs no network and runs no script. It is made from one view of the catalogue,
    also while a round is running. With --json the facts behind the page are printed, and a
    page is written only where DEST.html is given.

    Example: curator report clean.html
    """
    from curator.report.data import collect_report
    from curator.report.report import report as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        if json and destination is None:
            emit_json(collect_report(workspace, call.progress()).as_json())
            return
        written = workflow(workspace, destination, force=force, progress=call.progress())
    if json:
        emit_json(written.contents.as_json())
    else:
        emit(f"Wrote {shown(written.destination)} ({size(written.size)})")
