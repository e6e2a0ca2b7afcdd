"""Decisions until both classes have 50 labels, and what a first round makes of them.

    python -m benchmarks.first_labels [--draws 5] [--images 3000]

Three ways to give the first labels of a pool: pages of look-alikes (`review clusters`: one decision
for a page, and one more for each exception), images spread over feature space (`diverse`) and
random images, one decision each. All then have 50 random labels more, and one round with
the settings of a new workspace; labels of pages teach and measure nothing. Seconds are those of
choosing the images. How long a person looks at a page is not measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.finish import Floats, pools
from benchmarks.pools import FOLDER, Ints, Task, rehearsal
from curator.classifiers.devices import use_threads
from curator.review.clusters import cluster_pages
from curator.review.selection import spread

ENOUGH = 50
"""Labels of each class, and random labels before the round."""
TASKS = ("sneaker vs. ankle boot", "upper-body garments", "shirt vs. rest")
WAYS = ("clusters", "diverse", "random")


def first_labels(task: Task, way: str, seed: int) -> tuple[Ints, int, float]:
    """Places of the labels, the decisions that they take, and the seconds to choose them."""
    started = time.perf_counter()
    images = np.arange(len(task.truth))
    if way == "clusters":
        pages = cluster_pages(images, task.features, seed)
    elif way == "diverse":
        nothing = task.features[:0]
        chosen = spread(images, task.features, nothing, min(1_500, len(images)), seed).ids
        pages = list(chosen[:, None])
    else:
        pages = list(np.random.default_rng(seed).permutation(images)[:, None])
    seconds = time.perf_counter() - started
    decisions, labels = 0, [0, 0]
    for number, page in enumerate(pages, start=1):
        positive = int(task.truth[page].sum())
        decisions += 1 + min(positive, len(page) - positive)
        labels = [labels[0] + len(page) - positive, labels[1] + positive]
        if min(labels) >= ENOUGH:
            return np.concatenate(pages[:number]), decisions, seconds
    return np.concatenate(pages), decisions, seconds


def after_a_round(task: Task, places: Ints, way: str, seed: int) -> tuple[float, float, float]:
    """Coverage at the thresholds, error there, and error of the likelier class, of the others."""
    others = np.setdiff1d(np.arange(len(task.truth)), places)
    sample = np.random.default_rng([seed, 1]).permutation(others)[:ENOUGH]
    labelled = np.sort(np.concatenate([places, sample]))
    sampled = np.isin(labelled, sample)
    (scores,) = rehearsal(task).rounds(
        labelled,
        task.truth[labelled],
        rounds=1,
        seed=seed,
        sampled=sampled,
        reviewed=~sampled if way == "clusters" else None,
        pages=~sampled if way == "clusters" else None,
    )
    truth: Floats = task.truth[np.setdiff1d(np.arange(len(task.truth)), labelled)]
    probability = scores.probability
    sure = (probability > 0.99) | (probability < 0.03)
    wrong = (probability > 0.5) != truth
    return float(sure.mean()), float(wrong[sure].mean()) if sure.any() else 0.0, float(wrong.mean())


def main() -> None:
    """Print a line for each task and way: means over draws, with standard errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--task", nargs="*", default=list(TASKS))
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    rows: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for draw in range(arguments.draws):
        for pool in pools(arguments.folder, arguments.images, draw, arguments.task):
            for way in WAYS:
                places, decisions, seconds = first_labels(pool.task, way, draw)
                measured = after_a_round(pool.task, places, way, draw)
                row = (decisions, len(places), seconds, *measured)
                rows.setdefault((pool.task.name, way), []).append(row)
                print(pool.task.name, way, draw, row, file=sys.stderr, flush=True)
    print("task | first labels | decisions | labels | seconds | coverage | error there | error")
    for (task, way), runs in rows.items():
        table = np.array(runs)
        mean, deviation = table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))
        cells = [f"{mean[0]:,.0f} ± {deviation[0]:.0f}", f"{mean[1]:,.0f}", f"{mean[2]:.1f}"]
        cells += [
            f"{100 * value:.1f} ± {100 * error:.1f}"
            for value, error in zip(mean[3:], deviation[3:], strict=True)
        ]
        print(task, way, *cells, sep=" | ")


if __name__ == "__main__":
    main()
