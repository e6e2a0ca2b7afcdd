"""`plan`, and its line in `status`: how many more decisions, or why nobody knows."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator.statistics.work_left import Doubts, doubt_counts, work_left
from tests.support import encoder
from tests.support.command import curator
from tests.support.images import make_folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures, 12 of them seeds, and one round."""
    home = tmp_path_factory.mktemp("planned")
    make_folder(home / "pictures", good=120, bad=120, seed=3)
    weights = encoder.write_weights(home / "tiny.safetensors")
    curator("init", home / "ws")
    curator("-w", home / "ws", "config", *encoder.settings(weights))
    curator("-q", "-w", home / "ws", "add", home / "pictures")
    label(home, "diverse", 30)
    curator("-q", "-w", home / "ws", "round")
    return home


def label(home: Path, queue: str, size: int) -> None:
    """Label the first images of a queue as their folders say."""
    listed = home / f"{queue}.csv"
    curator("-q", "-w", home / "ws", "queue", queue, "--size", str(size), "--output", listed)
    with listed.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["label"] = "good" if "/good/" in row["path"] else "bad"
    with listed.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    curator("-q", "-w", home / "ws", "label", listed)


def plan(home: Path, *options: str) -> Any:
    return curator("-w", home / "ws", "plan", *options, "--json").json()


@pytest.mark.slow
def test_the_work_is_unknown_until_a_random_sample_says_it(home: Path) -> None:
    unknown = plan(home)
    assert (unknown["work"], unknown["next"]) == (None, "curator review random")
    text = curator("-w", home / "ws", "status").stdout
    assert "unknown for the pool. It takes a round with 50 labels of a random sample" in text
    label(home, "random", 60)
    assert plan(home)["next"] == "curator round"
    curator("-q", "-w", home / "ws", "round")

    known = plan(home, "--error", "0.001", "--coverage", "1")
    work = known["work"]
    assert known["unknown"] == ""
    assert 0 <= work["low"] <= work["decisions"] <= work["high"] <= 150
    assert work["high"] > 0
    looser = plan(home, "--error", "0.2")["work"]
    assert looser["decisions"] < work["decisions"]
    status = curator("-w", home / "ws", "status").stdout
    assert "Work left" in status
    assert "unknown for the pool" not in status

    # What people label of the queue that the plan names is work done.
    label(home, "borderline", 20)
    assert plan(home, "--error", "0.001", "--coverage", "1")["work"]["high"] == work["high"] - 20

    make_folder(home / "more", good=30, bad=30, seed=5)
    curator("-q", "-w", home / "ws", "add", home / "more")
    assert plan(home)["unknown"] == "Images were added since the last round."


@pytest.mark.slow
@pytest.mark.parametrize("wish", [("--error", "0"), ("--error", "0.7"), ("--coverage", "1.5")])
def test_a_wish_out_of_range_is_refused(home: Path, wish: tuple[str, str]) -> None:
    refused = curator("-w", home / "ws", "plan", *wish, expect=2)
    assert "Give --error above 0" in refused.stderr


@pytest.mark.parametrize("seed", range(20))
def test_a_forecast_lies_in_its_range_and_in_the_pool(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, error = int(random.integers(20, 500)), float(random.uniform(0.001, 0.2))
    probability = random.beta(0.2, 0.2, 200)
    doubts = Doubts(labels=labels, reviewed=0, counts=doubt_counts(probability))
    assert sum(doubts.counts) == len(probability)
    images = labels + len(probability)
    work = work_left([doubts], images, error=error, coverage=0.9)
    assert 0 <= work.low <= work.decisions <= work.high <= len(probability)
    # Nobody has to label more for a looser wish.
    looser = work_left([doubts], images, error=2 * error, coverage=0.9)
    assert looser.decisions <= work.decisions


def test_without_learning_people_label_until_the_rest_of_the_doubts_is_small_enough() -> None:
    # 100 images at a doubt of 0.3 and 900 at 0.0001: 0.3 m may remain.
    probability = np.array([0.3] * 100 + [0.0001] * 900)
    rounds = [Doubts(labels=n, reviewed=0, counts=doubt_counts(probability)) for n in (100, 10_000)]
    work = work_left([rounds[-1]], 2_000, error=0.003, coverage=1.0)
    assert work.decisions == pytest.approx(80, abs=3)
    # The images that may remain without a label are the most doubtful ones.
    fewer = work_left([rounds[-1]], 2_000, error=0.003, coverage=0.98)
    assert fewer.decisions == pytest.approx(40, abs=3)
