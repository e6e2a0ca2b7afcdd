"""What each method makes of the same features with the same number of human decisions.

    python -m benchmarks.tasks [--repetitions 5] [--images 10000] [--task NAME...] [--goals]

Five tasks on real photographs. `decisions` are all that people make: methods that do not
audit spend them on seeds. Coverage is what gets a label of the images that people did not
label, and the true error is that of these labels, also among those given either class
alone. The oracle sorts the pool by the confidence of scikit-learn's `LogisticRegression` on
the seeds and takes the largest part whose true error stays within the promise; a second
column compares with an oracle that may cut curator's own ranking. LabelSpreading looks for
neighbours among all pairs of images, and gets the seeds and as many others as make up
--spread images.
With --goals only certificates are played, on the whole pool, for several ways to divide the
decisions between seeds and audit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.pools import FOLDER, NAMES, Task, parts, rehearsal, tasks
from benchmarks.report import machine
from curator.classifiers.devices import use_threads
from curator.settings.sections import AuditSettings, PromotionSettings, Settings
from curator.simulation.policies import (
    PolicyOutcome,
    draw_labels,
    nothing_learned,
    oracle_coverage,
    play_certified,
    play_thresholds,
    ready_audit,
)
from curator.simulation.replay import SimulationRun

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Float32 = NDArray[np.float32]

BUDGETS = {0.03: 800, 0.01: 1_500}
SEEDS = {0.03: 200, 0.01: 300}
SPLITS = {0.03: (100, 200, 300, 400), 0.01: (200, 300, 500, 800)}
SURE = 0.99
NEIGHBOURS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Means over the repetitions of one method on one task; seconds are the median."""

    task: str
    method: str
    repetitions: int
    decisions: float
    issued: float | None
    false: float | None
    coverage: float
    error: float | None
    positive_error: float | None
    negative_error: float | None
    of_oracle: float | None
    of_own_oracle: float | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """One repetition: what was played, what the seeds' oracle would cover, and seconds."""

    played: PolicyOutcome
    oracle: float | None
    seconds: float


def main() -> None:
    """Measure, print a table to stderr and JSON to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000, help="in each pool; goals: all")
    parser.add_argument("--spread", type=int, default=5_000, help="images for LabelSpreading")
    parser.add_argument("--task", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--goals", action="store_true")
    parser.add_argument("--audits", type=int, default=20, help="of each frame, with --goals")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    rows: list[Row] = []
    for task in tasks(arguments.folder, arguments.task):
        if arguments.goals:
            found = goals(task, arguments.repetitions, arguments.audits)
        else:
            found = methods(task, arguments.repetitions, arguments.images, arguments.spread)
        _print(found)
        rows += found
    content = {"benchmark": "tasks", "machine": machine(), "arguments": vars(arguments)}
    json.dump(content | {"rows": [asdict(row) for row in rows]}, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def methods(task: Task, repetitions: int, images: int, spread: int) -> list[Row]:
    """Every method on pools of so many images, one repetition after the other."""
    pools = parts(task, images, 0)
    rehearsals = [rehearsal(pool) for pool in pools]
    found: dict[str, list[Once]] = {}
    for repetition in range(repetitions):
        bench = _Bench(pools[repetition % len(pools)], rehearsals[repetition % len(pools)])
        for name, play in _methods(len(bench.task.truth), spread).items():
            found.setdefault(name, []).append(play(bench, repetition))
        print(f"{task.name}: {repetition + 1} of {repetitions}", file=sys.stderr, flush=True)
    return [_row(task.name, name, once) for name, once in found.items()]


def goals(task: Task, repetitions: int, audits: int) -> list[Row]:
    """Certificates on the whole pool, for each way to divide the decisions."""
    bench = _Bench(task, rehearsal(task))
    rows = []
    for max_error, splits in SPLITS.items():
        for seeds in splits:
            once = [
                one
                for repetition in range(repetitions)
                for one in bench.certified(repetition, max_error, seeds, audits)
            ]
            rows.append(_row(task.name, f"certified {max_error:.0%}, {seeds} seeds", once))
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _methods(images: int, spread: int) -> dict[str, Callable[[_Bench, int], Once]]:
    small = min(BUDGETS[0.03], images // 2)
    spread = min(spread, images)
    named: dict[str, Callable[[_Bench, int], Once]] = {
        "supervised only": lambda bench, at: bench.supervised(at, small),
        "SelfTrainingClassifier, 0.99": lambda bench, at: bench.self_training(at, small),
        f"LabelSpreading on {spread:,}": lambda bench, at: bench.spreading(at, small, spread),
        "thresholds, raw": lambda bench, at: bench.thresholds(at, small, raw=True),
        "thresholds, calibrated and gated": lambda bench, at: bench.thresholds(
            at, small, raw=False
        ),
    }
    for max_error in BUDGETS:
        named[f"certified at {max_error:.0%}"] = partial(_certified_once, max_error=max_error)
    return named


def _certified_once(bench: _Bench, repetition: int, *, max_error: float) -> Once:
    return bench.certified(repetition, max_error, SEEDS[max_error], 1)[0]


class _Bench:
    """One pool with all methods."""

    def __init__(self, task: Task, played_on: SimulationRun) -> None:
        self.task, self._rehearsal = task, played_on
        standard = task.features.astype(np.float32)
        standard -= standard.mean(axis=0)
        standard /= np.maximum(standard.std(axis=0), 1e-6)
        self._standard: Float32 = standard

    def supervised(self, repetition: int, seeds: int) -> Once:
        """Every image gets the likelier label of one logistic head."""
        start = time.perf_counter()
        places, rest = self._seeds(repetition, seeds)
        positive = self._head(places).predict(self._standard[rest])
        return self._labelled(rest, np.ones(len(rest), dtype=np.bool_), positive, start, seeds)

    def self_training(self, repetition: int, seeds: int) -> Once:
        """Scikit-learn's self-training, with what it has labelled at the end."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.semi_supervised import SelfTrainingClassifier

        start = time.perf_counter()
        places, rest = self._seeds(repetition, seeds)
        targets = np.full(len(self.task.truth), -1)
        targets[places] = self.task.truth[places]
        classifier = SelfTrainingClassifier(LogisticRegression(), threshold=SURE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(self._standard, targets)
        given = classifier.transduction_[rest]
        return self._labelled(rest, given != -1, given == 1, start, seeds)

    def spreading(self, repetition: int, seeds: int, spread: int) -> Once:
        """Scikit-learn's LabelSpreading over nearest neighbours; what is surer than 0.99."""
        from sklearn.semi_supervised import LabelSpreading

        start = time.perf_counter()
        places, rest = self._seeds(repetition, seeds)
        some = np.random.default_rng([repetition, 2]).permutation(rest)[: spread - seeds]
        both = np.concatenate([places, some])
        targets = np.concatenate([self.task.truth[places].astype(int), np.full(len(some), -1)])
        classifier = LabelSpreading(kernel="knn", n_neighbors=NEIGHBOURS, max_iter=100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(self._standard[both], targets)
        surest = classifier.label_distributions_[seeds:]
        taken = surest.max(axis=1) > SURE
        return self._labelled(some, taken, surest.argmax(axis=1) == 1, start, seeds)

    def thresholds(self, repetition: int, seeds: int, *, raw: bool) -> Once:
        """One round of curator and its thresholds."""
        start = time.perf_counter()
        places, said = self._drawn(repetition, seeds)
        if not self._rehearsal.can_teach(places, said, seed=repetition):
            return self._nothing(seeds, None, start)
        (scores,) = self._rehearsal.rounds(places, said, rounds=1, seed=repetition)
        if raw:
            ungated = replace(scores.gate_inputs, distances=None)
            scores = replace(scores.as_raw(), gate_inputs=ungated)
        played = play_thresholds([scores], Settings().promotion)
        return Once(played=played, oracle=None, seconds=time.perf_counter() - start)

    def certified(self, repetition: int, max_error: float, seeds: int, audits: int) -> list[Once]:
        """Rounds, frame and audits of curator with the budget of this promise."""
        budget = min(BUDGETS[max_error], len(self.task.truth) // 2)
        start = time.perf_counter()
        places, said = self._drawn(repetition, seeds)
        if not self._rehearsal.can_teach(places, said, seed=repetition):
            return [self._nothing(seeds, self._oracle(places, max_error), start)]
        (scores,) = self._rehearsal.rounds(places, said, rounds=1, seed=repetition)
        ready = ready_audit(
            scores,
            PromotionSettings(max_error=max_error),
            AuditSettings(),
            sample=budget - seeds,
            seed=repetition,
        )
        played = [
            play_certified(ready, slips=0.0, seed=repetition, attempt=attempt)
            for attempt in range(audits)
        ]
        seconds = time.perf_counter() - start
        oracle = self._oracle(places, max_error)
        return [Once(played=one, oracle=oracle, seconds=seconds) for one in played]

    def _nothing(self, seeds: int, oracle: float | None, start: float) -> Once:
        """Seeds that hold too few images of one class to learn from."""
        played = nothing_learned(seeds, len(self.task.truth))
        return Once(played=played, oracle=oracle, seconds=time.perf_counter() - start)

    def _drawn(self, repetition: int, seeds: int) -> tuple[Ints, Flags]:
        generator = np.random.default_rng([repetition, 1])
        return draw_labels(self.task.truth, seeds, 0.0, generator)

    def _seeds(self, repetition: int, seeds: int) -> tuple[Ints, Ints]:
        places, _ = self._drawn(repetition, seeds)
        rest = np.ones(len(self.task.truth), dtype=np.bool_)
        rest[places] = False
        return places, np.flatnonzero(rest)

    def _head(self, places: Ints) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().fit(self._standard[places], self.task.truth[places])

    def _oracle(self, places: Ints, max_error: float) -> float:
        """What the largest part of the plain head's ranking covers whose error is allowed."""
        rest = np.ones(len(self.task.truth), dtype=np.bool_)
        rest[places] = False
        margins = self._head(places).decision_function(self._standard)[rest]
        order = np.argsort(-np.abs(margins), kind="stable")
        return oracle_coverage(((margins > 0) != self.task.truth[rest])[order], max_error)

    def _labelled(
        self, images: Ints, taken: Flags, positive: Flags, start: float, decisions: int
    ) -> Once:
        truth = self.task.truth[images]
        good, bad = taken & positive.astype(np.bool_), taken & ~positive.astype(np.bool_)
        played = PolicyOutcome(
            decisions=decisions,
            images=len(images),
            positive=int(good.sum()),
            negative=int(bad.sum()),
            wrong_positive=int((good & ~truth).sum()),
            wrong_negative=int((bad & truth).sum()),
        )
        return Once(played=played, oracle=None, seconds=time.perf_counter() - start)


def _row(task: str, method: str, found: Sequence[Once]) -> Row:
    played = [one.played for one in found]
    certified = method.startswith("certified")
    coverage = float(np.mean([one.coverage for one in played]))
    plain = [one.oracle for one in found if one.oracle is not None]
    own = [one.oracle for one in played if one.oracle is not None]
    return Row(
        task=task,
        method=method,
        repetitions=len(found),
        decisions=float(np.mean([one.decisions for one in played])),
        issued=float(np.mean([one.issued for one in played])) if certified else None,
        false=float(np.mean([one.false for one in played])) if certified else None,
        coverage=coverage,
        error=_mean([one.error for one in played]),
        positive_error=_mean([one.positive_error for one in played]),
        negative_error=_mean([one.negative_error for one in played]),
        of_oracle=coverage / float(np.mean(plain)) if plain and any(plain) else None,
        of_own_oracle=coverage / float(np.mean(own)) if own and any(own) else None,
        seconds=float(np.median([one.seconds for one in found])),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _print(rows: Sequence[Row]) -> None:
    """The table of one task, on stderr."""
    table = Table(
        "method", "decisions", "issued", "false", "coverage", "error", "of positive",
        "of negative", "of oracle", "of own", "seconds", "n", title=rows[0].task,
    )  # fmt: skip
    for row in rows:
        shares = (
            row.issued, row.false, row.coverage, row.error, row.positive_error,
            row.negative_error, row.of_oracle, row.of_own_oracle,
        )  # fmt: skip
        table.add_row(
            row.method,
            f"{row.decisions:,.0f}",
            *("" if share is None else f"{share:.2%}" for share in shares),
            f"{row.seconds:.2f}",
            str(row.repetitions),
        )
    Console(stderr=True, width=160).print(table)


if __name__ == "__main__":
    main()
