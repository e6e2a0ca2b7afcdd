"""`round` and `rollback`: from labels to promotions and back."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.support.command import curator, manifest_labels

pytestmark = pytest.mark.slow


def test_a_round_says_what_it_did_in_ten_lines_of_eighty_columns(labelled: Path) -> None:
    ended = curator("-w", labelled, "round")
    lines = ended.stdout.splitlines()
    told = " ".join(line.strip() for line in lines)
    assert len(lines) <= 9, "the tenth is the next step"
    assert max(map(len, lines)) <= 80
    assert "Round 1: " in told
    assert "promoted to good" in told
    assert "of 36 images without a human label" in told
    assert "Estimated error of promoted labels: 0.0% (95% interval 0.0 to" in told
    assert "`curator review random`" in told
    for word in ("log loss", "Brier", "calibration error", "C = ", "Seconds"):
        assert word not in told
    curator("-w", labelled, "config", "classifier.regularization=0.5")
    told = " ".join(curator("-w", labelled, "round", "--dry-run", "--verbose").stdout.split())
    for word in ("log loss", "Brier", "calibration error", "Heads: C = 0.5 (", "Seconds: "):
        assert word in told
    assert "error of the pool is" in told or "unknown for the pool" in told


def test_a_round_as_json(labelled: Path) -> None:
    (report,) = curator("-q", "-w", labelled, "round", "--json").json()
    assert report["round_id"] == 1
    assert report["human_positive"] == report["human_negative"] == 12
    assert report["promoted"] == report["promoted_positive"] + report["promoted_negative"]
    assert 0 < report["coverage"] <= 1
    assert report["label_belief"]["regularization"] == 0.1
    assert report["threshold_error"]["beyond"]["sample"] > 0
    assert report["judgement"]["log_loss"] > 0
    (kept,) = curator("-q", "-w", labelled, "status", "--json").json()["rounds"]
    assert kept["label_belief"] == report["label_belief"]
    assert kept["threshold_error"] == report["threshold_error"]
    assert "Estimated error of promoted labels" in curator("-w", labelled, "status").stdout
    assert report["seconds"]


def test_a_dry_run_changes_nothing(labelled: Path) -> None:
    before = manifest_labels(labelled)
    ended = curator("-w", labelled, "round", "--dry-run")
    assert "Dry run: " in ended.stdout
    assert manifest_labels(labelled) == before
    assert curator("-w", labelled, "status", "--json").json()["rounds"] == []


def test_after_every_image_has_a_label_a_further_round_changes_nothing(labelled: Path) -> None:
    curator("-w", labelled, "config", "promotion.promote_above=0.5001",
            "promotion.promote_below=0.4999", "promotion.revoke_below=0.5",
            "promotion.revoke_above=0.5", "promotion.max_error=0.5",
            "gates.distance=0")  # fmt: skip
    told = " ".join(curator("-w", labelled, "round", "--rounds", "2").stdout.split())
    assert "promoted now 100.0%" in told
    assert "Round 2" not in told
    assert "Every image has a label: until labels or settings change" in told
    before = manifest_labels(labelled)
    again = " ".join(curator("-w", labelled, "round").stdout.split())
    assert again.startswith("Every image has a label")
    assert "`curator audit`" in again
    assert curator("-w", labelled, "round", "--until-stable", "--json").json() == []
    assert manifest_labels(labelled) == before
    (only,) = curator("-w", labelled, "status", "--json").json()["rounds"]
    assert only["round"] == 1
    # What a person says, or a changed setting, is a reason for another one.
    promoted = labelled / "promoted.csv"
    curator("-w", labelled, "export", promoted)
    with promoted.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["origin"] == "promoted"]
    answer = labelled / "answer.csv"
    answer.write_text(f"sha256,label\n{rows[0]['sha256']},{rows[0]['label']}\n")
    curator("-w", labelled, "label", answer)
    assert "Round 2: " in curator("-w", labelled, "round").stdout
    curator("-w", labelled, "config", "classifier.regularization=0.2")
    assert "Round 3: " in curator("-w", labelled, "round").stdout


def test_rounds_until_stable_end(labelled: Path) -> None:
    reports = curator("-q", "-w", labelled, "round", "--until-stable", "--json").json()
    assert 1 <= len(reports) <= 20


def test_rollback_gives_back_exactly_what_stood(labelled: Path) -> None:
    strict = ("promotion.promote_above=0.9999", "promotion.promote_below=0.0001")
    curator("-w", labelled, "config", *strict)
    curator("-q", "-w", labelled, "round")
    after_one = manifest_labels(labelled)
    curator("-w", labelled, "config", "promotion.promote_above=0.6", "promotion.promote_below=0.4")
    curator("-q", "-w", labelled, "round")
    assert manifest_labels(labelled) != after_one
    said = curator("-w", labelled, "rollback", "--to", "1")
    assert "after round 1" in said.stdout
    assert "Undone: round 2" in said.stdout
    assert manifest_labels(labelled) == after_one
    borderline = curator("-q", "-w", labelled, "queue", "borderline", "--json").json()
    assert all(row["probability"] is not None for row in borderline)
    nothing = curator("-w", labelled, "rollback", "--to", "0", "--json").json()
    assert nothing["to_id"] is None
    assert {origin for _, origin in manifest_labels(labelled).values()} == {"seed"}


def test_blocked_images_wait_for_a_look(labelled: Path) -> None:
    curator("-q", "-w", labelled, "round")
    said = curator("-w", labelled, "rollback", "--to", "0", "--block")
    assert "will not be promoted before a person has looked" in said.stdout
    curator("-q", "-w", labelled, "round")
    status = curator("-w", labelled, "status", "--json").json()
    assert status["blocked"] > 0
    assert status["rounds"][-1]["promoted"] < status["rounds"][0]["promoted"]


def test_rollback_to_a_round_that_never_was(labelled: Path) -> None:
    assert "7" in curator("-w", labelled, "rollback", "--to", "7", expect=3).stderr


def test_a_round_needs_labels_of_both_classes(tmp_path: Path, labelled_template: Path) -> None:
    curator("init", tmp_path / "ws")
    refused = curator("-w", tmp_path / "ws", "round", expect=3)
    assert "curator add" in refused.stderr
    curator("-q", "-w", tmp_path / "ws", "add", labelled_template / "pictures" / "good")
    tiny = f'classifier.weights="{labelled_template / "tiny.safetensors"}"'
    curator("-w", tmp_path / "ws", "config", "classifier.model=test_resnet", tiny)
    curator("-w", tmp_path / "ws", "config", "classifier.image_size=32", "runtime.backend=torch")
    refused = curator("-w", tmp_path / "ws", "round", expect=3)
    assert "labelled good or bad" in refused.stderr
