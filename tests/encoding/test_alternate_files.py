"""Images whose file cannot be read, the same for features and for packed pixels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from curator.base.vocabulary import Quarantine
from curator.catalogue.counts import counts
from curator.encoding.alternate_files import check_sources
from curator.encoding.encode import encode, ready_features
from curator.encoding.pixel_packs import pack
from curator.errors import DataError
from curator.imaging.problems import Unreadable
from curator.workspace import Workspace
from tests.support import images
from tests.support.encoded import add_folder, by_image, features_of

Command = Callable[[Workspace], Any]

each_command = pytest.mark.parametrize("command", [encode, pack])


@contextmanager
def not_listable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder refuses to be listed; its files can be opened by their names."""
    scandir, listdir = os.scandir, os.listdir

    def refuse(path: Any, original: Callable[[Any], Any]) -> Any:
        if os.fsdecode(path) == str(folder):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", lambda path: refuse(path, scandir))
        patched.setattr(os, "listdir", lambda path: refuse(path, listdir))
        yield


@pytest.mark.slow
def test_an_image_is_encoded_from_another_of_its_files_where_the_first_is_lost(
    ready: Workspace, pictures: Path, tmp_path: Path
) -> None:
    untouched = by_image(ready, features_of(ready))
    shutil.rmtree(ready.folder("features"))
    lose_files(ready, pictures, tmp_path)
    report = encode(ready)
    assert report.quarantined == {}
    assert by_image(ready, ready_features(ready)) == untouched


@pytest.mark.slow
def test_an_image_is_packed_from_another_of_its_files_where_the_first_is_lost(
    ready: Workspace, pictures: Path, tmp_path: Path
) -> None:
    lose_files(ready, pictures, tmp_path)
    report = pack(ready)
    assert (report.images, report.quarantined) == (30, {})


def lose_files(ready: Workspace, pictures: Path, tmp_path: Path) -> None:
    """Remove ten files and replace one, of images that have another file each."""
    shutil.copytree(pictures, tmp_path / "zz-copies")
    add_folder(ready, tmp_path / "zz-copies")
    for path in sorted((pictures / "good").iterdir())[:10]:
        path.unlink()
    replaced = pictures / "bad" / "bad-0001.jpg"
    replaced.write_bytes((pictures / "bad" / "bad-0002.jpg").read_bytes())


@pytest.mark.slow
@each_command
def test_a_source_that_is_not_mounted_stops_the_run_and_quarantines_no_image(
    ready: Workspace, pictures: Path, command: Command
) -> None:
    away = pictures.with_name("away")
    pictures.rename(away)
    with pytest.raises(DataError, match="missing or empty") as caught:
        command(ready)
    assert "relocate" in caught.value.advice
    pictures.mkdir()
    with pytest.raises(DataError, match="missing or empty"):
        command(ready)
    assert counts(ready.catalogue).usable == 30
    pictures.rmdir()
    away.rename(pictures)
    assert command(ready).quarantined == {}


@pytest.mark.slow
@each_command
def test_a_source_that_is_not_mounted_does_not_matter_while_its_images_have_other_files(
    ready: Workspace, pictures: Path, tmp_path: Path, command: Command
) -> None:
    shutil.copytree(pictures, tmp_path / "zz-copies")
    add_folder(ready, tmp_path / "zz-copies")
    shutil.rmtree(pictures)
    assert command(ready).quarantined == {}


@pytest.mark.slow
@each_command
def test_a_source_that_cannot_be_listed_is_explained(
    ready: Workspace, pictures: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    min((pictures / "good").iterdir()).unlink()
    with not_listable(pictures, monkeypatch), pytest.raises(DataError) as caught:
        command(ready)
    assert caught.value.problem.startswith(f"The folder of the source `pictures`, {pictures},")
    assert caught.value.problem.endswith("cannot be listed: Permission denied.")
    assert "`curator relocate pictures FOLDER`" in caught.value.advice
    assert counts(ready.catalogue).usable == 30
    assert command(ready).quarantined == {Quarantine.VANISHED: 1}


@pytest.mark.slow
@each_command
def test_only_the_sources_of_unreadable_files_are_looked_at(
    ready: Workspace,
    pictures: Path,
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = images.make_folder(tmp_path / "other", good=2, bad=2, seed=5)
    add_folder(ready, other)
    min((pictures / "good").iterdir()).unlink()
    with not_listable(other, monkeypatch):
        assert command(ready).quarantined == {Quarantine.VANISHED: 1}


def test_files_that_may_not_be_opened_are_the_source_s_fault_only_if_it_is_locked(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = images.make_folder(tmp_path / "pictures", good=1, bad=1)
    add_folder(workspace, pictures)
    denied = Unreadable(Quarantine.UNREADABLE, "Permission denied")
    problems = [(os.fsencode(min((pictures / "good").iterdir())), denied)]
    check_sources(workspace.catalogue, problems)
    with (
        not_listable(pictures, monkeypatch),
        pytest.raises(DataError, match="Permission denied") as caught,
    ):
        check_sources(workspace.catalogue, problems)
    assert "Get read access to it" in caught.value.advice
