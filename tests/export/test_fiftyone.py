"""Out as a dataset of FiftyOne, and back with what people said there."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curator.base.vocabulary import Origin
from curator.catalogue.event_reads import count_decisions
from curator.errors import DataError
from curator.intake.label import label
from curator.workspace import Workspace
from tests.support.curated import HUMAN, PROMOTED, curate
from tests.support.exported import export
from tests.support.fiftyone import fiftyone_python

Sample = dict[str, Any]

SCRIPT = """
import json, sys
from tests.support.fiftyone import import_fiftyone

fiftyone = import_fiftyone()
from fiftyone.core.odm import DatasetDocument

dataset = fiftyone.Dataset.from_dir(
    sys.argv[1], dataset_type=fiftyone.types.FiftyOneDataset, name="read back"
)
schema = {name: str(field) for name, field in dataset.get_field_schema().items()}
dataset.save()
samples = [
    [s.filepath, s.sha256, s.ground_truth.label, s.probability, s.metadata.width, s.tags]
    for s in dataset
]
first, second, third = dataset.limit(3)
first.ground_truth.label = "unsure"
second.tags.append("checked")
third.ground_truth = None
for sample in (first, second, third):
    sample.save()
dataset.export(
    sys.argv[2], dataset_type=fiftyone.types.FiftyOneDataset, export_media=False
)
changed = [sample.sha256 for sample in (first, second)]
print(json.dumps({"schema": schema, "samples": samples, "classes": dataset.default_classes,
                  "changed": changed}))
"""


@pytest.fixture
def folder(workspace: Workspace, tmp_path: Path) -> Path:
    curate(workspace, tmp_path / "pictures")
    report = export(workspace, tmp_path / "clean", format="fiftyone")
    assert report.rows == 2 * (HUMAN + PROMOTED)
    return tmp_path / "clean"


def samples_of(folder: Path) -> list[Sample]:
    samples: list[Sample] = json.loads((folder / "samples.json").read_text())["samples"]
    return samples


def decided(workspace: Workspace) -> int:
    return count_decisions(workspace.catalogue)


def test_each_image_is_a_sample_with_its_label_and_the_fields_of_the_schema(folder: Path) -> None:
    metadata = json.loads((folder / "metadata.json").read_text())
    fields = {field["name"] for field in metadata["sample_fields"]}
    samples = samples_of(folder)
    assert metadata["default_classes"] == ["good", "bad"]
    assert Counter(sample["ground_truth"]["label"] for sample in samples) == {
        "good": HUMAN + PROMOTED,
        "bad": HUMAN + PROMOTED,
    }
    for sample in samples:
        assert (folder / sample["filepath"]).is_file()
        assert set(sample) - {"_id", "_media_type", "_rand"} < fields
        assert sample["exported_label"] == sample["ground_truth"]["label"]
        assert 0 <= sample["_rand"] < 1
    assert len({sample["_id"]["$oid"] for sample in samples}) == len(samples)


def test_only_what_people_changed_or_confirmed_comes_back_as_a_review(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    samples = samples_of(folder)
    promoted = [sample for sample in samples if sample["origin"] == "promoted"]
    promoted[0]["ground_truth"]["label"] = "unsure"
    promoted[1]["tags"].append("checked")
    promoted[2]["ground_truth"]["tags"].append("checked")
    promoted[3]["ground_truth"] = None
    back = tmp_path / "back.json"
    back.write_text(json.dumps({"samples": samples}))
    before = decided(workspace)
    report = label(workspace, back, actor="anna")
    assert (report.answers, report.unanswered) == (3, len(samples) - 3)
    assert (report.recorded, report.origin) == (3, Origin.REVIEW)
    assert decided(workspace) == before + 3
    again = label(workspace, back, actor="anna")
    assert (again.recorded, again.unchanged) == (0, 3)


def test_a_dataset_that_curator_did_not_write_is_all_answers(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    foreign = [
        {"filepath": str(folder / sample["filepath"]), "sha256": sample["sha256"],
         "ground_truth": {"_cls": "Classification", "label": "good"}}
        for sample in samples_of(folder)[:2]
    ]  # fmt: skip
    back = tmp_path / "foreign.json"
    back.write_text(json.dumps({"samples": foreign}))
    assert label(workspace, back, actor="anna", replace=True).origin is Origin.SEED
    foreign[0]["ground_truth"] = {"_cls": "Detections", "detections": []}
    foreign[1]["ground_truth"] = 3
    back.write_text(json.dumps({"samples": foreign}))
    with pytest.raises(DataError, match="2: its field `ground_truth` is not a classification"):
        label(workspace, back, actor="anna")


@pytest.mark.slow
def test_fiftyone_reads_it_and_gives_changed_labels_back(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [fiftyone_python(), "-c", SCRIPT, folder, tmp_path / "back"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    rows = {sample["sha256"]: sample for sample in samples_of(folder)}
    assert answer["classes"] == ["good", "bad"]
    assert "Classification" in answer["schema"]["ground_truth"]
    assert len(answer["samples"]) == len(rows)
    for path, sha256, text, probability, width, tags in answer["samples"]:
        row = rows[sha256]
        assert path == str(folder / row["filepath"])
        assert (text, probability) == (row["ground_truth"]["label"], row["probability"])
        assert (width, tags) == (row["metadata"]["width"], row["tags"])
    report = label(workspace, tmp_path / "back" / "samples.json", replace=True, actor="anna")
    assert report.answers == len(answer["changed"]) == 2
