"""The JSON beside a manifest that says how it came about.

`clean.csv` is accompanied by `clean.csv.json`: what was counted, left out and promised,
under which settings, from whose images under which licences, and the digest that ties it
to the manifest. It holds no time and no host, so that the same work gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from curator.base.idset import IdSet
from curator.base.version import __version__
from curator.export.rows import Columns, Entry, Item

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; new fields may come at any time."""


_CHUNK = 1 << 20

_LIBRARIES = ("numpy", "openvino", "pillow", "pillow-heif", "pyarrow", "timm", "torch")


def sidecar_path(destination: Path) -> Path:
    """The name of the sidecar: the whole name of the manifest and `.json`."""
    return destination.with_name(destination.name + ".json")


class ExportCounts:
    """Counts of what went into an export."""

    def __init__(self) -> None:
        self._cells: Counter[tuple[str, str]] = Counter()
        self._parts: Counter[tuple[str, str]] = Counter()
        self._images = IdSet()
        self.promoted = IdSet()
        self.rows_of_source: Counter[str] = Counter()
        self.rows = 0
        self.unlabelled = 0

    def see(self, items: Iterable[Item]) -> Iterator[Item]:
        """`items` as they are, their images and sources counted on their way."""
        for item in items:
            self.rows_of_source[item.source] += 1
            self._images.add(item.image_id)
            if item.entry.origin == "promoted":
                self.promoted.add(item.image_id)
            yield item

    def count(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """`entries` as they are, each counted on its way."""
        for entry in entries:
            self.rows += 1
            if entry.label is None or entry.origin is None:
                self.unlabelled += 1
            else:
                self._cells[entry.label, entry.origin] += 1
            if entry.split is not None:
                self._parts[entry.split, entry.label or ""] += 1
            yield entry

    def see_all(
        self, batch: Columns, source: str, image_ids: NDArray[np.int64], promoted: NDArray[np.bool_]
    ) -> None:
        """A batch of rows of one source, counted at once; `promoted` says which rounds labelled."""
        self.rows_of_source[source] += len(batch.path)
        self._images.add_all(image_ids)
        self.promoted.add_all(image_ids[promoted])
        self.rows += len(batch.path)
        for (label, origin), number in Counter(zip(batch.label, batch.origin, strict=True)).items():
            if label is None or origin is None:
                self.unlabelled += number
            else:
                self._cells[label, origin] += number
        for (part, label), number in Counter(zip(batch.split, batch.label, strict=True)).items():
            if part is not None:
                self._parts[part, label or ""] += number

    @property
    def images(self) -> int:
        """Distinct images."""
        return len(self._images)

    def by_label(self) -> dict[str, dict[str, int]]:
        """Label → origin → rows, in alphabetical order; those without a label are not in it."""
        return _nested(self._cells)

    def by_part(self) -> dict[str, dict[str, int]]:
        """Split → label → rows; the empty label is that of rows without one."""
        return _nested(self._parts)


def _nested(cells: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (outer, inner), count in sorted(cells.items()):
        nested.setdefault(outer, {})[inner] = count
    return nested


def library_versions() -> dict[str, str]:
    """The versions of what may change a label: curator, Python, and the libraries under it."""
    found = {"curator": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def digest_of(stream: BinaryIO) -> str:
    """The SHA-256 of what was written so far to `stream`: one that can be read, or has a name."""
    stream.flush()
    if not stream.readable():
        with Path(stream.name).open("rb") as written:
            return hashlib.file_digest(written, "sha256").hexdigest()
    end = stream.tell()
    stream.seek(0)
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    stream.seek(end)
    return digest.hexdigest()


def sidecar_bytes(content: Mapping[str, Any]) -> bytes:
    """`content` as indented JSON in UTF-8, in the order in which it is given."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
