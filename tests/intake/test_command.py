"""`add`, `group` and `relocate`: what comes in is counted, what is wrong is said."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support.command import curator
from tests.support.images import make_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", good=4, bad=3, seed=11)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    curator("init", tmp_path / "ws")
    return tmp_path / "ws"


def test_add_prints_its_tally(workspace: Path, pictures: Path) -> None:
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "notes.txt").write_text("not a picture")
    shutil.copy(pictures / "good" / "good-0000.png", pictures / "copy.png")
    said = curator("-w", workspace, "add", pictures).stdout
    lines = dict(line.split()[:2] for line in said.splitlines()[1:])
    assert lines == {"added": "7", "duplicates": "1", "quarantined": "1", "other": "files"}
    assert "empty 1" in said
    assert re.search(r"other files +1  \(no images\)", said)


def test_add_as_json_keeps_standard_output_clean(workspace: Path, pictures: Path) -> None:
    report = curator("-w", workspace, "add", pictures, "--json").json()
    assert (report["files"], report["added"], report["known"]) == (7, 7, 0)
    again = curator("-w", workspace, "add", pictures, "--json").json()
    assert (again["added"], again["known"]) == (0, 7)


def test_add_with_one_label_for_all(workspace: Path, pictures: Path) -> None:
    said = curator("-w", workspace, "add", pictures / "good", "--label", "good")
    assert "(good)" in said.stdout
    status = curator("-w", workspace, "status", "--json").json()
    assert status["labels"] == {"good": {"seed": 4}}


def test_add_with_labels_by_subfolder(workspace: Path, pictures: Path) -> None:
    report = curator("-w", workspace, "add", pictures, "--subfolders-are-classes", "--json").json()
    assert report["labelled"] == {"good": 4, "bad": 3}


def test_add_remembers_whose_images_they_are(workspace: Path, pictures: Path) -> None:
    terms = ("--source", "ours", "--licence", "CC0", "--attribution", "nobody")
    curator("-w", workspace, "add", pictures, *terms)
    assert "ours: " in curator("-w", workspace, "status").stdout
    assert "licence CC0" in curator("-w", workspace, "status").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "`curator add` needs PATH."),
        (["nowhere"], 3, "nowhere"),
        (["pictures", "--label", "excellent"], 2, "`excellent` is not one of the two classes"),
        (["pictures", "--label", "good", "--subfolders-are-classes"], 2, "exclude each other"),
        (["pictures/good", "--subfolders-are-classes"], 3, "has no folder `good` or `bad`"),
        (["hollow"], 3, "There are no files"),
    ],
)
def test_add_refuses_with_a_hint(
    workspace: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(pictures.parent)
    Path("hollow").mkdir()
    assert says in curator("-w", workspace, "add", *arguments, expect=code).stderr
    assert curator("-w", workspace, "status", "--json").json()["images"] == 0


def test_add_where_nothing_is_readable_fails(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.jpg").write_bytes(b"no picture")
    refused = curator("-w", workspace, "add", tmp_path / "junk", expect=3)
    assert "No usable image" in refused.stderr
    assert "not-an-image" in refused.stderr
    assert "`curator queue quarantine`" in refused.stderr
    assert "a.jpg" in curator("-w", workspace, "queue", "quarantine").stdout


def test_add_leaves_every_file_as_it_was(workspace: Path, pictures: Path) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        files = sorted(path for path in pictures.rglob("*") if path.is_file())
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = state()
    curator("-w", workspace, "add", pictures, "--subfolders-are-classes")
    assert state() == before


def test_groups_by_csv(workspace: Path, pictures: Path, tmp_path: Path) -> None:
    curator("-w", workspace, "add", pictures)
    people = tmp_path / "people.csv"
    people.write_text(
        "path,group\npictures/good/good-0000.png,ann\npictures/good/good-0001.jpg,ann\n"
    )
    assert "1 group of 2 images" in curator("-w", workspace, "group", people).stdout
    again = curator("-w", workspace, "group", people, "--json").json()
    assert (again["groups"], again["changed"]) == (1, False)


def test_groups_by_pattern(workspace: Path, pictures: Path) -> None:
    curator("-w", workspace, "add", pictures)
    said = curator("-w", workspace, "group", "--by", r"/(good|bad)-\d+").stdout
    assert "2 groups of 7 images" in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "a CSV file or from --by"),
        (["a.csv", "--by", "x"], 2, "Give one of them"),
        (["--by", "("], 2, "not a valid regular expression"),
        (["--by", "nothing-like-this"], 3, "matches no path"),
        (["missing.csv"], 3, "missing.csv"),
    ],
)
def test_group_refuses_with_a_hint(
    workspace: Path, pictures: Path, arguments: list[str], code: int, says: str
) -> None:
    curator("-w", workspace, "add", pictures)
    assert says in curator("-w", workspace, "group", *arguments, expect=code).stderr


def test_relocate_after_a_folder_moved(workspace: Path, pictures: Path) -> None:
    curator("-w", workspace, "add", pictures)
    moved = pictures.rename(pictures.with_name("elsewhere"))
    said = curator("-w", workspace, "relocate", "pictures", moved)
    assert "7 files there, 0 missing" in said.stdout
    curator("-w", workspace, "verify", "--files")
    back = moved.rename(pictures)
    report = curator("-w", workspace, "relocate", "pictures", back, "--json").json()
    assert (report["new_root"], report["present"]) == (str(pictures), 7)


@pytest.mark.parametrize(
    ("source", "root", "says"),
    [("holiday", "pictures", "holiday"), ("pictures", "nowhere", "nowhere")],
)
def test_relocate_refuses_with_a_hint(
    workspace: Path, pictures: Path, source: str, root: str, says: str
) -> None:
    curator("-w", workspace, "add", pictures)
    refused = curator("-w", workspace, "relocate", source, pictures.parent / root, expect=3)
    assert says in refused.stderr


@pytest.mark.parametrize(
    "command",
    ["add {}", "label {}", "group {}", "predict {}", "export {}", "relocate x {}", "init {}"],
)
def test_a_path_that_is_too_long_is_called_that(workspace: Path, command: str) -> None:
    for path in ("a" * 300, "/tmp/" + "b/" * 2500):
        words = [path if word == "{}" else word for word in command.split()]
        refused = curator("-w", workspace, *words, expect=2).stderr
        assert "longer than the system allows" in " ".join(refused.split())
    assert "longer than" in curator("-w", "a" * 300, "status", expect=2).stderr
