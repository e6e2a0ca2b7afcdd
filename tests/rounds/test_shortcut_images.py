"""A shortcut on real photographs: the good examples come from a source with another look.

T-shirts against shirts of Fashion-MNIST. In one case the T-shirts that were labelled went
through a duller camera and a coarse JPEG, and lie in a source of their own; in the other they
are as they were. Everything runs through a workspace, from files to the alarm.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from curator.api import WorkspaceApi, create_workspace
from curator.base.vocabulary import Origin, code_of
from curator.catalogue.images import image_files
from curator.catalogue.pool import current_scores, pool_chunks
from tests.support import fashion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SEEDS, POOL = 80, 420
GOOD, BAD = fashion.CLASSES.index("t-shirt"), fashion.CLASSES.index("shirt")


def built(folder: Path, *, dull: bool) -> WorkspaceApi:
    """A workspace with 80 seeds of either class, the good ones in a source of their own."""
    pictures, classes = fashion.load("t10k")
    chosen = {name: np.flatnonzero(classes == one) for name, one in (("g", GOOD), ("b", BAD))}
    for name, places in chosen.items():
        for number, place in enumerate(places[: SEEDS + POOL // 2]):
            seed_source = "studio" if name == "g" else "street"
            where = folder / (seed_source if number < SEEDS else "street")
            where.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pictures[place]).convert("RGB").resize((64, 64))
            spoilt = dull and where.name == "studio"
            if spoilt:
                picture = ImageEnhance.Contrast(picture).enhance(0.4)
            picture.save(where / f"{name}{number:04d}.jpg", quality=12 if spoilt else 95)
    workspace = create_workspace(folder / "workspace", positive="good", negative="bad", recipe=None)
    workspace.add(folder / "studio")
    workspace.add(folder / "street")
    label(workspace, folder / "seeds.csv", [
        *sorted((folder / "studio").iterdir()), *sorted((folder / "street").glob("b*"))[:SEEDS],
    ])  # fmt: skip
    return workspace


def label(workspace: WorkspaceApi, file: Path, paths: list[Path]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label"])
        writer.writerows([str(path), "good" if path.name[0] == "g" else "bad"] for path in paths)
    workspace.label(file)


def wrong_side(workspace: WorkspaceApi) -> float:
    """The share of images without a human label that the scores put on the wrong side."""
    catalogue = workspace._workspace.catalogue
    (chunk,) = pool_chunks(catalogue, None)
    free = (chunk.origin < 0) | (chunk.origin == code_of(Origin.PROMOTED))
    ids = chunk.image_ids[free]
    names = [Path(bytes(file.path).decode()).name
             for file in image_files(catalogue, ids.tolist()).values()]  # fmt: skip
    good = np.array([name[0] == "g" for name in names])
    return float(((current_scores(catalogue, ids) > 0.5) != good).mean())


def test_a_duller_source_raises_the_alarm_and_labels_of_the_pool_cure_it(tmp_path: Path) -> None:
    spoilt, clean = built(tmp_path / "a", dull=True), built(tmp_path / "b", dull=False)
    (alarmed,), (calm,) = spoilt.round(), clean.round()
    assert [alarm.kind for alarm in alarmed.warnings] == ["shortcut"]
    assert calm.warnings == ()
    assert alarmed.training.estimate.rate is not None
    damage, usual = wrong_side(spoilt), wrong_side(clean)
    assert damage > alarmed.training.estimate.rate + 0.15
    assert damage > usual + 0.1
    street = sorted((tmp_path / "a" / "street").glob("*.jpg"))
    free = [path for path in street if int(path.stem[1:]) >= SEEDS]
    drawn = np.random.default_rng(0).permutation(len(free))[:100]
    label(spoilt, tmp_path / "more.csv", [free[place] for place in drawn])
    (cured,) = spoilt.round()
    assert cured.warnings == ()
    assert wrong_side(spoilt) < damage - 0.1
