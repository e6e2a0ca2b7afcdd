"""Names that are safe on any disk, from names that are anything."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.base.text import path_text
from curator.export import layouts
from curator.export.building import check_component


@given(st.text(), st.sampled_from(["image", "class"]))
def test_any_text_becomes_one_safe_component(text: str, fallback: str) -> None:
    made = layouts.safe_name(text, fallback)
    check_component(made)
    assert len(made.encode()) <= 121
    assert not made.startswith((".", "-", "~"))
    assert not made.endswith((".", " "))
    assert not set(made) & set('/\\<>:"|?*%\0\n\r\t\x7f')
    assert layouts.safe_name(made, fallback) == made


@given(st.binary(min_size=1).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_any_file_name_gives_a_stem(name: bytes) -> None:
    stem = layouts.file_stem(path_text(b"/photos/" + name))
    check_component(stem + ".jpg")
    os.fsencode(stem).decode("utf-8")


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("/a/cat.jpg", "cat"),
        ("/a/cat.tar.gz", "cat.tar"),
        ("/a/.jpg", "jpg"),
        ("/a/..", "image"),
        ("file:/a/caf%E9.jpg", "caf_"),
        ("/a/CON.jpg", "_CON"),
        ("/a/no suffix", "no suffix"),
    ],
)
def test_stems(path: str, stem: str) -> None:
    assert layouts.file_stem(path) == stem


def test_folders_of_labels_never_meet() -> None:
    made = layouts.folder_names(["a/b", "a_b", "A_B", "..", "", "unlabelled"])
    assert len({layouts.collision_key(name) for name in made.values()}) == 6
    assert made["a/b"] == "a_b"


def test_the_suffix_says_what_the_file_holds() -> None:
    assert layouts.suffix_of("JPEG") == ".jpg"
    assert layouts.suffix_of("HEIF") == ".heic"
    assert layouts.suffix_of(None) == ".img"
    assert layouts.suffix_of("../X") == "._x"
