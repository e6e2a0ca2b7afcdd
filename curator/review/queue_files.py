"""A queue as a file to label elsewhere: CSV, or a project of Label Studio.

Both come back through `curator label`. Label Studio's format is its own JSON: a list of
tasks, each with its `data` and, where curator leans to a class, one pre-annotation. It
serves local files as `/data/local-files/?d=PATH`, from its document root.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes
from xml.sax.saxutils import quoteattr

from curator.base.csv_files import csv_cell
from curator.base.files import check_destination, replacing
from curator.base.text import path_text, relative_path
from curator.review.queues import QueueRow
from curator.settings.sections import ClassesSettings
from curator.sources.addresses import is_url

LABEL, REASONS, NOTE, IMAGE = "label", "reasons", "note", "image"
"""The names of the controls in the labelling interface."""

UNSURE = "unsure"

_EXTRA = ("quarantine", "labelled", "flag", "queue")
"""Columns that are there where a row has something to say in them.

`label` reads the origin of the labels from the last one (`intake.queue_origin`).
"""


def queue_csv(rows: Sequence[QueueRow], *, relative_to: Path | None = None) -> str:
    """The rows as CSV, with an empty column `label` to be filled in and imported again."""
    folder = None if relative_to is None else os.fsencode(relative_to.absolute())
    # A flag without a note is a flag.
    extra = [name for name in _EXTRA if any(getattr(row, name) not in ("", None) for row in rows)]
    hints = [] if any(row.blind for row in rows) else ["probability", "suggestion"]
    lines = [["path", "sha256", *hints, "label", *extra]]
    for row in rows:
        path = path_text(relative_path(row.path, folder))
        hinted = [getattr(row, name) for name in hints]
        cells = [path, row.sha256.hex(), *hinted, None]
        cells += [str(getattr(row, name) or "") for name in extra]
        lines.append([csv_cell(cell) for cell in cells])
    return "".join(",".join(line) + "\n" for line in lines)


def write_queue(
    rows: Sequence[QueueRow],
    destination: Path,
    *,
    force: bool = False,
    relative_to: Path | None = None,
) -> None:
    """Write `queue_csv` to a file. Raises StorageError if it exists or cannot be written."""
    check_destination(destination, force=force)
    with replacing(destination) as stream:
        stream.write(queue_csv(rows, relative_to=relative_to).encode())


def write_tasks(
    rows: Sequence[QueueRow],
    destination: Path,
    classes: ClassesSettings,
    *,
    force: bool = False,
    relative_to: Path | None = None,
) -> Path:
    """Write the rows as tasks, and the labelling interface beside them as `.xml`.

    Paths are served relative to `relative_to`, which is then Label Studio's document root
    (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT), or to `/`. Returns the interface's path.
    Raises StorageError if a file exists or cannot be written.
    """
    beside = destination.with_suffix(".xml")
    for path in (destination, beside):
        check_destination(path, force=force)
    root = b"/" if relative_to is None else os.fsencode(relative_to.absolute())
    tasks = [_task(row, relative_path(row.path, root)) for row in rows]
    with replacing(destination) as stream:
        stream.write((json.dumps(tasks, indent=1, ensure_ascii=True) + "\n").encode())
    with replacing(beside) as stream:
        stream.write(_interface(classes).encode())
    return beside


def _task(row: QueueRow, served_path: bytes) -> dict[str, Any]:
    """One image as a task; `served_path` is relative to Label Studio's document root."""
    link = f"/data/local-files/?d={quote_from_bytes(served_path, safe='/')}"
    if is_url(row.path):
        link = path_text(row.path)  # Label Studio reads web and S3 addresses itself
    task: dict[str, Any] = {
        "data": {IMAGE: link, "path": path_text(row.path), "sha256": row.sha256.hex()},
    }
    if row.queue:
        task["data"]["queue"] = str(row.queue)
    if row.suggestion:
        choice = {
            "from_name": LABEL,
            "to_name": IMAGE,
            "type": "choices",
            "value": {"choices": [row.suggestion]},
        }
        task["predictions"] = [{"model_version": "curator", "result": [choice]}]
        if row.probability is not None:
            task["predictions"][0]["score"] = max(row.probability, 1 - row.probability)
    return task


def _interface(classes: ClassesSettings) -> str:
    """The labelling interface: paste it into the project's settings in Label Studio."""
    choices = ((classes.positive, "a"), (classes.negative, "x"), (UNSURE, "n"))
    lines = [
        "<View>",
        f'  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>',
        f'  <Choices name="{LABEL}" toName="{IMAGE}" choice="single" required="true">',
        *(f'    <Choice value={quoteattr(name)} hotkey="{key}"/>' for name, key in choices),
        "  </Choices>",
    ]
    if classes.reasons:
        lines += [
            f'  <Choices name="{REASONS}" toName="{IMAGE}" choice="multiple">',
            *(f"    <Choice value={quoteattr(reason)}/>" for reason in classes.reasons),
            "  </Choices>",
        ]
    lines += [f'  <TextArea name="{NOTE}" toName="{IMAGE}" maxSubmissions="1"/>', "</View>"]
    return "\n".join(lines) + "\n"
