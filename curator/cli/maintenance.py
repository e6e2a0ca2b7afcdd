"""Commands that look after a workspace and its machine: `verify`, `doctor`."""

from __future__ import annotations

import contextlib
import os
from typing import Annotated

import typer

from curator.base.text import count, duration
from curator.cli.invocation import invocation
from curator.cli.options import AsJson, flag
from curator.cli.output import emit, emit_json, narrate, shown
from curator.cli.review import there_is_a_screen
from curator.errors import CatalogueError, CuratorError, WorkspaceError

_MARKS = {"ok": "ok  ", "warn": "mind", "fail": "FAIL"}


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
    from curator.maintenance.verify import verify as workflow

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
            f"{count(len(report.findings), 'thing')} in {root}"
            f" {'does' if len(report.findings) == 1 else 'do'} not hold.",
            "Copies of older catalogues lie in `.curator/backups`.",
        )
    call.say("Everything holds.")


def doctor(context: typer.Context, json: AsJson = False) -> None:
    """Look at the machine, the terminal and the workspace before something goes wrong.

    Works without a workspace, too. Ends with 3 if something stands in the way.

    Example: curator doctor
    """
    from curator.maintenance.doctor import doctor as workflow

    call = invocation(context)
    with contextlib.ExitStack() as stack:
        workspace, problem = None, None
        try:
            workspace = stack.enter_context(call.workspace())
        except CuratorError as error:
            problem = error if call.expects_workspace() else None
        report = workflow(workspace, problem=problem)
    if json:
        lines = [
            {
                "name": line.name,
                "health": line.health,
                "found": line.finding,
                "advice": line.advice,
            }
            for line in report.lines
        ]
        emit_json({"lines": lines})
    else:
        for line in report.lines:
            emit(f"{_MARKS[line.health]} {line.name:<10} {shown(line.finding)}")
            if line.advice:
                emit(f"{'':<15}{shown(line.advice)}")
        _try_terminal()
    if not report.healthy:
        raise WorkspaceError("Something stands in the way.", "Mend what is marked above.")


def _try_terminal() -> None:
    """Say what this terminal can show, and show it a picture; nothing where there is none."""
    if not there_is_a_screen() or os.environ.get("TEXTUAL_DRIVER"):
        return
    from rich.console import Console

    from curator.tui.pictures import try_out
    from curator.tui.terminal import look_at_terminal

    terminal = look_at_terminal(os.environ)
    narrate(f"\nThis terminal: {terminal.description}.")
    console = Console(stderr=True)
    for part in try_out(terminal):
        console.print(part)
