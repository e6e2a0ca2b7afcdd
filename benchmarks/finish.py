"""Decisions until every image of a pool has a label, by a person or by the machine.

    python -m benchmarks.finish [--draws 3] [--images 3000] [--method NAME...] [--task NAME...]

A person labels in batches; after each, a model is trained and the rest gets its likelier class.
The count is that at which at most 1% or 3% of the pool's images have a wrong label for the first
time, which only this benchmark can see: the stop is an oracle's. Curator goes its advised way (100
first images, rounds with the settings of a new workspace, the next batch from a queue). The others
have scikit-learn's `LogisticRegression` on the final layer of the same encoder, standardised, and
for `all stages` on curator's features. Strategies of scikit-activeml run where it is installed.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coverage import UPPER
from benchmarks.pools import (
    FOLDER,
    GROUPS,
    Flags,
    Ints,
    Task,
    clothes,
    projected_task,
    rehearsal,
    solar_numbers,
)
from curator.classifiers.devices import use_threads
from curator.review.selection import spread
from curator.statistics.folds import in_proportion_to_error
from curator.statistics.work_left import Doubts, doubt_counts, work_left
from tests.support import fashion

GOALS = (0.01, 0.03)
FIRST = 100
BATCH = 25
GROWTH = 10
"""A batch is a tenth of the labels so far, at least 25 images."""

Floats = NDArray[Any]
Choice = tuple[Floats, Ints]
"""P(positive) of the unlabelled images, and their places in the order to be labelled in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A task, and the final layer's features of its images, standardised, (images, d)."""

    task: Task
    last_layer: Floats


class Curator:
    """The tool's loop on arrays: its heads, and one of its queues."""

    def __init__(self, pool: Pool, queue: str, seed: int) -> None:
        self._task, self._queue, self._seed = pool.task, _QUEUES[queue], seed
        self._run = rehearsal(pool.task)
        self._diverse = self._sample = np.empty(0, dtype=np.int64)
        self.doubts: list[Doubts] = []

    def first(self) -> Ints:
        """Half of them spread over feature space, half a random sample."""
        self._diverse = self._spread(np.arange(len(self._task.truth)), FIRST // 2)
        others = np.setdiff1d(np.arange(len(self._task.truth)), self._diverse)
        self._sample = np.random.default_rng(self._seed).permutation(others)[: FIRST // 2]
        return np.concatenate([self._diverse, self._sample])

    def choose(self, labelled: Ints, rest: Ints) -> Choice:
        """P(positive) after a round, and the queue; diverse images before one can be trained."""
        places = np.sort(labelled)
        if not self._run.can_teach(places, self._task.truth[places], seed=self._seed):
            order = np.searchsorted(rest, self._spread(rest, _batch(len(labelled)), places))
            return np.zeros(len(rest)), order
        sampled, diverse = np.isin(places, self._sample), np.isin(places, self._diverse)
        (scores,) = self._run.rounds(
            places,
            self._task.truth[places],
            rounds=1,
            seed=self._seed,
            sampled=sampled,
            reviewed=~(sampled | diverse),
        )
        counts = doubt_counts(scores.probability)
        by_scores = int((~(sampled | diverse)).sum())
        self.doubts.append(Doubts(labels=len(places), reviewed=by_scores, counts=counts))
        return scores.probability, self._queue(scores.probability, len(labelled))

    def forecasts(self, decisions: dict[str, int]) -> list[tuple[str, int, int, int, int, int]]:
        """Goal, labels, true decisions left, and those forecast: low, middle, high."""
        rows = []
        for goal in GOALS:
            end = decisions[f"{goal:.0%}"]
            for number, doubts in enumerate(self.doubts, start=1):
                if doubts.labels < end:
                    work = work_left(
                        self.doubts[:number], len(self._task.truth), error=goal, coverage=1.0
                    )
                    left = end - doubts.labels
                    row = (f"{goal:.0%}", doubts.labels, left, work.low, work.decisions, work.high)
                    rows.append(row)
        return rows

    def _spread(self, among: Ints, size: int, away_from: Ints | None = None) -> Ints:
        features = self._task.features
        references = features[np.empty(0, dtype=np.int64) if away_from is None else away_from]
        return spread(among, features[among], references, size, self._seed).ids


def _borderline(probability: Floats, seed: int) -> Ints:
    return np.argsort(np.abs(probability - 0.5), kind="stable")


def _informative(probability: Floats, seed: int) -> Ints:
    return in_proportion_to_error(np.arange(len(probability)), probability, seed)


def _changing(probability: Floats, seed: int) -> Ints:
    """Informative until half of the pool is decided, then borderline."""
    decided = np.mean((probability > 0.99) | (probability < 0.03))
    return (_borderline if decided > 0.5 else _informative)(probability, seed)


_QUEUES = {"borderline": _borderline, "informative": _informative, "changing": _changing}


class Regression:
    """Logistic regression, and random images, the least certain ones or a strategy's choice."""

    def __init__(self, features: Floats, truth: Flags, strategy: str, seed: int) -> None:
        self._x, self._truth, self._strategy, self._seed = features, truth, strategy, seed

    def first(self) -> Ints:
        """A random sample."""
        return np.random.default_rng(self._seed).permutation(len(self._x))[:FIRST]

    def choose(self, labelled: Ints, rest: Ints) -> Choice:
        """The regression on these labels, and the order of its strategy."""
        shuffled = np.random.default_rng([self._seed, len(labelled)]).permutation(len(rest))
        answers = self._truth[labelled]
        if len(np.unique(answers)) < 2:
            return np.full(len(rest), float(answers[0])), shuffled
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self._strategy == "self-training":
                return self._self_trained(labelled, rest), shuffled
            probability = self._fitted(labelled).predict_proba(self._x[rest])[:, 1]
            if self._strategy == "random":
                return probability, shuffled
            if self._strategy == "uncertainty":
                return probability, np.argsort(np.abs(probability - 0.5), kind="stable")
            return probability, np.searchsorted(rest, self._strategys_choice(labelled, rest))

    def _fitted(self, labelled: Ints) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().fit(self._x[labelled], self._truth[labelled])

    def _self_trained(self, labelled: Ints, rest: Ints) -> Floats:
        from sklearn.linear_model import LogisticRegression
        from sklearn.semi_supervised import SelfTrainingClassifier

        targets = np.full(len(self._x), -1)
        targets[labelled] = self._truth[labelled]
        teacher = SelfTrainingClassifier(LogisticRegression(), threshold=0.99)
        probability: Floats = teacher.fit(self._x, targets).predict_proba(self._x[rest])[:, 1]
        return probability

    def _strategys_choice(self, labelled: Ints, rest: Ints) -> Ints:
        strategies = import_module("skactiveml.pool")
        wrapped = import_module("skactiveml.classifier").SklearnClassifier
        from sklearn.ensemble import BaggingClassifier
        from sklearn.linear_model import LogisticRegression

        targets = np.full(len(self._x), np.nan)
        targets[labelled] = self._truth[labelled]
        size = min(_batch(len(labelled)), len(rest))
        arguments: dict[str, Any] = {"candidates": rest, "batch_size": size}
        kind = getattr(strategies, self._strategy)(random_state=self._seed)
        regression = wrapped(LogisticRegression(), classes=[0, 1])
        if self._strategy == "QueryByCommittee":
            committee = BaggingClassifier(LogisticRegression(), n_estimators=10)
            arguments |= {"ensemble": wrapped(committee, classes=[0, 1])}
        else:
            arguments |= {"clf": regression}
        chosen: Ints = kind.query(self._x, targets, **arguments)
        return chosen


_STRATEGIES = ("uncertainty", "random", "self-training", "QueryByCommittee", "Falcun")
METHODS = (
    *(f"curator, {queue}" for queue in _QUEUES),
    *(f"last layer, {strategy}" for strategy in _STRATEGIES),
    "all stages, uncertainty",
)


def make_method(name: str, pool: Pool, seed: int) -> Curator | Regression:
    """The method of this name on a pool."""
    features, _, choice = name.partition(", ")
    if features == "curator":
        return Curator(pool, choice, seed)
    x = pool.last_layer if features == "last layer" else _to_length(pool.task.features)
    return Regression(x, pool.task.truth, choice, seed)


def _to_length(features: Floats, squared: float = 1_000.0) -> Floats:
    """The rows in float32 with the mean squared length `squared`."""
    x = features.astype(np.float32)
    return x * np.float32(np.sqrt(squared / np.square(x).sum(axis=1).mean()))


def decisions_until(truth: Flags, method: Curator | Regression) -> dict[str, int]:
    """Labels until the rest's likelier classes are wrong for at most each share of the pool."""
    labelled, decisions = method.first(), dict[str, int]()
    while True:
        rest = np.setdiff1d(np.arange(len(truth)), labelled)
        probability, order = method.choose(labelled, rest)
        wrong = int(((probability > 0.5) != truth[rest]).sum()) / len(truth)
        for goal in GOALS:
            if wrong <= goal:
                decisions.setdefault(f"{goal:.0%}", len(labelled))
        if len(decisions) == len(GOALS):
            return decisions
        labelled = np.concatenate([labelled, rest[order[: _batch(len(labelled))]]])


def _batch(labels: int) -> int:
    return max(BATCH, labels // GROWTH)


def main() -> None:
    """Print a line for each run, then the table and ratios to the best of the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--method", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--task", nargs="*", default=[])
    parser.add_argument("--keep", type=Path, help="add runs to this file, and read those in it")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    runs: dict[str, dict[str, int]] = {}
    forecasts: dict[str, list[tuple[str, int, int, int, int, int]]] = {}
    if arguments.keep and arguments.keep.exists():
        runs = json.loads(arguments.keep.read_text("utf-8"))
    for draw in range(arguments.draws):
        for pool in pools(arguments.folder, arguments.images, draw, arguments.task):
            for name in arguments.method:
                key = f"{pool.task.name} | {name} | {draw}"
                if key in runs:
                    continue
                method = make_method(name, pool, draw)
                runs[key] = decisions_until(pool.task.truth, method)
                if isinstance(method, Curator) and name == METHODS[0]:
                    forecasts[key] = method.forecasts(runs[key])
                print(key, runs[key], file=sys.stderr, flush=True)
                if arguments.keep:
                    arguments.keep.write_text(json.dumps(runs, indent=0), "utf-8")
    _print(runs)
    _print_forecasts(forecasts)


def pools(folder: Path, images: int, draw: int, names: list[str]) -> Iterator[Pool]:
    """A random pool of each of five tasks; the solar cells are always all."""
    raw, labels = clothes(folder)
    generator, number = np.random.default_rng([draw, 2]), fashion.CLASSES.index

    def pair(positive: str, negative: str) -> tuple[Ints, Flags]:
        both = np.isin(labels, [number(positive), number(negative)])
        return np.flatnonzero(both), labels == number(positive)

    upper = np.isin(labels, [number(name) for name in UPPER])
    tasks = {
        "sneaker vs. ankle boot": (raw, *pair("sneaker", "ankle-boot")),
        "upper-body garments": (raw, np.arange(len(labels)), upper),
        "shirt vs. rest": (raw, np.arange(len(labels)), labels == number("shirt")),
        "solar cells": solar_numbers(folder, "solar cells"),
        "T-shirt vs. shirt": (raw, *pair("t-shirt", "shirt")),
    }
    for name, (numbers, rows, truth) in tasks.items():
        places = np.sort(generator.permutation(rows)[:images])
        if not names or name in names:
            last = numbers[places][:, -GROUPS[-1] :].astype(np.float32)
            yield Pool(
                task=projected_task(name, numbers, places, truth),
                last_layer=(last - last.mean(axis=0)) / (last.std(axis=0) + 1e-6),
            )


def _print(runs: dict[str, dict[str, int]]) -> None:
    """Mean decisions of each method and task, and geometric means of ratios to the best others."""
    mean: dict[tuple[str, str, str], float] = {}
    by_cell: dict[tuple[str, str, str], list[int]] = {}
    for key, found in runs.items():
        task, method, _ = key.split(" | ")
        for goal, labels in found.items():
            by_cell.setdefault((task, method, goal), []).append(labels)
    mean = {cell: float(np.mean(labels)) for cell, labels in by_cell.items()}
    methods = sorted({method for _, method, _ in mean})
    cells = sorted({(task, goal) for task, _, goal in mean})
    others = [method for method in methods if method.startswith("last layer")]
    print("task and error", *methods, sep=" | ")
    for task, goal in cells:
        values = [mean.get((task, method, goal)) for method in methods]
        cell = ["" if value is None else f"{value:,.0f}" for value in values]
        print(f"{task}, {goal}", *cell, sep=" | ")
    print("decisions / the best other's, geometric mean", end="")
    for method in methods:
        ratios = [
            mean[task, method, goal]
            / min(mean[task, other, goal] for other in others if (task, other, goal) in mean)
            for task, goal in cells
            if (task, method, goal) in mean
        ]
        print(f" | {np.exp(np.mean(np.log(ratios))):.2f}", end="")
    print()


def _print_forecasts(forecasts: dict[str, list[tuple[str, int, int, int, int, int]]]) -> None:
    """How often the decisions that were left lay in the range that was forecast."""
    rows = [row for each in forecasts.values() for row in each]
    for low, high in ((FIRST, 150), (150, 300), (300, 600), (600, 1_000_000)):
        part = [row for row in rows if low <= row[1] < high]
        inside = [row[3] <= row[2] <= row[5] for row in part]
        if part:
            print(f"{low} to {high - 1} labels: {np.mean(inside):.0%} of {len(part)} in range")
    shares = [np.mean([row[3] <= row[2] <= row[5] for row in each]) for each in forecasts.values()]
    if shares:
        print(f"mean share of a run: {np.mean(shares):.0%} ({len(shares)} runs)")


if __name__ == "__main__":
    main()
