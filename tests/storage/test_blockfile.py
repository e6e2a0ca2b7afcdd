"""Rows on disk that are taken up where they were left, or where they are damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from curator.storage.blockfile import BlockFile

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


def file_in(folder: Path, block: int = 16, key: str = "ab" * 32) -> BlockFile:
    return BlockFile(folder / "graph.i32", 3, "<i4", block, key)


def ignore(rows: int) -> None: ...


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    file, told = file_in(tmp_path), []
    with pytest.raises(KeyboardInterrupt):
        file.fill(100, Maker(stop_at=48), told.append)
    assert file.intact_rows(100) == 48
    second = Maker()
    assert (file.fill(100, second, told.append) == TABLE).all()
    assert second.made == [48, 64, 80, 96]
    assert sum(told) == 48 + 100
    third = Maker(stop_at=0)
    assert (file.fill(100, third, ignore) == TABLE).all()
    assert third.made == []


def test_rows_that_nobody_vouches_for_are_written_again(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        file.fill(100, Maker(stop_at=32), ignore)
    with file.path.open("ab") as stream:
        stream.write(b"\xff" * 500)
    assert file.intact_rows(100) == 32
    assert (file.fill(100, Maker(), ignore) == TABLE).all()


@pytest.mark.parametrize(
    ("intact", "damage"),
    [
        (32, lambda content: content[:400]),
        (48, lambda content: content[:600] + b"\xff" + content[601:]),
        (0, lambda content: content[192:384] + content[:192] + content[384:]),
        (0, lambda content: b""),
        (100, lambda content: content + b"more"),
    ],
)
def test_damage_is_told_and_computed_again(
    tmp_path: Path, intact: int, damage: Callable[[bytes], bytes]
) -> None:
    file, notes = file_in(tmp_path), []
    file.fill(100, Maker(), ignore)
    file.path.write_bytes(damage(file.path.read_bytes()))
    assert file.intact_rows(100, notes.append) == intact
    assert len(notes) == (intact < 100)
    assert all(str(file.path) in note for note in notes)
    maker = Maker()
    assert (file.fill(100, maker, ignore) == TABLE).all()
    assert maker.made == list(range(intact, 100, 16))


def test_a_file_of_something_else_and_one_without_digests_count_for_nothing(tmp_path: Path) -> None:
    file_in(tmp_path).fill(100, Maker(), ignore)
    assert file_in(tmp_path, key="cd" * 32).intact_rows(100) == 0
    (tmp_path / "graph.digests").unlink()
    assert file_in(tmp_path).intact_rows(100) == 0
