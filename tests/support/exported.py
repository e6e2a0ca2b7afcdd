"""Exports as a line of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curator.base.progress import SILENT, Progress
from curator.export import export as exporting
from curator.export.filters import ExportRequest
from curator.workspace import Workspace


def export(
    workspace: Workspace, destination: Path, *, progress: Progress = SILENT, **request: Any
) -> exporting.ExportReport:
    """Export to `destination`; `request` are fields of `ExportRequest`."""
    whole_request = ExportRequest(destination=destination, **request)
    return exporting.export(workspace, whole_request, progress)
