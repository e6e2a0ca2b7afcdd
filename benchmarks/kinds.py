"""Kinds of classifiers over rounds: frozen features beside recipes that train networks.

    python -m benchmarks.kinds [--kind frozen good-faces RECIPE...] [--draws 3] [--rounds 5]
        [--task NAME...] [--images 2000] [--labels 300] [--keep FILE] [--folder DIR]

Random pools with random labels, as a user runs them: `init --recipe`, `add`, `label`, `round`.
`frozen` has the settings of a new workspace, every other kind is a recipe of `seeds/`. The default
network sees 64 pixels, networks of recipes the size that they are made for. Coverage and error are
those of the labels that stand promoted after each round; `wrong side` is the share of all images
without a human label whose score names the other class. `promotion.max_error` is .5, so that no
round is stopped.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.kept import Kept
from curator.api import WorkspaceApi, create_workspace, open_workspace
from curator.catalogue.certificates import promoted_labels
from curator.catalogue.images import image_files
from curator.catalogue.pool import current_scores, pool_chunks
from curator.settings.file import read_settings, write_settings
from curator.settings.sections import ClassifierSettings
from tests.support import fashion

TASKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sneaker vs. ankle boot": (("sneaker",), ("ankle-boot",)),
    "T-shirt vs. shirt": (("t-shirt",), ("shirt",)),
    "pullover vs. shirt": (("pullover",), ("shirt",)),
    "upper-body vs. rest": (
        ("t-shirt", "pullover", "coat", "shirt"),
        ("trouser", "dress", "sandal", "sneaker", "bag", "ankle-boot"),
    ),
    "solar defects": ((), ()),
}
SIDE = 64


def main() -> None:
    """Measure and print a table over rounds for each task and kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kind", nargs="*", default=["frozen", "good-faces"])
    parser.add_argument("--task", nargs="*", default=list(TASKS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--folder", type=Path, help="keeps pictures and workspaces")
    arguments = parser.parse_args()
    kept, results = Kept(arguments.keep), dict[tuple[str, str], list[list[dict[str, float]]]]()
    with tempfile.TemporaryDirectory(prefix="curator-kinds-") as temporary:
        folder = arguments.folder or Path(temporary)
        for draw in range(arguments.draws):
            for task in arguments.task:
                for kind in arguments.kind:
                    asked = {"task": task, "kind": kind, "draw": draw, "rounds": arguments.rounds,
                             "images": arguments.images, "labels": arguments.labels}  # fmt: skip
                    place = folder / f"{task}-{kind}-{draw}".replace(" ", "-")
                    measured = kept.figures(asked, lambda: _rounds(asked, place))  # noqa: B023
                    results.setdefault((task, kind), []).append(measured["rounds"])
    print("task | kind | " + " | ".join(f"round {n + 1}" for n in range(arguments.rounds)))
    for (task, kind), draws in results.items():
        cells = [
            f"{np.mean([draw[n]['coverage'] for draw in draws]):.0%} at"
            f" {np.mean([draw[n]['error'] for draw in draws]):.1%},"
            f" {np.mean([draw[n]['wrong side'] for draw in draws]):.1%} on the wrong side,"
            f" {np.median([draw[n]['seconds'] for draw in draws]):.0f} s"
            for n in range(arguments.rounds)
        ]
        print(" | ".join([task, kind, *cells, f"n = {len(draws)}"]))


def _rounds(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Coverage, true error and seconds of each round of one workspace."""
    pictures, positive = _pictures(asked["task"], asked["images"], asked["draw"])
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(photos / f"{index:05d}.png", compress_level=1)
    recipe = None if asked["kind"] == "frozen" else asked["kind"]
    create_workspace(folder / "workspace", positive=None, negative=None, recipe=recipe).close()
    settings = {"promotion.max_error": "0.5", "runtime.threads": "1"}
    shipped = read_settings(folder / "workspace" / "curator.toml").classifier
    if shipped.model == ClassifierSettings().model:
        settings["classifier.image_size"] = str(SIDE)
    write_settings(folder / "workspace", settings)
    with open_workspace(folder / "workspace") as workspace:
        workspace.add(photos)
        labels = folder / "labels.csv"
        with labels.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "label"])
            for index in range(asked["labels"]):
                label = "positive" if positive[index] else "negative"
                writer.writerow([str(photos / f"{index:05d}.png"), label])
        workspace.label(labels)
        found = []
        for _ in range(asked["rounds"]):
            start = time.perf_counter()
            (report,) = workspace.round()
            seconds = time.perf_counter() - start
            right, wrong_side = _right(workspace, positive), _wrong_side(workspace, positive)
            found.append({"coverage": report.coverage, "seconds": seconds,
                          "error": float(1 - right.mean()) if len(right) else 0.0,
                          "wrong side": float(wrong_side[asked["labels"]:].mean())})  # fmt: skip
    return {"rounds": found}


def _right(workspace: WorkspaceApi, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each promoted label is right."""
    catalogue = workspace._workspace.catalogue
    ids, labels, _ = promoted_labels(catalogue)
    right: NDArray[np.bool_] = labels == positive[_numbers(workspace, ids)]
    return right


def _wrong_side(workspace: WorkspaceApi, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the score of each picture, in their order, names the other class."""
    catalogue = workspace._workspace.catalogue
    ids = np.concatenate([chunk.image_ids for chunk in pool_chunks(catalogue, None)])
    wrong = np.empty(len(positive), dtype=np.bool_)
    numbers = _numbers(workspace, ids)
    wrong[numbers] = (current_scores(catalogue, ids) > 0.5) != positive[numbers]
    return wrong


def _numbers(workspace: WorkspaceApi, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number in the file name of each image."""
    files = image_files(workspace._workspace.catalogue, ids.tolist())
    stems = (Path(bytes(files[int(image_id)].path).decode()).stem for image_id in ids)
    return np.array([int(stem) for stem in stems], dtype=np.int64)


def _pictures(task: str, images: int, draw: int) -> tuple[list[NDArray[Any]], NDArray[np.bool_]]:
    """Random pictures of a task and whether each is positive; the first ones are labelled."""
    if task == "solar defects":
        from elpv_dataset.utils import load_dataset

        pictures, probability, _ = load_dataset()
        members = np.flatnonzero((probability < 0.1) | (probability > 0.9))
        truth = probability < 0.1
    else:
        pictures, numbers = fashion.load()
        good, bad = ([fashion.CLASSES.index(name) for name in side] for side in TASKS[task])
        members = np.flatnonzero(np.isin(numbers, good + bad))
        truth = np.isin(numbers, good)
    chosen = np.random.default_rng(draw).permutation(members)[:images]
    return [np.asarray(pictures[index]) for index in chosen], truth[chosen]


if __name__ == "__main__":
    main()
