"""A queue as a project of Label Studio: tasks out; its export comes back through `label`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from curator.base.files import check_destination, replacing
from curator.base.text import relative_path
from curator.review.label_studio_tasks import interface, task, tasks_json
from curator.review.queues import QueueRow
from curator.settings.sections import ClassesSettings


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
    tasks = [
        task(
            row.path,
            row.sha256,
            served_path=relative_path(row.path, root),
            suggestion=row.suggestion,
            probability=row.probability,
        )
        for row in rows
    ]
    with replacing(destination) as stream:
        stream.write(tasks_json(tasks).encode())
    with replacing(beside) as stream:
        stream.write(interface(classes.positive, classes.negative, classes.reasons).encode())
    return beside
