"""Whether audits end where their forecasts say, on real images.

    python -m benchmarks.forecasts [--repetitions 20] [--only NAME...]

Each repetition draws seeds and a pool, trains heads, plans an audit, and plays it, also where
the tool would advise against it. The certified share of the frame should lie within the stated
range in 70 to 90% of audits. Advice against an audit is right if less than a tenth of the frame
would have been certified.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pools import FOLDER, Task, clothes, rehearsal, tasks
from benchmarks.report import Line, print_report
from curator.classifiers.devices import use_threads
from curator.settings.sections import AuditSettings, PromotionSettings
from curator.simulation.policies import draw_labels, play_audit, ready_audit
from curator.simulation.replay import SimulationRun
from tests.support import fashion

WORTH_IT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is forecast: a class against the rest, or a pool of `benchmarks.pools`."""

    name: str
    max_error: float = 0.03
    seeds: int = 300
    audit: int = 500
    flipped: float = 0.0
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The forecast of one audit and how it ended, as shares of the frame."""

    low: float
    mean: float
    high: float
    certified: float
    planned: bool
    advised: bool


QUESTIONS = (
    *(
        Question(name=name)
        for name in ("trouser", "dress", "sandal", "bag", "shirt", "coat", "t-shirt")
    ),
    Question(name="bag, a tenth flipped", pool="bag", flipped=0.1),
    Question(name="T-shirt vs. shirt, 10%", pool="T-shirt vs. shirt", max_error=0.1),
    Question(name="T-shirt vs. shirt, 3%", pool="T-shirt vs. shirt"),
    Question(name="upper-body garments", pool="upper-body garments", max_error=0.01, audit=1_000),
    Question(name="upper-body, a tenth flipped", pool="upper-body garments", flipped=0.1),
)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--images", type=int, default=12_000, help="in each pool")
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    everything: list[Ending] = []
    lines: list[Line] = []
    for question in QUESTIONS:
        if arguments.only and question.name not in arguments.only:
            continue
        played_on = rehearsal(_pool(question, arguments.folder, arguments.images))
        endings = [
            ending
            for repetition in range(arguments.repetitions)
            for ending in _play(question, played_on, repetition)
        ]
        everything += endings
        lines += _lines(question.name, endings)
        print(f"{question.name}: {endings}", file=sys.stderr, flush=True)
    print_report("forecasts", [*lines, *_lines("all", everything)])


def _pool(question: Question, folder: Path, images: int) -> Task:
    """A random part of the question's pool."""
    name = question.pool or question.name
    if name in fashion.CLASSES:
        features, labels = clothes(folder)
        task = Task(name=name, features=features, truth=labels == fashion.CLASSES.index(name))
    else:
        (task,) = tasks(folder, (name,))
    places = np.random.default_rng(0).permutation(len(task.truth))[:images]
    return task.part(np.sort(places))


def _play(question: Question, played_on: SimulationRun, repetition: int) -> list[Ending]:
    """One audit; none if the seeds cannot teach."""
    generator = np.random.default_rng([repetition, 1])
    places, said = draw_labels(played_on.pool.truth, question.seeds, question.flipped, generator)
    if not played_on.can_teach(places, said, seed=repetition):
        return []
    (scores,) = played_on.rounds(places, said, rounds=1, seed=repetition)
    ready = ready_audit(
        scores,
        PromotionSettings(max_error=question.max_error),
        AuditSettings(),
        sample=question.audit,
        seed=repetition,
    )
    expected = ready.prepared.expectation
    played = play_audit(ready, slips=0.0, seed=repetition)
    frame_size = len(ready.frame)
    return [
        Ending(
            low=expected.low / frame_size,
            mean=expected.certified / frame_size,
            high=expected.high / frame_size,
            certified=(played.positive + played.negative) / frame_size,
            planned=ready.prepared.plan is not None,
            advised=ready.prepared.worthwhile,
        )
    ]


def _lines(name: str, endings: Sequence[Ending]) -> list[Line]:
    """Shares of the audits; those without a plan end in nothing and say nothing of ranges."""
    planned = [ending for ending in endings if ending.planned]
    against = [ending for ending in endings if not ending.advised]
    tested = [ending for ending in against if ending.planned]
    shares = (
        ("within the range", [one.low <= one.certified <= one.high for one in planned]),
        ("below the range", [one.certified < one.low for one in planned]),
        ("above the range", [one.certified > one.high for one in planned]),
        ("certified, mean", [one.certified for one in planned]),
        ("expected, mean", [one.mean for one in planned]),
        ("advised against", [not one.advised for one in endings]),
        ("right of advice against with a plan", [one.certified < WORTH_IT for one in tested]),
    )
    return [
        Line(name=f"{name}: {what}", median=float(np.mean(values)), unit="share", n=len(values))
        for what, values in shares
        if values
    ]


if __name__ == "__main__":
    main()
