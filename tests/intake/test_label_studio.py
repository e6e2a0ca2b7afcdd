"""Out as tasks of Label Studio and back as its export, in the forms that it writes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from curator.base.vocabulary import Origin
from curator.catalogue import labels
from curator.catalogue.event_reads import count_decisions
from curator.errors import DataError
from curator.intake.label import label
from curator.review.queue_files import write_tasks
from curator.review.queues import queue
from curator.workspace import Workspace
from tests.support.filled import fill, promote

pytestmark = pytest.mark.slow

NAMES = ["a b.jpg", "sub/ü.png", b"raw\xff.png", "d.jpg"]


@pytest.fixture
def tasks(workspace: Workspace, tmp_path: Path) -> list[dict[str, Any]]:
    ids = fill(workspace, tmp_path / "photos", NAMES)
    promote(workspace, dict(zip(ids.values(), (0.2, 0.4, 0.6, 0.8), strict=True)))
    rows = queue(workspace, "borderline", size=10)
    beside = write_tasks(
        rows, tmp_path / "tasks.json", workspace.settings.classes, relative_to=tmp_path
    )
    view = ET.parse(beside).getroot()
    values = [choice.get("value") for choice in view.iter("Choice")]
    assert values == ["good", "bad", "unsure"]
    return list(json.loads((tmp_path / "tasks.json").read_text()))


def annotated(task: dict[str, Any], *said: str | None, number: int = 1) -> dict[str, Any]:
    """The task as Label Studio exports it (JSON), with one annotation for each that was said."""
    annotations = [
        {
            "id": number * 10 + place,
            "completed_by": 1,
            "result": [] if choice is None else [
                {"value": {"choices": [choice]}, "id": "x1", "from_name": "label",
                 "to_name": "image", "type": "choices", "origin": "manual"},
                {"value": {"text": ["too dark"]}, "id": "x2", "from_name": "note",
                 "to_name": "image", "type": "textarea", "origin": "manual"},
            ],
            "was_cancelled": choice is None,
            "ground_truth": False,
            "lead_time": 3.2,
        }
        for place, choice in enumerate(said)
    ]  # fmt: skip
    return {"id": number, "annotations": annotations, "drafts": [], "predictions": [],
            "data": task["data"], "meta": {}, "project": 1}  # fmt: skip


def test_tasks_point_to_the_files_and_carry_the_suggestion(tasks: list[dict[str, Any]]) -> None:
    assert {task["data"]["image"] for task in tasks} == {
        "/data/local-files/?d=photos/a%20b.jpg",
        "/data/local-files/?d=photos/sub/%C3%BC.png",
        "/data/local-files/?d=photos/raw%FF.png",
        "/data/local-files/?d=photos/d.jpg",
    }
    first = next(task for task in tasks if "a%20b" in task["data"]["image"])
    prediction = first["predictions"][0]
    assert prediction["result"][0]["value"] == {"choices": ["bad"]}
    assert prediction["score"] == pytest.approx(0.8)


def test_a_full_export_comes_back(
    workspace: Workspace, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    said = [("good",), ("bad", "bad"), ("unsure",), (None,)]
    export = [annotated(task, *what, number=place)
              for place, (task, what) in enumerate(zip(tasks, said, strict=True), 1)]  # fmt: skip
    (tmp_path / "project-1.json").write_text(json.dumps(export))
    report = label(workspace, tmp_path / "project-1.json", origin=Origin.REVIEW, actor="anna")
    assert (report.recorded, report.unanswered) == (3, 1)
    found = labels.current(workspace.catalogue, [1, 2, 3, 4])
    standings = sorted(str(one.standing) for one in found.values() if one.standing)
    assert standings == ["negative", "positive", "unsure"]
    noted = [e.note for i in (1, 2, 3, 4) for e in labels.history(workspace.catalogue, i)]
    assert noted.count("too dark") == 3


def test_a_minimal_export_comes_back(
    workspace: Workspace, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    minimal = [
        {**tasks[0]["data"], "id": 1, "label": "bad", "annotator": 1, "lead_time": 2.0},
        {**tasks[1]["data"], "id": 2, "label": "good", "note": "fine"},
        {**tasks[2]["data"], "id": 3},
    ]
    (tmp_path / "min.json").write_text(json.dumps(minimal))
    report = label(workspace, tmp_path / "min.json", actor="anna")
    assert (report.recorded, report.unanswered) == (2, 1)
    assert report.labels == {"bad": 1, "good": 1}


def test_disagreement_and_strangers_are_refused_with_their_task(
    workspace: Workspace, tasks: list[dict[str, Any]], tmp_path: Path
) -> None:
    stranger = {"data": {"image": "x", "sha256": "00" * 32}}
    export = [annotated(tasks[0], "good", "bad"), annotated(stranger, "good", number=2)]
    (tmp_path / "bad.json").write_text(json.dumps(export))
    with pytest.raises(DataError) as refused:
        label(workspace, tmp_path / "bad.json", actor="anna")
    assert "task 1: people disagree: bad and good" in str(refused.value)
    assert "task 2" in str(refused.value)
    assert count_decisions(workspace.catalogue) == 0


@pytest.mark.parametrize("text", ["{}", "[1]", "not json", ""])
def test_what_is_no_export_is_refused(workspace: Workspace, tmp_path: Path, text: str) -> None:
    (tmp_path / "no.json").write_text(text)
    with pytest.raises(DataError, match=r"no\.json"):
        label(workspace, tmp_path / "no.json", actor="anna")
