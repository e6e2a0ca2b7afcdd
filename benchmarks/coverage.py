"""What thresholds promote, and how many of it is wrong, on many tasks and draws of labels.

    python -m benchmarks.coverage [--draws 20] [--labels 200] [--images 4000] [--task NAME...]
        [--flipped 0.1] [--rounds 1] [--set classifier.doubt=false ...]

Random labels in pools of 4,000 images (solar cells: all), with the settings of a new workspace.
Coverage and error are those of P > 0.99 and P < 0.03; the oracle sorts the same pool by how sure
the scores are and takes the largest part with at most 1% or 3% errors. `worst` is the largest
lower 95% bound of the error in any draw.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pools import FOLDER, Task, clothes, projected_task, rehearsal, solar_cells
from curator.classifiers.devices import use_threads
from curator.settings.sections import Settings
from curator.simulation.policies import KnownScores, draw_labels, oracle_coverage
from curator.statistics.bounds import clopper_pearson_interval
from tests.support import fashion

PAIRS = (
    ("t-shirt", "shirt"),
    ("sneaker", "ankle-boot"),
    ("pullover", "shirt"),
    ("coat", "shirt"),
    ("trouser", "bag"),
)
SINGLE = (0, 1, 2, 4, 5, 6, 7, 8, 9)
UPPER = ("t-shirt", "pullover", "coat", "shirt")
COLUMNS = ("coverage", "error", "oracle at 1%", "oracle at 3%", "log loss", "worst")


def main() -> None:
    """Measure and print a line for each task: means over draws, with standard errors."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--labels", type=int, default=200)
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--flipped", type=float, default=0.0, help="share of wrong labels")
    parser.add_argument("--rounds", type=int, default=1, help="the last one counts")
    parser.add_argument("--task", nargs="*", default=[])
    parser.add_argument("--set", nargs="*", default=[], help="section.key=value")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    settings = _settings(arguments.set)
    rows = []
    print("task", *COLUMNS, "draws", sep=" | ", flush=True)
    for task in _tasks(arguments.folder, arguments.images):
        if arguments.task and task.name not in arguments.task:
            continue
        found = play(
            task, settings, arguments.draws, arguments.labels, arguments.flipped, arguments.rounds
        )
        rows.append(found.mean(axis=0))
        print(_line(task.name, found), flush=True)
    print("mean of tasks", *(f"{value:.3f}" for value in np.mean(rows, axis=0)), sep=" | ")


def play(
    task: Task, settings: Settings, draws: int, labels: int, flipped: float, rounds: int
) -> NDArray[np.float64]:
    """The `COLUMNS` of each draw that can be trained on, (draws, columns)."""
    run, found = rehearsal(task, settings), []
    for draw in range(draws):
        positions, answers = draw_labels(
            task.truth, labels, flipped, np.random.default_rng([draw, 1])
        )
        if not run.can_teach(positions, answers, seed=draw):
            print(f"{task.name}: draw {draw} has too few labels of a class", file=sys.stderr)
            continue
        found.append(_measured(run.rounds(positions, answers, rounds=rounds, seed=draw)[-1]))
    return np.array(found)


def _measured(scores: KnownScores) -> tuple[float, ...]:
    p, truth = scores.probability, scores.truth
    wrong = (p > 0.5) != truth
    promoted = (p > 0.99) | (p < 0.03)
    errors, count = int(wrong[promoted].sum()), int(promoted.sum())
    order = np.argsort(-np.abs(p - 0.5), kind="stable")
    right = np.clip(np.where(truth, p, 1 - p), 1e-9, 1.0)
    return (
        count / len(p),
        errors / max(count, 1),
        oracle_coverage(wrong[order], 0.01),
        oracle_coverage(wrong[order], 0.03),
        float(-np.log(right).mean()),
        clopper_pearson_interval(errors, count, 0.95)[0] if count else 0.0,
    )


def _line(name: str, found: NDArray[np.float64]) -> str:
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else found[0] * 0
    cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(found.mean(axis=0), error, strict=True)]
    cells[1] = f"{found[:, 1].mean():.2%} ± {error[1]:.2%}"
    cells[-1] = f"{found[:, -1].max():.2%}"
    return " | ".join([name, *cells, str(len(found))])


def _settings(changes: list[str]) -> Settings:
    values: dict[str, dict[str, str]] = {}
    for change in changes:
        key, _, value = change.partition("=")
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = value
    return Settings.model_validate(values)


def _tasks(folder: Path, images: int) -> Iterator[Task]:
    raw, labels = clothes(folder)

    def task(name: str, positive: list[int], negative: list[int]) -> Task:
        rows = np.flatnonzero(np.isin(labels, positive + negative))
        rows = np.sort(np.random.default_rng(1).permutation(rows)[:images])
        return projected_task(name, raw, rows, np.isin(labels, positive))

    everything = list(range(len(fashion.CLASSES)))
    pairs = [tuple(fashion.CLASSES.index(name) for name in pair) for pair in PAIRS]
    yield task("T-shirt vs. shirt", [pairs[0][0]], [pairs[0][1]])
    yield task("upper-body", [fashion.CLASSES.index(name) for name in UPPER], everything)
    yield solar_cells(folder, "solar defects")
    yield solar_cells(folder, "solar type")
    for names, (first, second) in zip(PAIRS[1:], pairs[1:], strict=True):
        yield task(" vs. ".join(names), [first], [second])
    for single in SINGLE:
        yield task(f"{fashion.CLASSES[single]} vs. rest", [single], everything)


if __name__ == "__main__":
    main()
