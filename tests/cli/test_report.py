"""`report`: the page where it was asked for, its facts as JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import curator as library
from tests.support.command import curator, run_curator

pytestmark = pytest.mark.slow


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
        (["--watch"], "No such option: --watch"),
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
