"""Rows on disk: what was recorded is there, and what is not what was written is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from curator.errors import StorageError
from curator.storage.rows import (
    Content,
    DamagedRowsError,
    RowFile,
    RowReader,
    RowWriter,
    contents_of,
)
from tests.support.disk import files_no_larger_than

DIMENSION = 5
NONE = np.empty(0, np.int64)


def rows(count: int, seed: int = 0) -> NDArray[np.float16]:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float16)


def features_in(folder: Path) -> RowFile:
    path = folder / "features" / "a.f16"
    return RowFile(path=path, dtype="<f2", shape=(DIMENSION,), mend="Run `curator encode`.")


def texts_in(folder: Path) -> RowFile:
    """Rows of different lengths: a digit and as many letters, decoded to the digit."""

    def decode(content: Content) -> NDArray[np.uint8]:
        return np.array([int(bytes(content[:1]))], np.uint8)

    path = folder / "pixels" / "b.u8"
    return RowFile(path=path, dtype="u1", shape=(1,), mend="Run `curator pack`.", decode=decode)


def texts(digits: str) -> list[Content]:
    return [digit.encode() + b"x" * int(digit) for digit in digits]


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    return features_in(tmp_path)


def write(file: RowFile, *appended: list[Content]) -> NDArray[np.uint64]:
    """Append to an empty file; the digests."""
    with RowWriter(file, 0, NONE) as writer:
        return np.concatenate([writer.append(contents)[1] for contents in appended])


def test_rows_come_back_bit_for_bit(file: RowFile) -> None:
    first, second = rows(7), rows(4, seed=1)
    with RowWriter(file, 0, NONE) as writer:
        numbers, some = writer.append(contents_of(first))
        assert numbers.tolist() == list(range(7))
        numbers, others = writer.append(contents_of(second))
        assert numbers.tolist() == list(range(7, 11))
    reader = RowReader(file, np.concatenate([some, others]))
    together = np.concatenate([first, second])
    wanted = np.array([10, 0, 3, 3])
    assert reader.gather(wanted).tobytes() == together[wanted].tobytes()
    assert reader.gather(wanted).dtype == np.float16
    assert reader.damaged().tolist() == []


def test_reading_a_row_that_is_not_there_is_an_error(file: RowFile) -> None:
    reader = RowReader(file, write(file, contents_of(rows(3)))[:2])
    for outside in (-1, 2):
        with pytest.raises(IndexError):
            reader.gather(np.array([0, outside]))


@pytest.mark.parametrize("make", [features_in, texts_in])
def test_a_set_without_rows_can_be_read(tmp_path: Path, make: object) -> None:
    file = make(tmp_path)  # type: ignore[operator]
    reader = RowReader(file, np.empty(0, np.uint64))
    assert reader.gather(NONE).shape == (0, *file.shape)
    assert reader.damaged().tolist() == []


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    appended=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    recorded_appends=st.integers(0, 6),
    torn_bytes=st.integers(0, 40),
)
def test_after_a_crash_the_next_writer_continues_behind_what_was_recorded(
    tmp_path: Path, appended: list[int], recorded_appends: int, torn_bytes: int
) -> None:
    file = features_in(tmp_path / os.urandom(8).hex())
    content = rows(sum(appended))
    recorded = sum(appended[:recorded_appends])
    digests = write(file, contents_of(content))
    with file.path.open("ab") as stream:
        stream.write(b"\x01" * torn_bytes)
    with RowWriter(file, recorded, NONE) as writer:
        rest = content[recorded:]
        if len(rest):
            assert writer.append(contents_of(rest))[0].tolist() == [*range(recorded, len(content))]
    reader = RowReader(file, digests)
    assert reader.gather(np.arange(len(content))).tobytes() == content.tobytes()
    assert file.path.stat().st_size == content.nbytes


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_change_of_any_byte_is_found_and_located(tmp_path: Path, data: st.DataObject) -> None:
    """Flipped, cut, lengthened, zeroed, exchanged: exactly the rows that differ are named."""
    file = features_in(tmp_path / os.urandom(8).hex())
    content = rows(12)
    digests = write(file, contents_of(content))
    raw = bytearray(content.tobytes())
    start = data.draw(st.integers(0, len(raw) - 1))
    length = data.draw(st.integers(1, len(raw) - start))
    raw[start : start + length] = data.draw(st.binary(max_size=2 * length))
    file.path.write_bytes(raw)
    now = np.zeros((12, file.row_bytes), np.uint8)
    whole = bytes(raw[: now.size]).ljust(now.size, b"\0")
    now[:] = np.frombuffer(whole, np.uint8).reshape(now.shape)
    before = content.view(np.uint8).reshape(now.shape)
    missing = np.arange(12) >= len(raw) // file.row_bytes
    differs = np.flatnonzero((now != before).any(axis=1) | missing)
    reader = RowReader(file, digests)
    assert reader.damaged().tolist() == differs.tolist()
    intact = np.setdiff1d(np.arange(12), differs)
    assert reader.gather(intact).tobytes() == content[intact].tobytes()
    if len(differs):
        with pytest.raises(DamagedRowsError, match=r"of 12 rows of .*a\.f16 are damaged"):
            reader.gather(differs[:1])


def test_rows_that_changed_places_are_noticed(file: RowFile) -> None:
    content = rows(6)
    digests = write(file, contents_of(content))
    file.path.write_bytes(content[[0, 2, 1, 3, 4, 5]].tobytes())
    assert RowReader(file, digests).damaged().tolist() == [1, 2]


def test_rows_of_different_lengths_are_compared_as_well(tmp_path: Path) -> None:
    file = texts_in(tmp_path)
    digests = write(file, texts("3124"), texts("05"))
    reader = RowReader(file, digests)
    assert reader.gather(np.array([5, 1, 0]))[:, 0].tolist() == [5, 1, 3]
    places = file.places_path.read_bytes()
    file.places_path.write_bytes(places[16:32] + places[:16] + b"\xff" * 64)
    assert RowReader(file, digests).damaged().tolist() == [0, 1, 2, 3, 4, 5]
    file.places_path.write_bytes(places)
    content = file.path.read_bytes()
    file.path.write_bytes(content.replace(b"4xxxx", b"4xxyx"))
    assert RowReader(file, digests).damaged().tolist() == [3]
    file.places_path.unlink()
    assert len(RowReader(file, digests).damaged()) == 6


@pytest.mark.parametrize("kind", ["fixed", "varying"])
def test_what_is_written_again_comes_to_the_place_of_what_was_forgotten(
    tmp_path: Path, kind: str
) -> None:
    file = features_in(tmp_path) if kind == "fixed" else texts_in(tmp_path)
    contents = contents_of(rows(6)) if kind == "fixed" else texts("314159")
    digests = write(file, contents)
    before = RowReader(file, digests).gather(np.arange(6))
    digests[[1, 4]] = 0  # forgotten: no image refers to these rows
    more = contents_of(rows(2, seed=1)) if kind == "fixed" else texts("70")
    with RowWriter(file, 6, np.array([1, 4])) as writer:
        numbers, new = writer.append([contents[1], contents[4], *more])
    assert numbers.tolist() == [1, 4, 6, 7]
    digests = np.concatenate([digests, np.zeros(2, np.uint64)])
    digests[numbers] = new
    reader = RowReader(file, digests)
    assert reader.gather(np.arange(6)).tobytes() == before.tobytes()
    assert reader.damaged().tolist() == []
    assert len(reader.gather(np.array([6, 7]))) == 2


def test_when_the_disk_is_full_nothing_is_lost_and_it_goes_on_later(file: RowFile) -> None:
    content = rows(100)
    with RowWriter(file, 0, NONE) as writer:
        _, some = writer.append(contents_of(content[:40]))
        with files_no_larger_than(60 * file.row_bytes), pytest.raises(StorageError) as caught:
            writer.append(contents_of(content[40:]))
        assert "Make room" in caught.value.advice
        assert file.path.stat().st_size == 40 * file.row_bytes
        numbers, others = writer.append(contents_of(content[40:]))
        assert numbers.tolist() == list(range(40, 100))
    reader = RowReader(file, np.concatenate([some, others]))
    assert reader.gather(np.arange(100)).tobytes() == content.tobytes()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        RowWriter(features_in(tmp_path), 0, NONE)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    file = features_in(tmp_path)
    file.path.parent.mkdir()
    (tmp_path / "precious").write_bytes(b"not curator's")
    file.path.symlink_to(tmp_path / "precious")
    with pytest.raises(StorageError, match="cannot be written"):
        RowWriter(file, 0, NONE)
    assert (tmp_path / "precious").read_bytes() == b"not curator's"
