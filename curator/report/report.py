"""The report of a workspace: one HTML page that can be sent to anybody.

It is collected from one snapshot of the catalogue while others go on working, and written in
one step. Nothing about the time or the machine of the report goes into it, so the same
workspace gives the same page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.base.files import check_destination, replacing
from curator.base.progress import SILENT, Progress
from curator.report.data import ReportData, collect_report
from curator.report.page import render
from curator.workspace import Workspace

USUAL_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """The page that was written, its size in bytes, and what it shows."""

    destination: Path
    size: int
    contents: ReportData


def report(
    workspace: Workspace,
    destination: Path | None = None,
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> WrittenReport:
    """Write the page; without a destination to `report.html` in the workspace.

    Raises UsageError if the destination is a folder, StorageError if it exists and `force`
    is not set, or if it cannot be written.
    """
    target = workspace.root / USUAL_NAME if destination is None else destination
    check_destination(target, force=force)
    contents = collect_report(workspace, progress)
    html = render(contents).encode()
    with replacing(target) as stream:
        stream.write(html)
    return WrittenReport(destination=target, size=len(html), contents=contents)
