"""Whatever a file is called, each file that curator writes names it, and reading finds it again."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from curator.base.text import path_bytes
from curator.base.vocabulary import Label
from curator.catalogue.images import find_named_image
from curator.catalogue.labels import current
from curator.export.reading import open_manifest
from curator.intake.label import label
from curator.review.queue_files import write_queue, write_tasks
from curator.review.queues import queue_rows
from curator.workspace import Workspace
from tests.support.exported import export
from tests.support.filled import decide, fill

NAMES: list[bytes | str] = [
    "new\nline.png", "return\r.png", "crlf\r\n.png", 'say "x".png', "it's.png", "-rf.png",
    "trailing ", " leading.png", "  ", "a, b; c\td.png", b"caf\xe9.png", b"\xff\n.png",
    "=cmd|' /C calc'!A0", "+1-1.png", "@sum.png", "'quoted.png", "'=x.png", "file:x.png",
    "file:%41.png", "back\\slash.png", "\u2028line.png", "e\u0301.png", "\u00e9.png", "%41.png",
    "#1.png", "\ufeffbom.png", "x\x1b[2J.png", "~.png", "$HOME.png", "*.png", "\U0001f600.png",
    "nul\x01.png", "\x85.png", "deep/-/ /x.png",
]  # fmt: skip


@pytest.fixture
def ids(workspace: Workspace, tmp_path: Path) -> dict[str, int]:
    ids = fill(workspace, tmp_path / "p", NAMES)
    decide(workspace, list(ids.values()), Label.POSITIVE)
    return ids


def answered(file: Path, source: Path) -> None:
    """A CSV with the paths of another one and labels of the other class, as a person saves it."""
    with source.open(encoding="utf-8", newline="") as stream:
        paths = [row["path"] for row in csv.DictReader(stream, strict=True)]
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["path", "label"], *([path, "bad"] for path in paths)])


def all_are_bad(workspace: Workspace, ids: dict[str, int], file: Path) -> None:
    report = label(workspace, file, actor="tester", replace=True)
    assert report.answers == len(NAMES)
    labels = current(workspace.catalogue, list(ids.values()))
    assert {record.standing for record in labels.values()} == {Label.NEGATIVE}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("relative_to", [None, "p", "elsewhere", "p/deep"])
def test_a_manifest_names_each_file(
    workspace: Workspace,
    ids: dict[str, int],
    tmp_path: Path,
    suffix: str,
    relative_to: str | None,
) -> None:
    folder = None if relative_to is None else tmp_path / relative_to
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    file = (folder or tmp_path) / f"m.{suffix}"
    export(workspace, file, relative_to=folder)
    start = os.fsencode(folder or tmp_path)
    paths = {
        os.path.normpath(os.path.join(start, path_bytes(row.path)))  # noqa: PTH118 (bytes)
        for row in open_manifest(file).rows()
    }
    assert paths == {os.fsencode(tmp_path / "p") + b"/" + os.fsencode(name) for name in NAMES}
    if suffix == "csv":
        answered(file.with_name("l.csv"), file)
        all_are_bad(workspace, ids, file.with_name("l.csv"))


@pytest.mark.parametrize("relative_to", [None, "p"])
def test_a_queue_comes_back(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path, relative_to: str | None
) -> None:
    folder = None if relative_to is None else tmp_path / relative_to
    if folder is not None:
        folder.mkdir()
    rows = queue_rows(workspace, list(ids.values()))
    queue = (folder or tmp_path) / "q.csv"
    write_queue(rows, queue, relative_to=folder)
    answered(queue.with_name("l.csv"), queue)
    all_are_bad(workspace, ids, queue.with_name("l.csv"))


def test_tasks_of_label_studio_come_back(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path
) -> None:
    rows = queue_rows(workspace, list(ids.values()))
    write_tasks(rows, tmp_path / "t.json", workspace.settings.classes)
    tasks = json.loads((tmp_path / "t.json").read_text())
    for task in tasks:
        del task["data"]["sha256"]
        task["annotations"] = [{"result": [{"from_name": "label", "value": {"choices": ["bad"]}}]}]
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    all_are_bad(workspace, ids, tmp_path / "t.json")


def test_the_command_line_takes_each_name(
    workspace: Workspace, ids: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p").mkdir()
    monkeypatch.chdir(tmp_path / "p")
    for name, image_id in ids.items():
        assert find_named_image(workspace.catalogue, str(tmp_path / "p" / name)) == image_id
        if not name.startswith("file:"):
            assert find_named_image(workspace.catalogue, name) == image_id
