"""`round` and `rollback`: from labels to promotions and back."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from curator.cli.rounds import COLUMNS, LINES, _after_round, _lines_of, _round_line
from curator.rounds.pool_error import OtherThresholds, ThresholdError
from curator.rounds.source_shortcut import WARNING_TITLES, RoundWarning
from curator.settings.sections import ClassesSettings
from curator.statistics.metrics import ErrorEstimate
from tests.rounds.pool import Pool
from tests.support.command import CHECKOUT, curator, manifest_labels

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
    assert "will not be promoted until a person has reviewed them" in said.stdout
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


def test_no_round_prints_more_than_ten_lines(tmp_path: Path) -> None:
    """The largest numbers, the longest names, every warning, every sentence, every next step."""
    pool = Pool(tmp_path, size=300)
    pool.label(range(100))
    (report,) = pool.api.round()
    assert report.quality is not None
    million = 10_000_000
    classes = ClassesSettings(positive="p" * 200, negative="n" * 200)
    estimate = ErrorEstimate(errors=million - 9, sample=million, low=0.998, high=0.9999)
    held_back = replace(report.counts.held_back, warning=million, distance=million)
    numbers = replace(
        report.counts,
        promoted_positive=million,
        promoted_negative=million,
        revoked=million,
        standing_promoted=million - 1,
        without_human=million,
    )
    warning = RoundWarning(kind="copies", problem="word " * 80, cure="word " * 60, holds=True)
    kinds = [replace(warning, kind=kind) for kind in WARNING_TITLES]
    source = "".join(file.read_text() for file in (CHECKOUT / "curator/rounds").glob("*.py"))
    assert set(re.findall(r'RoundWarning\(\s*kind="([a-z-]+)"', source)) == set(WARNING_TITLES)
    first = replace(report.quality, last=None, first=None)
    options = tuple(
        OtherThresholds(promote_above=0.9512, promote_below=0.0512, images=million, error=estimate)
        for _ in range(9)
    )
    for warnings, waits, short, added, is_whole in product(
        (kinds[:0], kinds[:1], kinds[:2], kinds, [replace(warning, problem="short", cure="too")]),
        (False, True),
        (0, 1, 2, 3),
        (None, replace(estimate, sample=9)),
        (False, True),
    ):
        worst = replace(
            report,
            round_id=100_000,
            quality=first,
            counts=replace(
                numbers,
                standing_promoted=million - (not is_whole),
                held_back=held_back if waits else report.counts.held_back,
            ),
            threshold_error=ThresholdError(beyond=estimate, added=added, on_pool=True),
            other_thresholds=options,
            warnings=tuple(warnings),
            accepted=waits,
        )
        above = _lines_of(_round_line(worst, classes))
        below = _lines_of("Next: " + "word " * 15 * short)
        room = LINES - len(above) - len(below)
        printed = [*above, *_after_round(worst, 0.01, room), *below]
        assert len(printed) <= LINES
        assert max(map(len, printed)) <= COLUMNS
        named = [line for line in printed if line.startswith("Warning: ")]
        assert len(named) == len(warnings) or "more)" in " ".join(printed)
