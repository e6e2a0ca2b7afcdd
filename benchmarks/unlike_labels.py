"""Whether seeds of other classes than the pool's are noticed, and how often others are.

    python -m benchmarks.unlike_labels [--draws 5] [--only NAME...]

Pools of garments. Seeds are drawn at random, or from some of the pool's classes alone, or as people
choose them: as many of each class, the least certain images, and images that resemble an example.
A round warns where the share of pairs with the farther image reaches `FARTHER`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pools import FOLDER, Task, clothes, map_of, projected_task, rehearsal
from curator.classifiers.devices import use_threads
from curator.classifiers.heads.graph import nearest_distances
from curator.rounds.gates import distances_among
from curator.rounds.unlike_labels import FARTHER, farther_share
from curator.simulation.replay import SimulationRun
from tests.support import fashion

UPPER = ("t-shirt", "pullover", "coat", "shirt")
BOTH_SHIRTS = ("t-shirt", "shirt")
IMAGES, SEEDS = 2_000, 200

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A task on a pool of some classes (of all if none is named), and how its seeds are chosen."""

    name: str
    positive: tuple[str, ...]
    pool: tuple[str, ...] = ()
    seeds_of: tuple[str, ...] = ()
    chosen: str = "random"


QUESTIONS = (
    Question(name="footwear", positive=tuple(fashion.FOOTWEAR)),
    Question(name="upper-body garments", positive=UPPER),
    Question(name="dress", positive=("dress",)),
    Question(name="T-shirt vs. shirt", positive=("t-shirt",), pool=BOTH_SHIRTS),
    Question(name="coat vs. pullover", positive=("coat",), pool=("coat", "pullover")),
    Question(name="dress, 100 seeds of each class", positive=("dress",), chosen="balanced"),
    Question(name="upper-body garments, 100 at random, 100 borderline", positive=UPPER,
        chosen="borderline"),
    Question(name="T-shirt vs. shirt, 100 at random, 100 similar to five", positive=("t-shirt",),
        pool=BOTH_SHIRTS, chosen="similar"),
    *(
        Question(name=f"{name}, seeds of {', '.join(seeds)}", positive=positive, seeds_of=seeds)
        for name, positive, seeds in (
            ("upper-body garments", UPPER, ("t-shirt", "sneaker")),
            ("upper-body garments", UPPER, ("coat", "bag")),
            ("upper-body garments", UPPER, ("shirt", "pullover", "dress", "trouser")),
            ("upper-body garments", UPPER, (*UPPER, "sneaker")),
            ("upper-body garments", UPPER,
             ("t-shirt", "pullover", "sneaker", "trouser", "dress", "sandal")),
            ("footwear", tuple(fashion.FOOTWEAR), ("ankle-boot", "shirt")),
        )
    ),
)  # fmt: skip


def main() -> None:
    """Measure and print a line of a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="questions whose names begin so")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    raw, kinds = clothes(arguments.folder)
    print("| seeds | farther | warned | promoted | wrong |\n|---|---|---|---|---|", flush=True)
    for question in QUESTIONS:
        if arguments.only and not question.name.startswith(tuple(arguments.only)):
            continue
        places = np.flatnonzero(np.isin(kinds, _numbers(question.pool or fashion.CLASSES)))
        places = np.sort(np.random.default_rng(0).permutation(places)[:IMAGES])
        task = projected_task(
            question.name, raw, places, np.isin(kinds, _numbers(question.positive))
        )
        run, vectors = rehearsal(task), map_of(task)[0].astype(np.float32)
        found = []
        for draw in range(arguments.draws):
            seeds = choose(question, task, kinds[places], vectors, run, draw)
            if run.can_teach(seeds, task.truth[seeds], seed=draw):
                found.append(measure(task, vectors, run, seeds, draw))
        shares = [each[0] for each in found]
        promoted, wrong = (sum(each[index] for each in found) for index in (1, 2))
        print(
            f"| {question.name} | {min(shares):.0%} to {max(shares):.0%} |"
            f" {sum(share >= FARTHER for share in shares)} of {len(found)} |"
            f" {promoted / len(found):,.0f} | {wrong / max(promoted, 1):.1%} |",
            flush=True,
        )


def choose(
    question: Question,
    task: Task,
    kinds: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    run: SimulationRun,
    draw: int,
) -> Ints:
    """The places of the seeds, rising. `kinds` are the classes of the pool's images."""
    generator = np.random.default_rng([draw, 1])

    def some(places: Ints, count: int) -> Ints:
        return generator.permutation(places)[:count]

    everything = np.arange(len(task.truth))
    if question.seeds_of:
        everything = np.flatnonzero(np.isin(kinds, _numbers(question.seeds_of)))
    if question.chosen == "random":
        return np.sort(some(everything, SEEDS))
    half = SEEDS // 2
    if question.chosen == "balanced":
        sides = [some(np.flatnonzero(task.truth == side), half) for side in (True, False)]
        return np.sort(np.concatenate(sides))
    first = np.sort(some(everything, half))
    if question.chosen == "similar":
        examples = some(np.flatnonzero(task.truth), 5)
        near = np.linalg.norm(vectors[None] - vectors[examples, None], axis=2).argsort(axis=1)
        return np.unique(np.concatenate([first, near[:, : half // 5].ravel()]))
    (scores,) = run.rounds(first, task.truth[first], rounds=1, seed=draw)
    rest = np.setdiff1d(everything, first)
    least_certain = rest[np.argsort(np.abs(scores.probability - 0.5))[:half]]
    return np.sort(np.concatenate([first, least_certain]))


def measure(
    task: Task, vectors: NDArray[np.float32], run: SimulationRun, seeds: Ints, draw: int
) -> tuple[float, int, int]:
    """The share of pairs with the farther image, what thresholds promote, and what is wrong."""
    (scores,) = run.rounds(seeds, task.truth[seeds], rounds=1, seed=draw)
    rest = np.setdiff1d(np.arange(len(task.truth)), seeds)
    share = farther_share(
        nearest_distances(vectors[rest], vectors[seeds]),
        scores.raw > 0.5,
        distances_among(vectors[seeds], seeds),
        task.truth[seeds],
    )
    sure = (scores.probability > 0.99) | (scores.probability < 0.03)
    if scores.gate_inputs.distances is not None:
        sure &= scores.gate_inputs.distances <= scores.gate_inputs.limit
    wrong = (scores.probability > 0.5) != scores.truth
    return share, int(sure.sum()), int((sure & wrong).sum())


def _numbers(names: tuple[str, ...]) -> list[int]:
    return [fashion.CLASSES.index(name) for name in names]


if __name__ == "__main__":
    main()
