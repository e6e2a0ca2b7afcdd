"""Commands that look after a workspace and its machine: `verify`, `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, flag
from curator.cli.output import count, duration, emit, emit_json, shown
from curator.errors import CatalogueError


def verify(
    context: typer.Context,
    files: Annotated[bool, flag("--files", help="Read every source image again, too.")] = False,
    json: AsJson = False,
) -> None:
    """Check the catalogue against its own rules, and what lies beside it.

    Labels are derived again from their events; models, scores and features are compared
    with their digests. Nothing is changed. Ends with 3 if anything does not hold.

    Example: curator verify --files
    """
    from curator.workflows.verify import verify as workflow

    call = invocation(context)
    with call.workspace() as workspace:
        report = workflow(workspace, files=files, progress=call.progress())
        root = workspace.root
    if json:
        emit_json(report)
    else:
        for finding in report.findings:
            emit(f"{finding.check}: {shown(finding.text)}")
        looked = [count(report.images, "image"), count(report.rounds, "round")]
        looked += [count(report.files, "file")] if files else []
        emit(f"Checked {', '.join(looked)} in {duration(report.seconds)}.")
    if not report.clean:
        raise CatalogueError(
            f"{count(len(report.findings), 'thing')} in {root} does not hold.",
            "Copies of older catalogues lie in `.curator/backups`.",
        )
    call.say("Everything holds.")
