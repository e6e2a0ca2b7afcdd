"""The command `report`: the story of the curation as a page, written or served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli import screen
from curator.cli.invocation import Invocation, invocation
from curator.cli.options import AsJson, Force, flag, named_path
from curator.cli.output import emit, emit_json, shown, size
from curator.errors import UsageError


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
    watch: Annotated[
        bool, flag("--watch", help="Serve it here instead, loaded again after each round.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="With --watch: where to serve; else this computer alone."
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

    Example: curator report --watch
    """
    call = invocation(context)
    if watch:
        if destination is not None or force or json:
            raise UsageError(
                "A watched report is served, not written or printed.",
                "Leave out --watch, or DEST.html, --force and --json.",
            )
        host, port = screen.host_and_port(address or "")
        with call.workspace() as workspace:
            from curator.tui.watch import serve_report

            serve_report(workspace, host=host, port=port, say=call.say)
    elif address is not None:
        raise UsageError("--address says nothing without --watch.", "Add --watch.")
    elif json and destination is None:
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
