"""The feature store: what was recorded is there, what was not is cut off."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator.base.arrays import Float16Array
from curator.errors import StorageError
from curator.storage.features import FeatureFile, FeatureReader, FeatureWriter
from tests.support.disk import files_no_larger_than

DIMENSION = 5


def rows(count: int, seed: int = 0) -> Float16Array:
    return np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float16)


@pytest.fixture
def file(tmp_path: Path) -> FeatureFile:
    return FeatureFile(folder=tmp_path / "features", fingerprint="ab" * 32, dimension=DIMENSION)


def test_rows_come_back_bit_for_bit_by_gather_and_in_chunks(file: FeatureFile) -> None:
    first, second = rows(7), rows(4, seed=1)
    with FeatureWriter(file, 0) as writer:
        assert writer.append(first).tolist() == list(range(7))
        assert writer.append(second).tolist() == list(range(7, 11))
    reader = FeatureReader(file, 11)
    together = np.concatenate([first, second])
    wanted = np.array([10, 0, 3, 3])
    assert reader.gather(wanted).tobytes() == together[wanted].tobytes()
    chunks = list(reader.chunks(4))
    assert [start for start, _ in chunks] == [0, 4, 8]
    assert np.concatenate([part for _, part in chunks]).tobytes() == together.tobytes()
    assert reader.check() == []


def test_reading_a_row_that_is_not_there_is_an_error(file: FeatureFile) -> None:
    with FeatureWriter(file, 0) as writer:
        writer.append(rows(3))
    reader = FeatureReader(file, 2)
    for outside in (-1, 2):
        with pytest.raises(IndexError):
            reader.gather(np.array([0, outside]))


def test_a_store_without_rows_can_be_read(file: FeatureFile) -> None:
    reader = FeatureReader(file, 0)
    assert reader.gather(np.zeros(0, np.int64)).shape == (0, DIMENSION)
    assert list(reader.chunks(10)) == []


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
    name = os.urandom(32).hex()
    file = FeatureFile(folder=tmp_path, fingerprint=name, dimension=DIMENSION)
    content = rows(sum(appended))
    with FeatureWriter(file, 0) as writer:
        start = 0
        for count in appended:
            writer.append(content[start : start + count])
            start += count
    for path in (file.path, file.sums_path):
        with path.open("ab") as stream:
            stream.write(b"\x01" * torn_bytes)
    recorded = sum(appended[:recorded_appends])
    with FeatureWriter(file, recorded) as writer:
        assert writer.append(content[recorded:]).tolist() == list(range(recorded, len(content)))
    reader = FeatureReader(file, len(content))
    assert reader.gather(np.arange(len(content))).tobytes() == content.tobytes()
    assert reader.check() == []
    assert file.path.stat().st_size == content.nbytes


def test_damage_is_found_and_located(file: FeatureFile) -> None:
    with FeatureWriter(file, 0) as writer:
        for seed in range(3):
            writer.append(rows(4, seed))
    with file.path.open("r+b") as stream:
        stream.seek(5 * file.row_bytes)
        stream.write(b"\xff")
    assert FeatureReader(file, 12).check() == [range(4, 8)]
    file.sums_path.unlink()
    assert FeatureReader(file, 12).check() == [range(12)]


def test_lost_checksums_are_made_again_by_the_next_writer(file: FeatureFile) -> None:
    with FeatureWriter(file, 0) as writer:
        writer.append(rows(4))
    file.sums_path.unlink()
    FeatureWriter(file, 4).close()
    assert FeatureReader(file, 4).check() == []


def test_a_file_that_lost_rows_is_refused(file: FeatureFile) -> None:
    with FeatureWriter(file, 0) as writer:
        writer.append(rows(4))
    os.truncate(file.path, 3 * file.row_bytes + 1)
    assert file.stored_rows() == 3
    with pytest.raises(StorageError, match="3 of 4 rows"):
        FeatureReader(file, 4)
    with pytest.raises(StorageError, match="fewer rows"):
        FeatureWriter(file, 4)


def test_when_the_disk_is_full_nothing_is_lost_and_it_goes_on_later(file: FeatureFile) -> None:
    content = rows(100)
    with FeatureWriter(file, 0) as writer:
        writer.append(content[:40])
        with files_no_larger_than(60 * file.row_bytes), pytest.raises(StorageError) as caught:
            writer.append(content[40:])
        assert "Make room" in caught.value.advice
        assert file.path.stat().st_size == 40 * file.row_bytes
        assert writer.append(content[40:]).tolist() == list(range(40, 100))
    reader = FeatureReader(file, 100)
    assert reader.gather(np.arange(100)).tobytes() == content.tobytes()
    assert reader.check() == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    file = FeatureFile(folder=tmp_path / "features", fingerprint="cd" * 32, dimension=DIMENSION)
    with pytest.raises(StorageError, match="cannot be written"):
        FeatureWriter(file, 0)


def test_rows_of_another_width_are_a_bug(file: FeatureFile) -> None:
    with FeatureWriter(file, 0) as writer, pytest.raises(ValueError, match="shape"):
        writer.append(np.zeros((2, DIMENSION + 1), np.float16))
