"""The walk: one order, no circles, nothing opened that is not a file."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.base.values import FileStamp
from curator.sources import local as walking
from curator.sources.local import count_files
from curator.sources.local import walk_folder as walk
from curator.sources.protocol import Skipped, SkipReason
from tests.intake.nobody import as_nobody

NAMES = st.text("ab0-é", min_size=1, max_size=3)


def paths(root: Path, under: bytes = b"", leave_out: tuple[Path, ...] = ()) -> list[bytes]:
    found = walk(os.fsencode(root), under, leave_out=map(os.fsencode, leave_out))
    return [item.path for item in found if isinstance(item, FileStamp)]


def skips(root: Path, under: bytes = b"") -> dict[bytes, SkipReason]:
    found = walk(os.fsencode(root), under)
    return {item.path: item.why for item in found if isinstance(item, Skipped)}


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode(errors="surrogateescape"))


def test_paths_come_in_the_byte_order_of_the_whole_path(tmp_path: Path) -> None:
    touch(tmp_path, "a/x", "a.txt", "a0", "a/b/c", "B", "a/b.c", "é", "zz/1", "a-b")
    found = paths(tmp_path)
    assert found == sorted(found)
    assert len(found) == 9


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(names=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12))
def test_any_tree_comes_out_sorted_and_whole(names: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made = set()
        for name in sorted(names):
            try:
                touch(root, name)
                made.add(name.encode())
            except OSError:  # a name that is a folder already, or the other way round
                continue
        found = paths(root)
        assert found == sorted(made)
        bytes_of_all = sum((root / os.fsdecode(name)).stat().st_size for name in made)
        assert count_files(os.fsencode(root)) == (len(made), bytes_of_all)


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "a")
    os.utime(tmp_path / "a", ns=(1, 123456789))
    assert list(walk(os.fsencode(tmp_path))) == [FileStamp(path=b"a", size=1, mtime_ns=123456789)]


def test_names_that_are_not_text_or_hold_quotes_and_line_ends(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", b"two\nlines", b"quo\"te's", b"back\\slash", b"\xff\xfe"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(b"x")
    assert paths(tmp_path) == sorted(names)


def test_links_in_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/file", "c/file")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "c/to-a").symlink_to(tmp_path / "a")
    (tmp_path / "a/to-c").symlink_to(tmp_path / "c")
    found = paths(tmp_path)
    assert {b"a/b/file", b"c/file", b"a/to-c/file"} <= set(found)
    assert len(found) == len(set(found)) < 10
    assert skips(tmp_path)[b"a/b/up"] is SkipReason.LOOP


def test_a_thicket_of_links_is_walked_in_bounded_time(tmp_path: Path) -> None:
    for number in range(12):
        touch(tmp_path, f"{number:02d}/file")
        for other in range(12):
            (tmp_path / f"{number:02d}" / f"to-{other:02d}").symlink_to(tmp_path / f"{other:02d}")
    assert 12 <= len(paths(tmp_path)) <= 24


def test_a_class_folder_of_links_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1", "store/2", "elsewhere/3")
    (tmp_path / "root/good").mkdir(parents=True)
    (tmp_path / "root/good/1").symlink_to(tmp_path / "store/1")
    (tmp_path / "root/bad").symlink_to(tmp_path / "elsewhere")
    assert paths(tmp_path / "root") == [b"bad/3", b"good/1"]


def test_a_broken_link_is_reported_as_a_file_to_look_into(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert list(walk(os.fsencode(tmp_path))) == [
        FileStamp(path=b"broken", size=0, mtime_ns=0),
        FileStamp(path=b"circle", size=0, mtime_ns=0),
    ]


def test_pipes_and_sockets_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(str(tmp_path / "socket"))
    (tmp_path / "device").symlink_to("/dev/zero")
    assert paths(tmp_path) == []
    assert skips(tmp_path) == dict.fromkeys([b"pipe", b"socket", b"device"], SkipReason.SPECIAL)


def test_hidden_names_are_left_out_but_not_a_hidden_start(tmp_path: Path) -> None:
    touch(tmp_path, ".store/a", ".store/.b", "c", ".DS_Store")
    assert paths(tmp_path) == [b"c"]
    assert skips(tmp_path) == {b".store": SkipReason.HIDDEN, b".DS_Store": SkipReason.HIDDEN}
    assert paths(tmp_path / ".store") == [b"a"]
    assert paths(tmp_path, b".store") == [b".store/a"]


def test_folders_that_are_left_out_are_not_reached_through_links_either(tmp_path: Path) -> None:
    touch(tmp_path, "data/a", "own/b")
    (tmp_path / "data/link").symlink_to(tmp_path / "own")
    assert paths(tmp_path, leave_out=(tmp_path / "own",)) == [b"data/a"]
    assert paths(tmp_path / "own", leave_out=(tmp_path / "own",)) == []


def test_files_that_are_left_out_are_passed_over_but_not_others_of_their_name(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a", "mine.toml", "data/mine.toml")
    assert paths(tmp_path, leave_out=(tmp_path / "mine.toml",)) == [b"a", b"data/mine.toml"]


def test_a_start_below_the_root_gives_the_same_paths(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/1", "a/b/2", "a/c")
    assert paths(tmp_path, b"a/b") == [b"a/b/1", b"a/b/2"]
    assert paths(tmp_path, b"a/c") == [b"a/c"]
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    assert paths(tmp_path, b"a/b") == [b"a/b/1", b"a/b/2"]


def test_an_unreadable_folder_is_reported_and_the_rest_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1", "locked/2", "z/3")
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        # Rights do not stop the superuser, as whom tests may run; a failing disk would.
        if path.endswith(b"locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walking.os, "scandir", refuse)
    assert paths(tmp_path) == [b"a/1", b"z/3"]
    assert skips(tmp_path) == {b"locked": SkipReason.UNREADABLE_FOLDER}


def test_a_folder_that_really_cannot_be_read_is_reported() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        touch(root, "a/1", "locked/2")
        (root / "locked").chmod(0)
        try:
            assert as_nobody(lambda: skips(root)) == {b"locked": SkipReason.UNREADABLE_FOLDER}
            assert as_nobody(lambda: paths(root)) == [b"a/1"]
        finally:
            (root / "locked").chmod(0o700)


def test_a_folder_that_vanishes_is_simply_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1", "b/2")
    scandir = os.scandir

    def remove_first(path: bytes) -> object:
        if path.endswith(b"/b"):
            (tmp_path / "b/2").unlink(missing_ok=True)
            (tmp_path / "b").rmdir()
        return scandir(path)

    monkeypatch.setattr(walking.os, "scandir", remove_first)
    assert paths(tmp_path) == [b"a/1"]


@pytest.mark.slow
def test_a_very_deep_tree_is_walked_without_recursion(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert paths(tmp_path) == [b"d/" * 1200 + b"file"]
    finally:
        # Python's own removal of trees is recursive.
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_a_path_that_is_too_long_is_counted_as_that(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (tmp_path / "a").touch()
    try:
        listed = list(walk(os.fsencode(tmp_path)))
        assert [each.path for each in listed if isinstance(each, FileStamp)] == [b"a"]
        assert [each.why for each in listed if isinstance(each, Skipped)] == ["path-too-long"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / ("d" * 250)], check=True)
