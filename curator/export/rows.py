"""The rows of a manifest, and what stands behind each: the file itself.

A manifest is sorted by the path as it is written. A pool may have more locations than
memory, so it is sorted on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from curator.export.sorting import RUN_LENGTH, sorted_on_disk


class Entry(NamedTuple):
    """One location as it is written. The fields are the columns, in their order.

    `path` is text made by `paths.path_text`, `sha256` 64 hexadecimal digits, `label` the
    user's name of the class. `probability` is P(positive); it, `round`, `group` and
    `split` are None where there is none, label and origin without a label. Width and
    height are pixels after EXIF orientation.
    """

    path: str
    sha256: str
    label: str | None
    origin: str | None
    probability: float | None
    round: int | None
    group: str | None
    split: str | None
    width: int | None
    height: int | None


class Item(NamedTuple):
    """An entry and the file that it is about.

    `file` is the absolute path as text of `paths.path_text`, `size` in bytes, `mtime_ns`
    when it was last changed as far as the catalogue knows; `format` is the decoder's name
    of the format, and images with the same `unit` must stay together.
    """

    entry: Entry
    image_id: int
    file: str
    source: str
    size: int
    mtime_ns: int
    format: str | None
    unit: int

    @classmethod
    def restored(cls, row: list[Any]) -> Item:
        """The item that JSON made a list of."""
        entry, *rest = row
        return cls(Entry._make(entry), *rest)


COLUMNS = Entry._fields


class Columns(NamedTuple):
    """Some entries, column by column, in the same order; all of one length."""

    path: Sequence[str]
    sha256: Sequence[str]
    label: Sequence[str | None]
    origin: Sequence[str | None]
    probability: Sequence[float | None]
    round: Sequence[int | None]
    group: Sequence[str | None]
    split: Sequence[str | None]
    width: Sequence[int | None]
    height: Sequence[int | None]


def in_columns(rows: Iterable[Entry], together: int) -> Iterator[Columns]:
    """Entries as columns, so many at a time."""
    source = iter(rows)
    while some := list(islice(source, together)):
        yield Columns._make(zip(*some, strict=True))


def regrouped(batches: Iterable[Columns], together: int) -> Iterator[Columns]:
    """The same rows in batches of exactly `together`, but for the last."""
    kept: list[list[Any]] = [[] for _ in COLUMNS]
    for batch in batches:
        for column, values in zip(kept, batch, strict=True):
            column.extend(values)
        while len(kept[0]) >= together:
            yield Columns._make(column[:together] for column in kept)
            kept = [column[together:] for column in kept]
    if kept[0]:
        yield Columns._make(kept)


def in_order(rows: Iterable[Entry], scratch: Path, run_length: int = RUN_LENGTH) -> Iterator[Entry]:
    """`rows` sorted by path, then by sha256, without holding all of them in memory.

    Equal rows (the same file seen through two overlapping sources) come out once. Raises
    OSError if the folder `scratch` cannot be written.
    """
    return sorted_on_disk(rows, scratch, key=_place, restore=Entry._make, run_length=run_length)


def _place(row: Entry) -> tuple[str, str]:
    return row.path, row.sha256


def one_per_unit(items: Iterable[Item], scratch: Path) -> Iterator[Item]:
    """One item of each unit: one that a person labelled, else any label; then the largest."""
    previous = None
    for item in sorted_on_disk(items, scratch, key=_standing_for_its_unit, restore=Item.restored):
        if item.unit != previous:
            yield item
        previous = item.unit


def _standing_for_its_unit(item: Item) -> tuple[int, int, int, str, str]:
    entry = item.entry
    doubt = 2 if entry.label is None else int(entry.origin == "promoted")
    pixels = (entry.width or 0) * (entry.height or 0)
    return item.unit, doubt, -pixels, entry.sha256, entry.path
