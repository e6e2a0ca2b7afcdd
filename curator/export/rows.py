"""The rows of a manifest, and putting any number of them into order.

A manifest is sorted by the path as it is written. A pool may have more locations than
memory, so sorting happens in runs that are spilled to a temporary file and merged.
"""

from __future__ import annotations

import heapq
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple


class Entry(NamedTuple):
    """One labelled location as it is written. The fields are the columns, in their order.

    `path` is text made by `paths.path_text`, `sha256` 64 hexadecimal digits, `label` the
    user's name of the class. `probability` is P(positive); it, `round`, `group` and
    `split` are None where there is none. Width and height are pixels after EXIF
    orientation.
    """

    path: str
    sha256: str
    label: str
    origin: str
    probability: float | None
    round: int | None
    group: str | None
    split: str | None
    width: int | None
    height: int | None


COLUMNS = Entry._fields

RUN_LENGTH = 50_000
"""Rows that are held in memory at once while sorting: about 30 MB."""

_BLOCK = 100


def in_order(rows: Iterable[Entry], scratch: Path, run_length: int = RUN_LENGTH) -> Iterator[Entry]:
    """`rows` sorted by path, then by sha256, without holding all of them in memory.

    Equal rows (the same file seen through two overlapping sources) come out once. Runs
    beyond the first are spilled to unnamed temporary files in the folder `scratch`.
    Raises OSError if these cannot be written.
    """
    source = iter(rows)
    with ExitStack() as files:
        runs: list[Iterator[Entry]] = []
        while run := sorted(itertools.islice(source, run_length), key=_order):
            if len(run) < run_length:
                runs.append(iter(run))
                break
            spill = files.enter_context(tempfile.TemporaryFile(dir=scratch))
            _spill(run, spill)
            runs.append(_unspill(spill))
            run.clear()
        yield from _distinct(heapq.merge(*runs, key=_order))


def _order(row: Entry) -> tuple[str, str]:
    return row.path, row.sha256


def _distinct(rows: Iterable[Entry]) -> Iterator[Entry]:
    previous = None
    for row in rows:
        if row != previous:
            yield row
        previous = row


def _spill(run: list[Entry], stream: IO[bytes]) -> None:
    for start in range(0, len(run), _BLOCK):
        stream.write(json.dumps(run[start : start + _BLOCK]).encode() + b"\n")
    stream.seek(0)


def _unspill(stream: IO[bytes]) -> Iterator[Entry]:
    for line in stream:
        yield from itertools.starmap(Entry, json.loads(line))
