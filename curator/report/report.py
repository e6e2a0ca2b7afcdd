"""The story of a workspace as one HTML page that can be sent to anybody.

It is collected from one unchanging view of the catalogue while others go on working, and
written in one step. Nothing about the time or the machine of the report goes into it, so
the same workspace gives the same page.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from curator.base.files import check_destination, replacing
from curator.base.progress import SILENT, Progress
from curator.report.collect import collect_report
from curator.report.data import ReportData
from curator.workspace import Workspace

USUAL_NAME = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReport:
    """The page that was written, its size, and what it tells."""

    destination: Path
    size: int
    story: ReportData


def report(
    workspace: Workspace,
    destination: Path | None = None,
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> WrittenReport:
    """Write the page; without a destination to `report.html` in the workspace.

    Raises UsageError if the destination is a folder, StorageError if it exists and `force`
    is not given, or if it cannot be written.
    """
    place = workspace.root / USUAL_NAME if destination is None else destination
    check_destination(place, force=force)
    story = collect_report(workspace, progress)
    content = page_of(story).encode()
    with replacing(place) as stream:
        stream.write(content)
    return WrittenReport(destination=place, size=len(content), story=story)


def page_of(story: ReportData) -> str:
    """The page."""
    from curator.report.page import render

    return render(story)
