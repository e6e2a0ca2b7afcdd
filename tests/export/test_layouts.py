"""Plans: every image once, in order, and in memory that does not grow with them."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from curator.export.layouts import Plan, hashed_plan, one_per_image, shard_plan, tree_plan
from curator.export.rows import RUN_LENGTH, ExportFile, ManifestRow

FOLDERS: dict[str | None, str] = {"good": "good", "bad": "bad", None: "unlabelled"}
PLANS = {
    "tree": tree_plan(FOLDERS, divided=False),
    "hashed": hashed_plan(divided=False),
    "shards": shard_plan(1_000_000, divided=False),
}


def items(count: int) -> Iterator[ExportFile]:
    """Images of 10 kB, a tenth of them named alike, in a scrambled order."""
    for number in range(count):
        scrambled = number * 7_919 % count
        digest = hashlib.sha256(b"%d" % scrambled).hexdigest()
        name = "same.jpg" if scrambled % 10 == 0 else f"{scrambled}.jpg"
        label = "good" if scrambled % 3 else "bad"
        path = f"/photos/{scrambled % 100}/{name}"
        yield ExportFile(
            row=ManifestRow(path, digest, label, "seed", 0.5, None, None, None, "train", 64, 48),
            image_id=scrambled + 1,
            path=path,
            source="photos",
            size=10_000,
            mtime_ns=1,
            format="JPEG",
            unit=scrambled,
        )


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_every_image_has_one_place_and_nobody_elses(plan: Plan, tmp_path: Path) -> None:
    planned = list(plan(one_per_image([*items(500), *items(500)], tmp_path), tmp_path))
    assert len(planned) == 500
    assert len({planned_file.at_new_path().row.path.casefold() for planned_file in planned}) == 500
    assert Counter(planned_file.file.image_id for planned_file in planned).most_common(1)[0][1] == 1
    again = list(plan(one_per_image(items(500), tmp_path), tmp_path))
    assert planned == again


def test_shards_are_filled_to_their_size(tmp_path: Path) -> None:
    sizes = Counter[str]()
    for planned_file in PLANS["shards"](items(1_000), tmp_path):
        sizes[planned_file.folder] += planned_file.file.size
    names = sorted(sizes)
    assert names == [f"train-{number:06d}.tar" for number in range(len(names))]
    assert all(700_000 < sizes[name] < 1_000_000 for name in names[:-1])


def test_an_image_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    large = [item._replace(size=5_000_000) for item in items(3)]
    planned = list(PLANS["shards"](large, tmp_path))
    assert [planned_file.folder for planned_file in planned] == [
        f"train-{number:06d}.tar" for number in range(3)
    ]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in PLANS["tree"](one_per_image(items(count), tmp_path), tmp_path):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(2 * RUN_LENGTH + 7) < 1.25 * peak(RUN_LENGTH + 7)
