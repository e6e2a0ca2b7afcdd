"""The command that shows the whole way on real photographs: `demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curator.cli.invocation import invocation
from curator.cli.options import AsJson, path_argument
from curator.cli.output import emit, emit_json, shown, table


def demo(
    context: typer.Context,
    folder: Annotated[
        Path, path_argument("DIR", "A new folder, which becomes a workspace.")
    ] = Path("demo"),
    json: AsJson = False,
) -> None:
    """Curate 2,624 real photographs of solar cells twice: an easy task, and a hard one.

    200 labels each, rounds until they are stable, for the easy one a blind audit and its
    certificate; then a table that compares with what is known of all cells. Needs the package
    `elpv-dataset`, and no network. Takes about 90 s on two cores.

    Example: curator demo
    """
    from curator.demo import demo as workflow

    report = workflow(folder, progress=invocation(context).progress())
    if json:
        emit_json(report.as_json())
        return
    head, *rows = report.rows()
    emit(table(head, rows))
    emit("")
    for name, path in (
        ("Contact sheet", report.picture),
        ("Report", report.page),
        ("Manifest by type", report.type.manifest),
        ("Manifest by defect", report.defects.manifest),
    ):
        emit(f"{name}: {shown(path)}")
    emit(
        f"Defects are hard to see, and {report.defects.labels} labels settle few of them."
        f" What curator advises: {report.defects.advice}"
    )
