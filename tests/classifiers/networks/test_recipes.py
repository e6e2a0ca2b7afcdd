"""Every recipe of a network, from `init --recipe` to a manifest, on real photographs.

The data of the write-ups is not at hand, so a pair of Fashion-MNIST stands in. Each runs with
few labels and epochs; the one that trains in seconds runs as it is shipped, with as many labels as
its page names.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curator.base.files import resource_folder
from curator.settings.file import read_settings
from tests.support import fashion
from tests.support.command import curator

POOL = 60
LARGEST_ERROR = 0.12
"""Largest cross-validated error of a recipe on an easy pair; chance is .5."""
RECIPES = ("good-faces", "faces-comics-mlp", "faces-comics-cnn", "glasses", "fake-faces")


def write_pictures(folder: Path, each: int, skip: int = 0) -> Path:
    """Ankle boots as `first`, bags as `second`."""
    pictures, labels = fashion.load("t10k")
    for name, number in (("first", 9), ("second", 8)):
        (folder / name).mkdir(parents=True)
        for index in np.flatnonzero(labels == number)[skip : skip + each]:
            Image.fromarray(pictures[index]).save(folder / name / f"{index:05d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_its_name_to_a_manifest(tmp_path: Path, name: str) -> None:
    seeds = write_pictures(tmp_path / "seeds", each=30)
    pool = write_pictures(tmp_path / "pool", each=25, skip=30)
    root = tmp_path / "workspace"
    curator("init", root, "--recipe", name)
    classes = read_settings(root / "curator.toml").classes
    curator("-w", root, "add", seeds / "first", "--label", classes.positive)
    curator("-w", root, "add", seeds / "second", "--label", classes.negative)
    curator("-w", root, "add", pool)
    curator("-w", root, "config", "training.epochs=5", "training.batch_size=8",
            "runtime.threads=1", "runtime.device=cpu")  # fmt: skip
    rounds = curator("-w", root, "round", "--json").json()
    assert rounds[0]["human_positive"] == rounds[0]["human_negative"] == 30
    assert rounds[0]["estimate"]["sample"] == 60
    # Chance is 50%; even a few epochs on thirty labels of a class are better than that.
    assert rounds[0]["estimate"]["errors"] < 24
    curator("-w", root, "export", tmp_path / "clean.csv")
    with (tmp_path / "clean.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["label"] for row in rows} == {classes.positive, classes.negative}
    found = curator("-w", root, "predict", pool / "first", "--json").stdout
    assert found.count('"probability"') == 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "labels"),
    [("faces-comics-mlp", 300), ("faces-comics-mlp", 800)],
)
def test_a_recipe_as_it_is_shipped_learns_an_easy_pair(
    tmp_path: Path, name: str, labels: int
) -> None:
    pictures, numbers = fashion.load()
    sneaker, boot = (fashion.CLASSES.index(each) for each in ("sneaker", "ankle-boot"))
    members = np.flatnonzero(np.isin(numbers, (sneaker, boot)))
    chosen = np.random.default_rng(0).permutation(members)[: labels + POOL]
    photos, root = tmp_path / "photos", tmp_path / "workspace"
    photos.mkdir()
    for index in chosen:
        Image.fromarray(pictures[index]).save(photos / f"{index:05d}.png", compress_level=1)
    curator("init", root, "--recipe", name)
    classes = read_settings(root / "curator.toml").classes
    truth = {
        f"{index:05d}.png": classes.positive if numbers[index] == sneaker else classes.negative
        for index in chosen
    }
    curator("-w", root, "add", photos)
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("path", "label")]
            + [(photos / each, label) for each, label in list(truth.items())[:labels]]
        )
    curator("-w", root, "label", tmp_path / "labels.csv")
    (report,) = curator("-w", root, "round", "--json").json()
    estimate = report["estimate"]
    assert estimate["sample"] == labels
    assert estimate["errors"] / labels < LARGEST_ERROR
    found = curator("-w", root, "predict", photos, "--json").json()
    claimed = {Path(each["path"]).name: each["probability"] > 0.5 for each in found}
    unlabelled = list(truth)[labels:]
    wrong = sum(claimed[each] != (truth[each] == classes.positive) for each in unlabelled)
    # Chance is 30 of 60; 15 or fewer come by chance once in 10,000 times.
    assert len(unlabelled) == POOL
    assert wrong <= POOL // 4
    curator("-w", root, "export", tmp_path / "clean.csv")
    with (tmp_path / "clean.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["label"] for row in rows} == {classes.positive, classes.negative}


def test_every_recipe_says_where_it_comes_from_and_trains_networks() -> None:
    for name in RECIPES:
        folder = resource_folder("seeds") / name
        settings = read_settings(folder / "curator.toml")
        assert settings.classifier.kind == "finetune"
        text = (folder / "README.md").read_text(encoding="utf-8")
        for heading in ("## What the write-up reported", "## What this tool reaches",
                        "## How to lay out the data"):  # fmt: skip
            assert heading in text, f"{name}: {heading}"
