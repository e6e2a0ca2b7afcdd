"""Putting any number of rows into order without holding all of them.

Rows are sorted in runs; runs beyond the first go to unnamed temporary files and are
merged, so memory stays the same whatever is sorted. Rows are tuples of JSON values, and
tuples of these.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

Row = TypeVar("Row", bound=tuple[Any, ...])

RUN_LENGTH = 50_000
"""Rows that are held in memory at once while sorting: about 30 MB."""

_BLOCK = 100


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
    source = iter(rows)
    with ExitStack() as files:
        runs: list[Iterator[Row]] = []
        while run := sorted(itertools.islice(source, run_length), key=key):
            if len(run) < run_length:
                runs.append(iter(run))
                break
            spill = files.enter_context(tempfile.TemporaryFile(dir=scratch))
            _spill(run, spill)
            runs.append(_unspill(spill, restore))
            run.clear()
        yield from _distinct(heapq.merge(*runs, key=key))


class Spilled(Generic[Row]):
    """Rows put aside in an unnamed temporary file in `scratch`; made when the first one comes."""

    def __init__(self, scratch: Path, restore: Callable[[list[Any]], Row]) -> None:
        self._scratch = scratch
        self._restore = restore
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Spilled[Row]:
        """Nothing is made yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """The file goes."""
        if self._stream is not None:
            self._stream.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Put rows aside. Raises OSError if they cannot be written."""
        if self._stream is None:
            # Closed by __exit__.
            self._stream = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
        self._stream.seek(0, os.SEEK_END)
        _write(rows, self._stream)

    def __iter__(self) -> Iterator[Row]:
        if self._stream is None:
            return
        self._stream.seek(0)
        yield from _unspill(self._stream, self._restore)


def _distinct(rows: Iterable[Row]) -> Iterator[Row]:
    previous = None
    for row in rows:
        if row != previous:
            yield row
        previous = row


def _spill(run: Sequence[Row], stream: IO[bytes]) -> None:
    _write(run, stream)
    stream.seek(0)


def _write(rows: Sequence[Row], stream: IO[bytes]) -> None:
    for start in range(0, len(rows), _BLOCK):
        stream.write(json.dumps(rows[start : start + _BLOCK]).encode() + b"\n")


def _unspill(stream: IO[bytes], restore: Callable[[list[Any]], Row]) -> Iterator[Row]:
    for line in stream:
        yield from map(restore, json.loads(line))
