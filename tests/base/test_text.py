"""File names survive the way into a manifest and back, whatever bytes they hold."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.base.csv_files import needs_guard
from curator.base.text import path_bytes, path_text, relative_path

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


@given(NAMES)
def test_any_name_comes_back(name: bytes) -> None:
    text = path_text(name)
    assert path_bytes(text) == name
    text.encode("utf-8")


@given(st.lists(NAMES, unique=True, max_size=20))
def test_different_names_stay_different(names: list[bytes]) -> None:
    assert len({path_text(name) for name in names}) == len(names)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_utf8_names_are_written_as_they_are(name: str) -> None:
    if not name.startswith(("file:", "./")) and not needs_guard(name):
        assert path_text(name.encode()) == name


def test_the_documented_escape() -> None:
    assert path_text(b"/data/caf\xe9 1.jpg") == "file:/data/caf%E9%201.jpg"
    assert path_text("/data/café.jpg".encode()) == "/data/café.jpg"
    assert path_text(b"file:x.jpg") == "file:file%3Ax.jpg"
    assert path_text(b"=x.jpg") == "./=x.jpg"
    assert path_text(b"./=x.jpg") == "file:./%3Dx.jpg"


def test_raw_names_read_with_surrogates_are_understood() -> None:
    assert path_bytes(os.fsdecode(b"caf\xe9.jpg")) == b"caf\xe9.jpg"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (None, b"/data/a/b.jpg"),
        (b"/data", b"a/b.jpg"),
        (b"/data/a", b"b.jpg"),
        (b"/data/c", b"../a/b.jpg"),
    ],
)
def test_relative_paths(folder: bytes | None, expected: bytes) -> None:
    assert relative_path(b"/data/a/b.jpg", folder) == expected
