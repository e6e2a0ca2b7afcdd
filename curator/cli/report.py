"""The command `report`: the story of the curation as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import Invocation, invocation
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
    call = invocation(context)
    if json and destination is None:
        _print_facts(call)
    else:
        _write(call, destination, force=force, json=json)


def _write(call: Invocation, destination: Path | None, *, force: bool, json: bool) -> None:
    from curator.report.data import facts
    from curator.report.report import report as workflow

    with call.workspace() as workspace:
        made = workflow(workspace, destination, force=force, progress=call.progress())
    if json:
        emit_json(facts(made.story))
    else:
        emit(f"Wrote {shown(made.destination)} ({size(made.size)})")


def _print_facts(call: Invocation) -> None:
    from curator.report.collect import collect_report
    from curator.report.data import facts

    with call.workspace() as workspace:
        emit_json(facts(collect_report(workspace, call.progress())))
