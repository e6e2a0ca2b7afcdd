"""The rows of a manifest, their order, and their counts.

A manifest is sorted by the path as it is written. A pool may have more locations than memory
holds, so rows are sorted in runs; runs beyond the first go to unnamed temporary files and are
merged. Rows are tuples of JSON values, and tuples of these.
"""

from __future__ import annotations

import heapq
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np

from curator.base.arrays import IntArray
from curator.base.chunks import chunked
from curator.base.idset import IdSet
from curator.base.vocabulary import Origin

Row = TypeVar("Row", bound=tuple[Any, ...])

TOGETHER = 10_000
"""Rows in a batch of columns; more take more memory and save no time."""

RUN_LENGTH = 50_000
"""Rows that are held in memory at once while sorting: about 30 MB."""

_BLOCK = 100


class ManifestRow(NamedTuple):
    """One location as it is written. The fields are the columns, in their order.

    `path` is text made by `text.path_text`, `sha256` 64 hexadecimal digits, `label` the
    user's name of the class. `probability` is the current P(positive), `promoted_probability` that
    of the moment when a round gave the label; they, `round`, `group` and
    `split` are None where there is none, label and origin without a label. Width and
    height are pixels after EXIF orientation.
    """

    path: str
    sha256: str
    label: str | None
    origin: str | None
    probability: float | None
    promoted_probability: float | None
    round: int | None
    group: str | None
    split: str | None
    width: int | None
    height: int | None


class ExportFile(NamedTuple):
    """A row and the file that it is about.

    `path` is the absolute path as text of `text.path_text`, `size` in bytes, `mtime_ns`
    when it was last changed as far as the catalogue knows; `format` is the decoder's name
    of the format, and images with the same `unit` must stay together. `other_paths` are further
    paths of the image. `converted_from` is the format of these files where the export converts
    them to `format`. An `absent` one is not on the disk now, nor elsewhere as far as is known.
    """

    row: ManifestRow
    image_id: int
    path: str
    source: str
    size: int
    mtime_ns: int
    format: str | None
    unit: int
    other_paths: tuple[str, ...] = ()
    converted_from: str | None = None
    absent: bool = False

    @classmethod
    def restored(cls, values: list[Any]) -> ExportFile:
        """The file that JSON made a list of."""
        row, *rest = values
        file = cls(ManifestRow._make(row), *rest)
        return file._replace(other_paths=tuple(file.other_paths))

    def paths(self) -> tuple[str, ...]:
        """Where the image may lie, in the order in which to look."""
        return self.path, *self.other_paths


COLUMNS = ManifestRow._fields
PROBABILITIES = ("probability", "promoted_probability")
NUMBERS: dict[str, type] = {
    **dict.fromkeys(PROBABILITIES, float),
    **dict.fromkeys(("round", "width", "height"), int),
}
"""The columns that hold numbers; all others hold text."""


class ManifestColumns(NamedTuple):
    """Some rows, column by column, in the same order; all of one length."""

    path: Sequence[str]
    sha256: Sequence[str]
    label: Sequence[str | None]
    origin: Sequence[str | None]
    probability: Sequence[float | None]
    promoted_probability: Sequence[float | None]
    round: Sequence[int | None]
    group: Sequence[str | None]
    split: Sequence[str | None]
    width: Sequence[int | None]
    height: Sequence[int | None]


class ExportCounts:
    """Counts of what went into an export."""

    def __init__(self) -> None:
        self._labels: Counter[tuple[str, str]] = Counter()
        self._parts: Counter[tuple[str, str]] = Counter()
        self._images = IdSet()
        self.promoted = IdSet()
        self.rows_of_source: Counter[str] = Counter()
        self.rows = 0
        self.unlabelled = 0

    def add_images(
        self, image_ids: IntArray, origins: Sequence[str | None], sources: Sequence[str]
    ) -> None:
        """The images behind some rows, (n,) each: a file in two sources counts for both."""
        self.rows_of_source.update(sources)
        self._images.add_all(image_ids)
        promoted = (origin == Origin.PROMOTED for origin in origins)
        self.promoted.add_all(image_ids[np.fromiter(promoted, np.bool_, len(origins))])

    def counted(self, batches: Iterable[ManifestColumns]) -> Iterator[ManifestColumns]:
        """Rows as they are written, each counted when it is given out."""
        for batch in batches:
            self.rows += len(batch.path)
            labels = Counter(zip(batch.label, batch.origin, strict=True))
            for (label, origin), number in labels.items():
                if label is None or origin is None:
                    self.unlabelled += number
                else:
                    self._labels[label, origin] += number
            parts = Counter(zip(batch.split, batch.label, strict=True))
            for (part, label), number in parts.items():
                if part is not None:
                    self._parts[part, label or ""] += number
            yield batch

    @property
    def images(self) -> int:
        """Distinct images."""
        return len(self._images)

    def by_label(self) -> dict[str, dict[str, int]]:
        """Label → origin → rows, in alphabetical order; those without a label are not in it."""
        return _nested(self._labels)

    def by_part(self) -> dict[str, dict[str, int]]:
        """Split → label → rows; the empty label is that of rows without one."""
        return _nested(self._parts)


def _nested(cells: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (outer, inner), count in sorted(cells.items()):
        nested.setdefault(outer, {})[inner] = count
    return nested


def in_columns(rows: Iterable[ManifestRow], together: int = TOGETHER) -> Iterator[ManifestColumns]:
    """Rows as columns, so many at a time."""
    for batch in chunked(rows, together):
        yield ManifestColumns._make(zip(*batch, strict=True))


def regrouped(batches: Iterable[ManifestColumns], together: int) -> Iterator[ManifestColumns]:
    """The same rows in batches of exactly `together`, but for the last."""
    pending: list[list[Any]] = [[] for _ in COLUMNS]
    for batch in batches:
        for column, values in zip(pending, batch, strict=True):
            column.extend(values)
        while len(pending[0]) >= together:
            yield ManifestColumns._make(column[:together] for column in pending)
            pending = [column[together:] for column in pending]
    if pending[0]:
        yield ManifestColumns._make(pending)


def in_order(
    rows: Iterable[ManifestRow], scratch: Path, run_length: int = RUN_LENGTH
) -> Iterator[ManifestRow]:
    """`rows` sorted by path, then by sha256, without holding all of them in memory.

    Equal rows (the same file seen through two overlapping sources) come out once. Raises
    OSError if the folder `scratch` cannot be written.
    """

    def key(row: ManifestRow) -> tuple[str, str]:
        return row.path, row.sha256

    return sorted_on_disk(rows, scratch, key=key, restore=ManifestRow._make, run_length=run_length)


def one_per_unit(files: Iterable[ExportFile], scratch: Path) -> Iterator[ExportFile]:
    """One file of each unit: one that is there, that a person labelled, else any; the largest."""

    def key(file: ExportFile) -> tuple[int, bool, int, int, str, str, str]:
        row = file.row
        doubt = 2 if row.label is None else int(row.origin == Origin.PROMOTED)
        pixels = (row.width or 0) * (row.height or 0)
        # Sources may overlap: without the last part, their order in the catalogue would decide.
        return file.unit, file.absent, doubt, -pixels, row.sha256, row.path, file.source

    previous = None
    for file in sorted_on_disk(files, scratch, key=key, restore=ExportFile.restored):
        if file.unit != previous:
            yield file
        previous = file.unit


def sorted_on_disk(
    rows: Iterable[Row],
    scratch: Path,
    *,
    key: Callable[[Row], Any],
    restore: Callable[[list[Any]], Row],
    run_length: int = RUN_LENGTH,
) -> Iterator[Row]:
    """`rows` in the order of `key`; of rows that are equal, only one.

    `restore` makes a row from the list that JSON made of it. Temporary files go to the
    folder `scratch`. Raises OSError if these cannot be written.
    """
    remaining = iter(rows)
    with ExitStack() as files:
        runs: list[Iterator[Row]] = []
        while run := sorted(islice(remaining, run_length), key=key):
            if len(run) < run_length:
                runs.append(iter(run))
                break
            stream = files.enter_context(tempfile.TemporaryFile(dir=scratch))
            write_rows(run, stream)
            stream.seek(0)
            runs.append(read_rows(stream, restore))
            run.clear()
        previous = None
        for row in heapq.merge(*runs, key=key):
            if row != previous:
                yield row
            previous = row


def write_rows(rows: Sequence[Row], stream: IO[bytes]) -> None:
    """Append rows to a temporary file, for `read_rows`."""
    for start in range(0, len(rows), _BLOCK):
        stream.write(json.dumps(rows[start : start + _BLOCK]).encode() + b"\n")


def read_rows(stream: IO[bytes], restore: Callable[[list[Any]], Row]) -> Iterator[Row]:
    """The rows that `write_rows` wrote, from where the stream is."""
    for line in stream:
        yield from map(restore, json.loads(line))
