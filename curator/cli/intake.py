"""Commands that bring images and people's labels in: `add`, `label`, `group`, `relocate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, flag
from curator.cli.output import count, emit, emit_json, shown
from curator.core.actor import current_user
from curator.core.words import Origin

PeoplesOrigin = Literal["seed", "review", "calibration", "audit"]


def label(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="Columns: path or sha256, and label.")
    ],
    origin: Annotated[PeoplesOrigin, typer.Option(help="Where these labels come from.")] = "seed",
    replace: Annotated[
        bool, flag("--replace", help="Take back earlier labels that these contradict.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Import people's labels from a CSV file: all of them, or none and the reasons why.

    A relative path is looked up from the file's folder, then from the current one. The
    label is one of your two class names or `unsure`; an empty one is passed over.
    Columns `reasons` (separated by |) and `note` are kept.

    Example: curator label seeds.csv
    """
    from curator.workflows.label import label as workflow

    with invocation(context).workspace() as workspace:
        report = workflow(
            workspace, file, origin=Origin(origin), replace=replace, actor=current_user()
        )
    if json:
        emit_json(report)
        return
    told = ", ".join(f"{number:,} {shown(name)}" for name, number in report.labels.items())
    emit(f"Recorded {count(report.recorded, 'label')} from {shown(file)} ({told}).")
    for number, text in (
        (report.unchanged, "said what stood already"),
        (report.unanswered, "had no label in the file"),
        (report.retracted, "earlier contradicted it and were taken back"),
    ):
        if number:
            emit(f"  {number:,} {text}")
    if report.conflicts:
        emit(f"  {count(report.conflicts, 'image')} labelled both ways: curator review conflict")
