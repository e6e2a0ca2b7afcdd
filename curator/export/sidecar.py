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

from curator.core.version import __version__
from curator.export.rows import Entry

SCHEMA = 1
"""Raised when a field changes its meaning or goes away; new fields may come at any time."""


_LIBRARIES = ("numpy", "openvino", "pillow", "pillow-heif", "pyarrow", "timm", "torch")


def sidecar_path(destination: Path) -> Path:
    """The name of the sidecar: the whole name of the manifest and `.json`."""
    return destination.with_name(destination.name + ".json")


class Tally:
    """Counts of the rows that went into a manifest."""

    def __init__(self) -> None:
        self._cells: Counter[tuple[str, str]] = Counter()
        self.rows = 0

    def count(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """`entries` as they are, each counted on its way."""
        for entry in entries:
            self.rows += 1
            self._cells[entry.label, entry.origin] += 1
            yield entry

    def by_label(self) -> dict[str, dict[str, int]]:
        """Label → origin → rows, in alphabetical order."""
        labels: dict[str, dict[str, int]] = {}
        for (label, origin), count in sorted(self._cells.items()):
            labels.setdefault(label, {})[origin] = count
        return labels


def library_versions() -> dict[str, str]:
    """The versions of what may change a label: curator, Python, and the libraries under it."""
    found = {"curator": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def digest_of(stream: BinaryIO) -> str:
    """The SHA-256 of what was written so far to `stream`, a file that has a name."""
    stream.flush()
    with Path(stream.name).open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def sidecar_bytes(content: Mapping[str, Any]) -> bytes:
    """`content` as indented JSON in UTF-8, in the order in which it is given."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
