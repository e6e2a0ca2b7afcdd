"""Manifests are sorted by path in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest

from curator.export.rows import in_order
from tests.export.entries import AWKWARD, entry, many


@pytest.mark.parametrize("run_length", [1, 3, 7, 8, 1_000])
def test_sorting_in_runs_equals_sorting_at_once(tmp_path: Path, run_length: int) -> None:
    entries = [*AWKWARD, *many(200)]
    random.Random(1).shuffle(entries)
    assert list(in_order(entries, tmp_path, run_length)) == sorted(
        entries, key=lambda row: (row.path, row.sha256)
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_seen_through_two_sources_comes_once(tmp_path: Path) -> None:
    twice = entry(b"/data/a.jpg")
    other = twice._replace(sha256="0" * 64)
    assert list(in_order([twice, other, twice], tmp_path, 2)) == [other, twice]


def test_nothing_to_sort(tmp_path: Path) -> None:
    assert list(in_order([], tmp_path)) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in in_order((row for row in many(count)), tmp_path, 2_000):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # `many` itself holds its shuffled numbers: 36 bytes each, far below a row.
    assert peak(40_000) < peak(8_000) + 32_000 * 60
