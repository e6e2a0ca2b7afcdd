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
from curator.catalogue import certificates
from curator.catalogue.images import image_files
from curator.catalogue.pool import current_scores, pool_chunks
from curator.report.sentences import error_sentence
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


def promoted_wrong(workspace: WorkspaceApi) -> tuple[int, int]:
    """How many labels are promoted, and how many of them are wrong."""
    catalogue = workspace._workspace.catalogue
    ids, positive, _ = certificates.promoted_labels(catalogue)
    files = image_files(catalogue, ids.tolist())
    names = [Path(bytes(files[image_id].path).decode()).name for image_id in ids.tolist()]
    wrong = sum((name[0] == "g") != side for name, side in zip(names, positive, strict=True))
    return len(ids), int(wrong)


def test_a_duller_source_raises_the_alarm_and_labels_of_the_pool_cure_it(tmp_path: Path) -> None:
    spoilt, clean = built(tmp_path / "a", dull=True), built(tmp_path / "b", dull=False)
    (alarmed,), (calm,) = spoilt.round(), clean.round()
    assert [alarm.kind for alarm in alarmed.warnings] == ["shortcut"]
    assert calm.warnings == ()
    # The labels cannot show what is wrong, so nothing is promoted and no error is shown.
    assert promoted_wrong(spoilt) == (0, 0)
    assert alarmed.error.pool is None and alarmed.error.shortcut
    assert "unknown for the pool" in error_sentence(alarmed.error)
    advice = spoilt.status().advice()
    assert "Promotions wait because of a warning" in advice and "review random" in advice
    assert alarmed.training.estimate.rate is not None
    damage, usual = wrong_side(spoilt), wrong_side(clean)
    assert damage > alarmed.training.estimate.rate + 0.15
    assert damage > usual + 0.1
    street = sorted((tmp_path / "a" / "street").glob("*.jpg"))
    free = [path for path in street if int(path.stem[1:]) >= SEEDS]
    drawn = np.random.default_rng(0).permutation(len(free))[:100]
    label(spoilt, tmp_path / "more.csv", [free[place] for place in drawn])
    (cured,) = spoilt.round()
    assert "shortcut" not in [warning.kind for warning in cured.warnings]
    # What would have been promoted, had nobody waited: much more of it wrong than after the cure.
    copy = built(tmp_path / "c", dull=True)
    (hasty,) = copy.round(accept_warning=True)
    number, wrong = promoted_wrong(copy)
    assert hasty.accepted and wrong > 0
    after, still_wrong = promoted_wrong(spoilt)
    assert still_wrong / max(after, 1) < wrong / number
    assert wrong_side(spoilt) < damage - 0.1
