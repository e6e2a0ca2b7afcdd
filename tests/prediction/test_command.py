"""`predict` and `evaluate`: they read the workspace and leave it as it is."""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path

import pytest

from tests.support.command import curator
from tests.support.images import make_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def trained(labelled: Path) -> Path:
    curator("-q", "-w", labelled, "round")
    return labelled


def test_predict_prints_csv_and_adds_nothing(trained: Path, tmp_path: Path) -> None:
    fresh = make_folder(tmp_path / "fresh", good=3, bad=3, seed=77)
    (fresh / "broken.jpg").write_bytes(b"junk")
    (fresh / 'two\nlines, "quoted".jpg').write_bytes(b"junk")
    said = curator("-q", "-w", trained, "predict", fresh)
    rows = list(csv.DictReader(io.StringIO(said.stdout)))
    assert len(rows) == 8
    by_name = {Path(row["path"]).name: row for row in rows}
    assert by_name["broken.jpg"]["problem"] == "not-an-image"
    assert by_name["broken.jpg"]["probability"] == ""
    scored = [row for row in rows if row["probability"]]
    right = [(float(row["probability"]) > 0.5) == ("good" in row["path"]) for row in scored]
    assert sum(right) >= 5
    assert curator("-w", trained, "status", "--json").json()["images"] == 60


def test_each_command_says_which_p_of_an_image_it_shows(
    trained: Path, labelled_template: Path
) -> None:
    """Heads alone, a network alone, and the score of rounds are three numbers for one picture."""
    folder = next(path for path in labelled_template.rglob("good") if path.is_dir())
    image = sorted(folder.iterdir())[-1]
    predicted = curator("-w", trained, "predict", image)
    assert "P is that of the heads alone." in predicted.stderr
    assert "`curator history IMAGE`" in predicted.stderr
    (row,) = csv.DictReader(io.StringIO(predicted.stdout))
    told = curator("-w", trained, "history", image).stdout
    current = re.search(r"the current score is P = ([0-9.]+)", told)
    assert current
    inspected = curator("-w", trained, "inspect", image).stdout
    alone = re.search(
        r"P\(good\) = ([0-9.]+) from the network alone, without calibration and neighbours",
        inspected,
    )
    assert alone
    score = re.search(r"The score that rounds and `history` use is ([0-9.]+)\.", inspected)
    assert score
    assert float(score[1]) == pytest.approx(float(current[1]), abs=6e-4)
    # They do differ, or nothing would have to be said.
    assert len({row["probability"][:4], alone[1][:4], current[1][:4]}) > 1


def test_predict_as_json_is_one_array(trained: Path, tmp_path: Path) -> None:
    fresh = make_folder(tmp_path / "fresh", good=2, bad=1, seed=77)
    rows = curator("-q", "-w", trained, "predict", fresh, "--json").json()
    assert [set(row) for row in rows] == [{"path", "probability", "label", "problem"}] * 3


@pytest.mark.parametrize(("path", "says"), [("nowhere.jpg", "nowhere.jpg does not exist")])
def test_predict_refuses_with_a_hint(trained: Path, path: str, says: str) -> None:
    assert says in curator("-w", trained, "predict", path, expect=3).stderr


def test_a_model_is_needed_first(labelled: Path, tmp_path: Path) -> None:
    fresh = make_folder(tmp_path / "fresh", good=1, bad=0, seed=77)
    refused = curator("-w", labelled, "predict", fresh, expect=3)
    assert "curator round" in refused.stderr
    assert refused.stdout == ""
    (tmp_path / "truth.csv").write_text("path,label\nfresh/good/good-0000.png,good\n")
    refused = curator("-w", labelled, "evaluate", tmp_path / "truth.csv", expect=3)
    assert "curator round" in refused.stderr


def truth(folder: Path, pictures: Path) -> Path:
    """A CSV that says what each picture shows."""
    lines = [f"{path},{path.parent.name}" for path in sorted(pictures.rglob("*.*g"))]
    (folder / "truth.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    return folder / "truth.csv"


def test_evaluate_reports_error_confusion_and_calibration(
    trained: Path, labelled_template: Path, tmp_path: Path
) -> None:
    file = truth(tmp_path, labelled_template / "pictures")
    said = curator("-w", trained, "evaluate", file).stdout
    assert "60 images compared, 0 of them not in the workspace." in said
    assert "taken for good" in said
    assert "Calibration" in said
    found = curator("-w", trained, "evaluate", file, "--json").json()
    assert found["accuracy"] > 0.8
    assert sum(found["confusion"].values()) == 60


def test_evaluate_scores_what_is_not_catalogued(trained: Path, tmp_path: Path) -> None:
    file = truth(tmp_path, make_folder(tmp_path / "fresh", good=4, bad=4, seed=78))
    found = curator("-q", "-w", trained, "evaluate", file, "--json").json()
    assert (found["catalogued"], found["other"]) == (0, 8)


def test_evaluate_says_which_rows_name_nothing(trained: Path, tmp_path: Path) -> None:
    truth, (picture, *_) = (
        tmp_path / "truth.csv",
        sorted(make_folder(tmp_path / "fresh", good=1, bad=0, seed=80).rglob("*.*g")),
    )
    (tmp_path / "text.jpg").write_text("no image")
    truth.write_text("path,label\nnowhere/a.jpg,good\ntext.jpg,bad\n")
    refused = curator("-w", trained, "evaluate", truth, expect=3).stderr
    assert "1 whose file cannot be read as an image" in refused
    assert "1 that name neither an image of the workspace nor a file" in refused
    assert "(line 2: `nowhere/a.jpg`)" in refused
    with truth.open("a") as stream:
        stream.write(f"{picture.relative_to(tmp_path)},good\n")
    found = curator("-q", "-w", trained, "evaluate", truth, "--json").json()
    assert (found["other"], found["unknown"], found["unusable"]) == (1, 1, 1)


def test_evaluate_says_which_images_no_round_has_scored(
    trained: Path, labelled_template: Path, tmp_path: Path
) -> None:
    fresh = make_folder(tmp_path / "fresh", good=2, bad=1, seed=79)
    curator("-w", trained, "add", fresh)
    file = truth(tmp_path, labelled_template / "pictures")
    with file.open("a") as stream:
        stream.writelines(f"{one},{one.parent.name}\n" for one in fresh.rglob("*.*g"))
    said = curator("-w", trained, "evaluate", file).stdout
    assert "60 images compared" in said
    assert "left out: 3 added after the last round" in said


def test_a_copy_of_what_was_trained_on_is_judged_as_the_image_itself(
    trained: Path, labelled_template: Path, tmp_path: Path
) -> None:
    shutil.copytree(labelled_template / "pictures", tmp_path / "copies")
    file = truth(tmp_path, labelled_template / "pictures")
    itself = curator("-q", "-w", trained, "evaluate", file, "--json").json()
    file = truth(tmp_path, tmp_path / "copies")
    copied = curator("-q", "-w", trained, "evaluate", file, "--json").json()
    assert copied["catalogued"] == 60
    assert copied == itself


def test_evaluate_refuses_bad_rows(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("path,label\na.jpg,excellent\n")
    refused = curator("-w", trained, "evaluate", tmp_path / "truth.csv", expect=3)
    assert "line 2" in refused.stderr
