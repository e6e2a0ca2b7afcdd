"""Previews: what was synced is found again, whatever happened behind it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from curator.base.values import PreviewPlace
from curator.errors import StorageError
from curator.storage.previews import PreviewStore

START = b"\xff\xd8"


def jpegs(count: int, size: int = 100) -> list[bytes]:
    return [START + bytes([number % 251]) * size for number in range(count)]


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    given = jpegs(20)
    with PreviewStore(tmp_path) as store:
        places = store.append(given)
        store.sync()
        assert [store.read(place) for place in places] == given
    with PreviewStore(tmp_path) as again:
        assert [again.read(place) for place in places] == given


def test_a_full_pack_is_followed_by_the_next(tmp_path: Path) -> None:
    given = jpegs(50)
    with PreviewStore(tmp_path, pack_bytes=1000) as store:
        places = store.append(given)
        assert {place.pack for place in places} == {0, 1, 2, 3, 4}
        assert [store.read(place) for place in places] == given
    assert all(path.stat().st_size <= 1102 for path in tmp_path.glob("*.pack"))


def test_a_torn_tail_harms_nothing(tmp_path: Path) -> None:
    with PreviewStore(tmp_path) as store:
        first = store.append(jpegs(3))
        store.sync()
    with (tmp_path / "0000.pack").open("ab") as stream:
        stream.write(START + b"cut off in the mid")
    with PreviewStore(tmp_path) as store:
        second = store.append(jpegs(4))
        store.sync()
        assert [store.read(place) for place in first + second] == jpegs(3) + jpegs(4)


def test_a_lost_preview_is_none(tmp_path: Path) -> None:
    with PreviewStore(tmp_path) as store:
        (place,) = store.append(jpegs(1))
        beyond = PreviewPlace(pack=0, offset=place.length, length=50)
        elsewhere = PreviewPlace(pack=7, offset=0, length=50)
        garbled = PreviewPlace(pack=0, offset=5, length=20)
        assert [store.read(lost) for lost in (beyond, elsewhere, garbled)] == [None] * 3


def test_many_may_read_while_one_appends(tmp_path: Path) -> None:
    errors: list[object] = []
    with PreviewStore(tmp_path, pack_bytes=5000) as writer, PreviewStore(tmp_path) as reader:
        places = writer.append(jpegs(30))

        def read_all() -> None:
            for _ in range(20):
                errors.extend(
                    place
                    for place, content in zip(places, jpegs(30), strict=True)
                    if reader.read(place) != content
                )

        threads = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        writer.append(jpegs(300))
        for thread in threads:
            thread.join()
    assert errors == []


def test_a_full_disk_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with PreviewStore(tmp_path) as store:
        store.append(jpegs(1))
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="No space left"):
            store.append(jpegs(1))


def test_a_folder_that_is_gone_is_said_plainly(tmp_path: Path) -> None:
    with PreviewStore(tmp_path / "gone") as store, pytest.raises(StorageError, match="gone"):
        store.append(jpegs(1))
