"""Rows on disk that are taken up where they were left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.storage.rowfile import RowFile

TABLE = np.arange(300, dtype=np.int32).reshape(100, 3)


class Maker:
    """Makes rows, remembers which, and may stop as a killed process would."""

    def __init__(self, stop_at: int = 1_000) -> None:
        self.made: list[int] = []
        self.stop_at = stop_at

    def __call__(self, start: int, count: int) -> NDArray[np.int32]:
        if start >= self.stop_at:
            raise KeyboardInterrupt
        self.made.append(start)
        return TABLE[start : start + count]


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    file, told = RowFile(tmp_path / "graph.i32", 3, "<i4"), []
    with pytest.raises(KeyboardInterrupt):
        file.fill(100, 16, Maker(stop_at=48), told.append)
    assert file.rows() == 48
    second = Maker()
    file.fill(100, 16, second, told.append)
    assert second.made == [48, 64, 80, 96]
    assert sum(told) == 48 + 100
    assert (file.read(100) == TABLE).all()
    third = Maker(stop_at=0)
    file.fill(100, 16, third, told.append)
    assert third.made == []


def test_rows_that_nobody_vouches_for_are_written_again(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "graph.i32", 3, "<i4")
    with pytest.raises(KeyboardInterrupt):
        file.fill(100, 32, Maker(stop_at=32), lambda rows: None)
    with file.path.open("ab") as stream:
        stream.write(b"\xff" * 500)
    assert file.rows() == 32
    file.fill(100, 32, Maker(), lambda rows: None)
    assert (file.read(100) == TABLE).all()


def test_a_lost_or_shortened_file_counts_for_what_is_there(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "graph.i32", 3, "<i4")
    assert file.rows() == 0
    file.fill(100, 100, Maker(), lambda rows: None)
    with file.path.open("r+b") as stream:
        stream.truncate(10 * file.row_bytes + 1)
    assert file.rows() == 10
    file.fill(100, 100, Maker(), lambda rows: None)
    assert (file.read(100) == TABLE).all()
    file.path.unlink()
    assert file.rows() == 0
