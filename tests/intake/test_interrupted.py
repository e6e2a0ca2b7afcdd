"""`add`, killed or interrupted at any instant and run again, ends where it would have."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from curator.catalogue.checks import check_catalogue
from curator.errors import StorageError
from curator.intake import add as adding
from curator.intake import inspection
from curator.intake.add import add
from curator.storage.previews import PreviewStore
from curator.workspace import Workspace, create_workspace, open_workspace
from tests.imaging.pictures import encode, photograph
from tests.intake.snapshots import catalogued

pytestmark = pytest.mark.slow

KILLS = 25


@pytest.fixture
def dataset(pictures: Path) -> Path:
    """Good and bad pictures, copies, near-duplicates, contradictions and broken files."""
    for name in ("good", "bad"):
        (pictures / name).mkdir()
    for seed in range(60):
        folder = pictures / ("good" if seed % 3 else "bad")
        picture = photograph(80, 60, seed)
        (folder / f"{seed:03d}.png").write_bytes(encode(picture, "PNG"))
        if seed % 10 == 0:
            small = picture.resize((60, 45), Image.Resampling.LANCZOS)
            (pictures / "good" / f"{seed:03d}-small.jpg").write_bytes(encode(small, "JPEG"))
        if seed % 15 == 0:
            (pictures / "good" / f"{seed:03d}-same.png").write_bytes(encode(picture, "PNG"))
        if seed % 12 == 0:
            (pictures / f"{seed}-cut.png").write_bytes(encode(picture, "PNG")[:-40])
    return pictures


def fresh(folder: Path) -> Workspace:
    return create_workspace(folder, positive="good", negative="bad", recipe=None)


def in_child(work: Callable[[], object]) -> int:
    """The number of a process that does `work` and ends."""
    with warnings.catch_warnings():
        # Newer Pythons warn of forking beside threads; none of them holds a lock here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


def run(root: Path, pictures: Path) -> None:
    workspace = open_workspace(root)
    add(workspace, [pictures], subfolders_are_classes=True)


def test_killed_at_any_instant_add_continues_to_the_same_catalogue(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "CHUNK_FILES", 5)
    whole = fresh(tmp_path / "whole")
    complete = add(whole, [dataset], subfolders_are_classes=True)
    assert complete.near_duplicate_groups > 0
    expected = catalogued(whole)
    whole.catalogue.close()

    timed = fresh(tmp_path / "timed")
    timed.catalogue.close()
    started = time.monotonic()
    os.waitpid(in_child(lambda: run(timed.root, dataset)), 0)
    seconds = time.monotonic() - started

    rng = random.Random(7)
    caught = 0
    for number in range(KILLS):
        root = fresh(tmp_path / f"killed-{number}")
        root.catalogue.close()
        for _ in range(2):
            child = in_child(lambda root=root: run(root.root, dataset))  # type: ignore[misc]
            time.sleep(rng.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            caught += os.WIFSIGNALED(status)
        again = open_workspace(root.root)
        report = add(again, [dataset], subfolders_are_classes=True)
        assert catalogued(again) == expected
        groups = complete.near_duplicate_groups
        assert (report.files, report.near_duplicate_groups) == (75, groups)
        assert list(check_catalogue(again.catalogue)) == []
        again.catalogue.close()
    assert caught > KILLS / 2, "too few runs were really cut off"


@pytest.mark.parametrize("after", [0, 40])
def test_interrupted_by_the_user_it_continues(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(adding, "CHUNK_FILES", 5)
    whole = fresh(tmp_path / "whole")
    add(whole, [dataset], subfolders_are_classes=True)
    cut = fresh(tmp_path / "cut")
    inspect = inspection.inspect_file
    calls = 0

    def interrupt(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return inspect(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(adding, "inspect_file", interrupt)
        with pytest.raises(KeyboardInterrupt):
            add(cut, [dataset], subfolders_are_classes=True)
    add(cut, [dataset], subfolders_are_classes=True)
    assert catalogued(cut) == catalogued(whole)
    whole.catalogue.close()
    cut.catalogue.close()


def test_a_full_disk_while_previews_are_written_leaves_the_catalogue_whole(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adding, "CHUNK_FILES", 5)
    workspace = fresh(tmp_path / "full")
    append, write = PreviewStore.append, os.pwrite
    calls = 0

    def fill_up(store: PreviewStore, previews: list[bytes]) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            monkeypatch.setattr(os, "pwrite", _no_space)
        return append(store, previews)

    with monkeypatch.context() as patch:
        patch.setattr(PreviewStore, "append", fill_up)
        with pytest.raises(StorageError, match="No space left"):
            add(workspace, [dataset])
    assert list(check_catalogue(workspace.catalogue)) == []
    monkeypatch.setattr(os, "pwrite", write)
    assert add(workspace, [dataset]).files == 75
    workspace.catalogue.close()


def _no_space(*_: object) -> int:
    raise OSError(28, "No space left on device")
