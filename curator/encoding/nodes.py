"""Who reads a workspace's images: threads here, or nodes of a cluster that see the same files.

A node that does not see a folder would take all images that it gets for vanished. So nodes are
asked before work starts, and what a node cannot read is read here before it counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from curator.base.values import ImageFile
from curator.base.vocabulary import Quarantine
from curator.catalogue.images import image_chunks
from curator.catalogue.sources import list_sources
from curator.classifiers.devices import worker_count
from curator.encoding.stored_rows import files_of
from curator.imaging.opening import read_catalogued
from curator.imaging.problems import ImageProblem, Unreadable
from curator.runtime.runtime import Runtime, open_runtime, unseen
from curator.workspace import Workspace


@contextmanager
def workspace_runtime(
    workspace: Workspace, *needs: bytes, on_gpu: bool = False
) -> Iterator[Runtime]:
    """The engine of the settings, whose workers see workspace, sources and the paths `needs`.

    Raises what `open_runtime` raises.
    """
    catalogue, settings = workspace.catalogue, workspace.settings.runtime
    readable: list[bytes] = []
    if settings.engine != "local":
        paths = [os.fsencode(workspace.folder("models")), *needs]
        paths += [source.root for source in list_sources(catalogue)]
        # The mount point of a folder is there without it, too; an image is not.
        for ids in islice(image_chunks(catalogue, size=1), 1):
            paths += [file.path for file in files_of(catalogue, ids.tolist())]
        readable = [path for path in paths if os.access(path, os.R_OK)]
    workers = worker_count(settings.workers)
    with open_runtime(settings, workers, needs=readable, on_gpu=on_gpu) as runtime:
        yield runtime


def check_host(
    host: str, max_bytes: int, unreadable: Iterable[tuple[ImageFile, Unreadable]]
) -> None:
    """Raise DataError if this computer can read a file that the node `host` could not."""
    for file, problem in unreadable:
        if host and problem.reason in (Quarantine.VANISHED, Quarantine.UNREADABLE):
            with suppress(ImageProblem):
                read_catalogued(file, max_bytes)
                raise unseen(file.path, host)
