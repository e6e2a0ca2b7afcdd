"""The commands for the result, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command import curator

pytestmark = pytest.mark.slow


@pytest.fixture
def six_labelled(tmp_path: Path, picture_folder: Callable[..., Path]) -> Path:
    """A workspace with six labelled pictures."""
    pictures = picture_folder(good=3, bad=3)
    curator("init", tmp_path / "ws")
    for name in ("good", "bad"):
        curator("-w", tmp_path / "ws", "add", pictures / name, "--label", name)
    return tmp_path / "ws"


def test_a_folder_a_diff_and_the_way_back(six_labelled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = curator(
        "-w", six_labelled, "export", out, "--format", "imagefolder", "--divide", "50/0/50"
    )
    assert "Wrote 6 rows (6 images)" in done.stdout
    assert "part" in done.stdout
    assert "Files: " in done.stdout
    again = curator("-w", six_labelled, "export", out, "--format", "imagefolder", expect=3)
    assert "is not empty" in again.stderr
    file = tmp_path / "clean.csv"
    report = curator("-w", six_labelled, "export", file, "--json", "--label", "good").json()
    assert report["labels"] == {"good": {"seed": 3}}
    assert json.loads(Path(report["sidecar"]).read_text())["filters"] == {"labels": ["good"]}
    assert "dropped" in curator("diff", out, file).stdout
    assert "were here already" in curator("-w", six_labelled, "import", file).stdout


def test_the_model_has_commands_of_its_own(six_labelled: Path, tmp_path: Path) -> None:
    assert "export" in curator("model", "--help").stdout
    refused = curator("-w", six_labelled, "model", "export", tmp_path / "x.h5", expect=2)
    assert "Use .onnx" in refused.stderr
    none_yet = curator("-w", six_labelled, "model", "export", tmp_path / "x.onnx", expect=3)
    assert "Run `curator round` first" in none_yet.stderr


def test_wrong_words_are_told(six_labelled: Path, tmp_path: Path) -> None:
    for option, message in (
        (("--files", "magic", "--format", "imagefolder"), "as `magic`"),
        (("--format", "zip"), "no format `zip`"),
        (("--format", "csv", "--divide", "half"), "does not define the shares"),
        (("--format", "csv", "--source", "moon"), "no source `moon`"),
        (("--format", "csv", "--round", "3"), "no round `3`"),
        (("--format", "csv", "--min-probability", "2"), "cannot be asked for"),
    ):
        refused = curator("-w", six_labelled, "export", tmp_path / "x", *option, expect=2)
        assert message in refused.stderr
    assert not list(tmp_path.glob("x*"))


def test_export_says_what_it_wrote_and_left_out(labelled: Path, tmp_path: Path) -> None:
    said = curator("-w", labelled, "export", tmp_path / "clean.csv")
    assert "Wrote 24 rows (24 images)" in said.stdout
    assert "36 unlabelled" in said.stdout
    assert (tmp_path / "clean.csv.json").is_file()
    assert "--force" in curator("-w", labelled, "export", tmp_path / "clean.csv", expect=3).stderr
    report = curator("-w", labelled, "export", tmp_path / "good.jsonl", "--label", "good", "--json")
    assert report.json()["rows"] == 12


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["clean.xlsx"], 2, "clean.xlsx"),
        (["clean.csv", "--format", "xml"], 2, "There is no format `xml`"),
        (["clean.csv", "--label", "excellent"], 2, "There is no label `excellent`"),
        (["clean.csv", "--origin", "heaven"], 2, "There is no origin `heaven`"),
        (["nowhere/clean.csv"], 3, "does not exist"),
    ],
)
def test_export_refuses_with_a_hint(
    labelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert says in curator("-w", labelled, "export", *arguments, expect=code).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ws"]


def test_an_export_of_nothing_ends_with_3(six_labelled: Path, tmp_path: Path) -> None:
    file = tmp_path / "none.csv"
    done = curator("-w", six_labelled, "export", file, "--label", "unsure", expect=3)
    assert "The export is empty" in done.stdout
    report = curator(
        "-w", six_labelled, "export", tmp_path / "a.csv", "--label=unsure", "--json", expect=3
    )
    assert report.json()["rows"] == 0
