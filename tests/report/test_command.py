"""`status`, `history` and `report`: text for people, stable keys for programs, a page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import curator as library
from tests.support.command import curator, run_curator

pytestmark = pytest.mark.slow


def test_status_tells_the_story(labelled: Path) -> None:
    text = curator("-w", labelled, "status").stdout
    assert "60 (60 files)" in text
    assert "unlabelled" in text
    assert "curator round" in text
    assert len(text.splitlines()) < 30


def test_status_json_has_the_keys_that_scripts_rely_on(labelled: Path) -> None:
    said = curator("-w", labelled, "status", "--json").json()
    assert said["images"] == 60
    assert said["quarantined"] == {}
    assert said["labels"] == {"good": {"seed": 12}, "bad": {"seed": 12}}
    assert said["unlabelled"] == 36
    assert said["rounds"] == []
    assert said["certificate"] is None


@pytest.mark.slow
def test_status_lists_rounds(labelled: Path) -> None:
    curator("-q", "-w", labelled, "round")
    curator("-w", labelled, "config", "classifier.regularization=0.2")
    curator("-q", "-w", labelled, "round")
    said = curator("-w", labelled, "status", "--json").json()
    assert [each["round"] for each in said["rounds"]] == [1, 2]
    assert [each["status"] for each in said["rounds"]] == ["standing", "current"]
    for each in said["rounds"]:
        assert {"round", "status", "promoted", "revoked", "coverage", "seconds"} <= set(each)
    promoted = sum(origins.get("promoted", 0) for origins in said["labels"].values())
    assert promoted > 0
    assert said["unlabelled"] == 36 - promoted
    text = curator("-w", labelled, "status").stdout
    assert "rolled-back" not in text
    assert "current" in text


def test_status_says_when_labels_are_few_for_networks(labelled: Path) -> None:
    assert "Classifier" not in curator("-w", labelled, "status").stdout
    curator("-w", labelled, "config", "classifier.kind=finetune", "classifier.model=glasses_cnn_32")
    said = " ".join(curator("-w", labelled, "status").stdout.split())
    assert "networks are trained on 24 labels. Below 2,000, try frozen features" in said
    command = said.partition("wrong): `curator ")[2].partition("`")[0]
    curator("-w", labelled, *command.split())
    assert "Classifier" not in curator("-w", labelled, "status").stdout


def test_status_of_a_new_workspace_says_how_to_begin(tmp_path: Path) -> None:
    curator("init", tmp_path / "ws")
    assert "curator add PATH" in curator("-w", tmp_path / "ws", "status").stdout


def test_status_uses_the_users_names(labelled: Path) -> None:
    curator("-w", labelled, "config", "classes.positive=face")
    assert set(curator("-w", labelled, "status", "--json").json()["labels"]) == {"face", "bad"}


def test_history_by_path_and_by_hash(labelled: Path, labelled_template: Path) -> None:
    picture = labelled_template / "pictures" / "good" / "good-0001.jpg"
    by_path = curator("-w", labelled, "history", picture, "--json").json()
    by_hash = curator("-w", labelled, "history", by_path["image"]["sha256"][:12], "--json").json()
    assert by_path == by_hash
    assert by_path["image"]["places"][0]["path"] == str(picture)
    (event,) = by_path["events"]
    assert (event["kind"], event["label"], event["origin"]) == ("assert", "positive", "seed")
    text = curator("-w", labelled, "history", picture).stdout
    assert str(picture) in text
    assert "good" in text


def test_history_of_what_is_not_catalogued(labelled: Path, tmp_path: Path) -> None:
    refused = curator("-w", labelled, "history", tmp_path / "nowhere\x1b[2J.jpg", expect=3)
    assert "\x1b" not in refused.stderr
    assert "nowhere" in refused.stderr


def test_names_on_the_screen_are_safe(tmp_path: Path, labelled_template: Path) -> None:
    evil = tmp_path / "pictures" / "red\x1b[31m\n.png"
    evil.parent.mkdir()
    shutil.copy(labelled_template / "pictures" / "good" / "good-0000.png", evil)
    curator("init", tmp_path / "ws")
    added = curator("-w", tmp_path / "ws", "add", evil.parent)
    shown = curator("-w", tmp_path / "ws", "history", evil)
    listed = curator("-w", tmp_path / "ws", "status")
    for outcome in (added, shown, listed):
        assert "\x1b" not in outcome.stdout + outcome.stderr
    assert "red\\x1b[31m\\n.png" in shown.stdout


def test_the_page_comes_to_the_workspace_and_over_nothing(labelled: Path) -> None:
    said = curator("-q", "-w", labelled, "report").stdout
    page = labelled / "report.html"
    assert str(page) in said
    assert page.read_text().startswith("<!doctype html>")
    refused = curator("-q", "-w", labelled, "report", expect=3).stderr
    assert "exists already" in refused
    assert "--force" in refused
    curator("-q", "-w", labelled, "report", "--force")


def test_facts_are_printed_and_a_page_only_if_it_is_named(labelled: Path, tmp_path: Path) -> None:
    facts = curator("-q", "-w", labelled, "report", "--json").json()
    assert facts["labelled"] == 24
    assert facts["work"][0]["decisions"] == 24
    assert not (labelled / "report.html").exists()
    status = curator("-w", labelled, "status", "--json").json()
    assert (status["decisions"], status["minutes"]) == (24, 0.0)
    place = tmp_path / "page.html"
    again = curator("-q", "-w", labelled, "report", place, "--json").json()
    assert again == facts
    assert place.is_file()


def test_status_tells_the_same_of_people(labelled: Path) -> None:
    sentence = "24 decisions by people"
    assert sentence in curator("-w", labelled, "status").stdout
    curator("-q", "-w", labelled, "report")
    assert sentence in (labelled / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--watch"], "has no option `--watch`"),
        (["."], "is a folder"),
    ],
)
def test_what_makes_no_sense_is_said(labelled: Path, arguments: list[str], says: str) -> None:
    assert says in curator("-w", labelled, "report", *arguments, expect=2).stderr


def test_help_has_an_example_and_a_pipe_gets_progress_on_the_other_side(
    labelled: Path, tmp_path: Path
) -> None:
    assert "curator report clean.html" in curator("report", "--help").stdout
    done = run_curator("-w", labelled, "report", tmp_path / "page.html", "--json")
    assert json.loads(done.stdout)["usable"] == 60


def test_interrupted_it_leaves_nothing(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from curator.report import report as workflow

    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    before = sorted(labelled.iterdir())
    monkeypatch.setattr(workflow, "render", interrupted)
    curator("-q", "-w", labelled, "report", expect=130)
    assert sorted(labelled.iterdir()) == before


def test_from_python(labelled: Path, tmp_path: Path) -> None:
    with library.open(labelled) as workspace:
        made = workspace.report(tmp_path / "page.html")
    assert made.destination == tmp_path / "page.html"
    assert made.contents.as_json()["labelled"] == 24
