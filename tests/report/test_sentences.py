"""What `round`, `status` and `queue suspect` say on the command line about the scores."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.rounds.pool import Pool
from tests.support.command import curator

pytestmark = pytest.mark.slow


@pytest.fixture
def doubtful(tmp_path: Path) -> Pool:
    """Good seeds from another source with a look of its own, and two slips."""
    pool = Pool(tmp_path, size=500, distance=4.0, foreign=60, style=8.0)
    negative = np.flatnonzero(~pool.truth)[:60]
    pool.label([*range(60), *negative[2:]])
    pool.label(negative[:2], lie=True)
    return pool


def test_scores_are_judged_on_the_command_line(doubtful: Pool) -> None:
    root = doubtful.api.root
    told = " ".join(curator("-q", "-w", root, "round", "--verbose").stdout.split())
    assert "log loss" in told
    assert "had no part in them, expected calibration error" in told
    assert "Warning" in told
    assert "curator review random" in told
    drawn = root / ".curator" / "reports" / "calibration-1.png"
    assert f"Reliability diagram: {drawn}" in told
    assert drawn.stat().st_size > 5_000
    screen = curator("-q", "-w", root, "status").stdout
    assert "Scores  of round 1" in screen
    assert "Warning" in screen
    (kept,) = curator("-q", "-w", root, "status", "--json").json()["rounds"]
    assert kept["judgement"]["labels"] == 120
    assert sum(one["count"] for one in kept["judgement"]["reliability"]) == 120
    assert kept["alarms"][0]["kind"] == "shortcut"
    (second,) = curator("-q", "-w", root, "round", "--json").json()
    assert second["judgement"]["last"]["round_id"] == 1
    assert second["held_back"].keys() == {"distance", "warning"}


def test_suspects_come_with_the_label_that_they_carry(doubtful: Pool) -> None:
    root = doubtful.api.root
    refused = curator("-q", "-w", root, "queue", "suspect", "--size", "5", expect=3)
    assert "no scores yet" in refused.stderr
    curator("-q", "-w", root, "round")
    listed = curator("-q", "-w", root, "queue", "suspect", "--size", "5").stdout
    rows = list(csv.DictReader(io.StringIO(listed)))
    assert rows
    assert list(rows[0]) == [
        "path",
        "sha256",
        "probability",
        "suggestion",
        "label",
        "labelled",
        "queue",
    ]
    assert all(row["labelled"] != row["suggestion"] and row["label"] == "" for row in rows)
