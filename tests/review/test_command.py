"""`label`, `queue` and the plain `review`: people's answers come in whole and stay."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from curator.base.text import printable
from curator.base.vocabulary import GroupKind, Label
from curator.catalogue import queues
from curator.catalogue.counts import counts
from curator.catalogue.groups import GroupRecord, replace_grouping
from curator.cli.review import TypedAnswer, TypedAnswers
from curator.errors import UsageError
from curator.review.queue_page import write_page
from curator.review.queues import queue
from curator.settings.sections import ClassesSettings
from curator.workspace import create_workspace, open_workspace
from tests.support.command import Outcome, curator
from tests.support.told import NAMES, Read, with_hostile_names

pytestmark = pytest.mark.slow

Review = Callable[..., Outcome]


def labels_of(workspace: Path) -> dict[str, dict[str, int]]:
    said: dict[str, dict[str, int]] = curator("-w", workspace, "status", "--json").json()["labels"]
    return said


@pytest.mark.slow
def test_label_reports_what_it_recorded(labelled: Path, labelled_template: Path) -> None:
    more = labelled_template.parent / f"{labelled.parent.name}.csv"
    picture = labelled_template / "pictures" / "bad" / "bad-0020.jpg"
    more.write_text(f"path,label,note\n{picture},bad,blurred\n")
    said = curator("-w", labelled, "label", more, "--origin", "review")
    assert "Recorded 1 label" in said.stdout
    assert labels_of(labelled)["bad"] == {"seed": 12, "review": 1}
    again = curator("-w", labelled, "label", more, "--origin", "review", "--json").json()
    assert (again["recorded"], again["unchanged"]) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,label\nnowhere.jpg,good\n", "line 2"),
        ("path,label\nnowhere.jpg,excellent\n", "excellent"),
        ("name,kind\na,b\n", "label"),
        ("", "label"),
    ],
)
def test_label_refuses_as_a_whole(labelled: Path, tmp_path: Path, content: str, says: str) -> None:
    before = labels_of(labelled)
    (tmp_path / "bad.csv").write_text(content)
    refused = curator("-w", labelled, "label", tmp_path / "bad.csv", expect=3)
    assert says in refused.stderr
    assert labels_of(labelled) == before


def test_label_without_a_file(labelled: Path, tmp_path: Path) -> None:
    refused = curator("-w", labelled, "label", tmp_path / "none.csv", expect=3)
    assert "none.csv" in refused.stderr


def test_queue_prints_csv_that_comes_back_through_label(labelled: Path, tmp_path: Path) -> None:
    listed = curator("-q", "-w", labelled, "queue", "random", "--size", "5")
    rows = list(csv.DictReader(io.StringIO(listed.stdout)))
    assert len(rows) == 5
    assert list(rows[0]) == ["path", "sha256", "label", "queue"]
    for row in rows:
        row["label"] = Path(row["path"]).parent.name
    with (tmp_path / "answered.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = curator("-w", labelled, "label", tmp_path / "answered.csv")
    assert "random 1" in said.stdout and "a random sample" in said.stdout
    assert sum(origins.get("calibration", 0) for origins in labels_of(labelled).values()) == 5


def test_queue_writes_a_file_and_never_over_one(labelled: Path, tmp_path: Path) -> None:
    target = tmp_path / "look.csv"
    said = curator("-w", labelled, "queue", "random", "--size", "3", "--output", target)
    assert said.stdout == ""
    assert len(target.read_text().splitlines()) == 4
    arguments = ("-w", labelled, "queue", "random", "--size", "2", "--output", target)
    assert "--force" in curator(*arguments, expect=3).stderr
    assert "Fill in the column" in curator(*arguments, "--force").stderr
    assert len(target.read_text().splitlines()) == 3
    arguments = ("-w", labelled, "queue", "conflict", "--output", tmp_path / "none.csv")
    assert "Fill in" not in curator(*arguments).stderr


def test_queue_writes_its_pictures_beside_the_table(labelled: Path, tmp_path: Path) -> None:
    table, page = tmp_path / "look.csv", tmp_path / "look.html"
    write = ("-w", labelled, "queue", "random", "--size", "5", "--output", table, "--html")
    assert str(page) in curator(*write).stderr
    read = Read(page.read_text())
    assert len(read.of("img")) == 5
    assert all(str(one["src"]).startswith("data:image/jpeg;base64,") for one in read.of("img"))
    assert "row 6" in read.text
    with table.open() as stream:
        names = [Path(row["path"]).name for row in csv.DictReader(stream)]
    assert not any(name in read.text for name in names), "a name may tell the class"
    before = page.read_bytes()
    table.unlink()
    assert "exists already" in curator(*write, expect=3).stderr
    assert page.read_bytes() == before
    assert not table.exists()
    curator(*write, "--force")
    assert (
        "--output look.csv" in curator("-w", labelled, "queue", "random", "--html", expect=2).stderr
    )


def test_hostile_names_on_the_page_of_a_queue_are_text(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws", positive="good", negative="bad", recipe=None)
    hostile, _ = with_hostile_names(workspace, tmp_path)
    rows = queue(hostile, "promoted")
    page = write_page(hostile, rows, tmp_path / "a<script>.csv")
    read = Read(page.read_text())
    assert len(read.of("img")) == len(rows)
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "iframe", "a"})
    assert not [tag for tag, attributes in read.tags if "onerror" in attributes]
    shown = [name for name in NAMES if printable(name) in read.text]
    assert len(shown) >= 2
    assert f"→ {printable(hostile.settings.classes.positive)}" in read.text
    workspace.catalogue.close()


def test_queue_as_json(labelled: Path) -> None:
    rows = curator("-q", "-w", labelled, "queue", "random", "--size", "2", "--json").json()
    assert len(rows) == 2
    assert len(rows[0]["sha256"]) == 64


@pytest.mark.slow
def test_diverse_and_similar_work_without_a_model(labelled: Path) -> None:
    rows = curator("-q", "-w", labelled, "queue", "diverse", "--size", "4", "--json").json()
    assert len({row["sha256"] for row in rows}) == 4
    alike = curator(
        "-q", "-w", labelled, "queue", "similar", rows[0]["path"], "--size", "3", "--json"
    ).json()
    assert rows[0]["sha256"] not in {row["sha256"] for row in alike}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["borderlin"], 2, "There is no queue `borderlin`.\nDid you mean `borderline`?"),
        (["similar"], 2, "needs an image"),
        (["similar", "nowhere.jpg"], 3, "nowhere.jpg"),
        (["random", "--size", "0"], 2, "--size takes a whole number of at least 1, not `0`."),
    ],
)
def test_queue_refuses_with_a_hint(
    labelled: Path, arguments: list[str], code: int, says: str
) -> None:
    assert says in curator("-w", labelled, "queue", *arguments, expect=code).stderr


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Review:
    """Runs a review whose standard input is `text`."""

    def run(workspace: Path, *arguments: str, text: str, expect: int = 0) -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return curator("-w", workspace, "review", *arguments, expect=expect)

    return run


def test_review_keeps_each_answer(labelled: Path, answer: Review) -> None:
    ended = answer(labelled, "random", text="a\nbad too dark, blurred\nunsure\n \nnonsense\nq\n")
    assert "3 decisions kept" in ended.stdout
    assert "`nonsense` is not an answer" in ended.stderr
    labels = labels_of(labelled)
    assert labels["good"]["calibration"] == 1
    assert labels["bad"]["calibration"] == 1
    assert labels["unsure"]["calibration"] == 1


def test_review_can_undo(labelled: Path, answer: Review) -> None:
    ended = answer(labelled, "random", text="a\nu\nu\nx\n")
    assert "1 decision kept" in ended.stdout
    assert "no decisions to take back" in ended.stderr
    assert labels_of(labelled)["bad"]["calibration"] == 1
    assert "review" not in labels_of(labelled)["good"]


def test_a_key_means_the_same_in_a_line_as_on_the_screen(tmp_path: Path) -> None:
    """Also where a class begins with another key's letter, and after the user's changes."""
    awkward = TypedAnswers(ClassesSettings(positive="x-ray", negative="a n b"), {})
    assert awkward.read("a\n").label is Label.POSITIVE
    assert awkward.read("X-Ray").label is Label.POSITIVE
    assert awkward.read("x torn").label is Label.NEGATIVE
    assert awkward.read("a n b torn, wet") == TypedAnswer(Label.NEGATIVE, ("torn", "wet"))
    assert awkward.read("n").label is Label.UNSURE
    assert [awkward.read(line).move for line in ("u", " \n", "skip", "q")] == [
        "undo", "skip", "skip", "quit",
    ]  # fmt: skip
    assert awkward.prompt() == "a/x/n/space/u/q> "
    own = TypedAnswers(
        ClassesSettings(positive="good", negative="bad"), {"positive": "p", "undo": "f9"}
    )
    assert own.read("p").label is Label.POSITIVE
    with pytest.raises(UsageError, match="undo = undo"):
        own.read("a")


def test_a_class_that_is_called_like_a_key_is_that_class(tmp_path: Path) -> None:
    letters = TypedAnswers(ClassesSettings(positive="X", negative="n"), {})
    assert letters.read("x").label is Label.POSITIVE
    assert letters.read("n torn") == TypedAnswer(Label.NEGATIVE, ("torn",))
    assert letters.read("unsure").label is Label.UNSURE
    assert letters.read("a").label is Label.POSITIVE
    assert "x = " not in letters.explanation().replace("X = ", "")
    assert "unsure = not sure" in letters.explanation()


def test_the_plain_review_keeps_and_drops_near_duplicates(labelled: Path, answer: Review) -> None:
    with open_workspace(labelled).catalogue as catalogue:
        ids = queues.random_without_human(catalogue, size=5, seed=0)
        groups = [
            GroupRecord(name="a", primary=tuple(sorted(ids[:3]))),
            GroupRecord(name="b", primary=tuple(sorted(ids[3:]))),
        ]
        replace_grouping(catalogue, GroupKind.PERCEPTUAL, groups)
        ended = answer(labelled, "duplicates", text="D\nu\nkeep only this\nK\n")
        assert "D = keep only this, K = keep all" in ended.stderr
        assert ended.stderr.count("Dropped 2 near-duplicates") == 2
        assert "2 near-duplicates brought back" in ended.stderr.lower()
        assert "The queue is empty" in ended.stderr
        assert counts(catalogue).dropped == 2
        ended = answer(labelled, "diverse", text="D\nq\n")
        assert "This image has no near-duplicates" in ended.stderr
        assert "keep all" not in ended.stderr


def test_reasons_stay_with_the_decision(labelled: Path, answer: Review) -> None:
    answer(labelled, "random", text="x too dark, blurred\n")
    rows = curator("-q", "-w", labelled, "queue", "random", "--size", "100", "--json").json()
    left = {row["path"] for row in rows}
    everything = (labelled / "all.jsonl", "--label", "bad")
    curator("-q", "-w", labelled, "export", *everything)
    exported = [json.loads(line) for line in (labelled / "all.jsonl").read_text().splitlines()]
    (reviewed,) = [row["path"] for row in exported if row["origin"] == "calibration"]
    assert reviewed not in left
    history = curator("-w", labelled, "history", reviewed, "--json").json()
    assert history["events"][-1]["reasons"] == ["too dark", "blurred"]


def test_reasons_outside_the_list_are_refused(labelled: Path, answer: Review) -> None:
    curator("-w", labelled, "config", "classes.reasons=profile,occluded")
    ended = answer(labelled, "random", text="x occluded\nx blurred\nbad 1\nq\n")
    assert "2 decisions kept" in ended.stdout
    assert "There is no reason `blurred`" in ended.stderr


def test_review_of_an_unknown_queue(labelled: Path, answer: Review) -> None:
    ended = answer(labelled, "nothing", text="", expect=2)
    assert "There is no queue `nothing`" in ended.stderr


def test_the_plain_review_labels_blind_where_that_is_asked_for(
    labelled: Path, answer: Review
) -> None:
    ended = answer(labelled, "calibration", text="a\nn\n")
    assert "blind" in ended.stderr
    assert "perhaps" not in ended.stderr
    assert labels_of(labelled)["good"]["calibration"] == 1
    assert labels_of(labelled)["unsure"]["calibration"] == 1


def test_the_plain_review_understands_a_filter(labelled: Path, answer: Review) -> None:
    ended = answer(labelled, "diverse", "--filter", "source:nowhere", text="", expect=2)
    assert "there is no source `nowhere`" in ended.stderr
    ended = answer(labelled, "diverse", "--filter", "sort:new", text="good\n")
    assert "1 decision kept" in ended.stdout


def test_a_review_without_a_queue_begins_with_diverse_images(
    labelled: Path, answer: Review
) -> None:
    begun = answer(labelled, text="q\n")
    assert "There are no scores yet, so this is the queue `diverse`" in begun.stderr
    assert "1. " in begun.stderr
    named = answer(labelled, "borderline", text="q\n", expect=3)
    assert "no scores yet" in named.stderr
