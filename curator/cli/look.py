"""Commands that look and change nothing: `status`, `history`."""

from __future__ import annotations

from typing import Annotated

import typer

from curator.cli import show_history, show_status
from curator.cli.invocation import invocation
from curator.cli.options import AsJson
from curator.cli.output import emit, emit_json


def status(
    context: typer.Context,
    json: AsJson = False,
) -> None:
    """Show what the workspace holds, what its rounds did, and what to do next.

    Example: curator status --json
    """
    from curator.report import status as workflow

    with invocation(context).workspace() as workspace:
        found = workflow.status(workspace)
    if json:
        emit_json(found.as_json())
    else:
        emit(show_status.screen(found))


def history(
    context: typer.Context,
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="A path, or a SHA-256 or its beginning.")
    ],
    json: AsJson = False,
) -> None:
    """Show every label event of an image, and where it lies.

    Example: curator history photos/0042.jpg
    """
    from curator.report import history as workflow

    with invocation(context).workspace() as workspace:
        found = workflow.history(workspace, image)
        names = workspace.settings.classes.name_of
    if json:
        emit_json(found.as_json())
    else:
        emit(show_history.page(found, names))
