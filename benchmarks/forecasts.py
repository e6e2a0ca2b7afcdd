"""Whether audits end where their forecasts say, on real images.

    python -m benchmarks.forecasts [--repetitions 20] [--only NAME...] [--kept FILE]

Each repetition draws seeds and a pool, trains heads, plans an audit, and plays it, also where
the tool would advise against it. The certified share of the frame should lie within the stated
range in 70 to 90% of audits. Advice against an audit is right if less than a tenth of the frame
would have been certified. With --kept every repetition is written to a file as it comes, and a
run that was cut off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import Kept
from benchmarks.pools import FOLDER, Task, clothes, projected_task, rehearsal, small_pool
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
    parser.add_argument("--kept", type=Path, help="a file that keeps what was measured")
    parser.add_argument("--show", action="store_true", help="only what --kept holds")
    arguments = parser.parse_args()
    use_threads(1)
    kept = Kept(arguments.kept)
    endings: dict[str, list[Ending]] = {question.name: [] for question in QUESTIONS}

    @cache
    def played_on(question: Question) -> SimulationRun:
        return rehearsal(_pool(question, arguments.folder, arguments.images))

    # One repetition of each question after the other: what is cut off has as many of all.
    for repetition in range(arguments.repetitions):
        for question in QUESTIONS:
            if arguments.only and question.name not in arguments.only:
                continue
            asked = {
                "question": question.name,
                "images": arguments.images,
                "repetition": repetition,
            }
            if arguments.show and not kept.has(asked):
                continue
            measure = partial(_measure, question, played_on, repetition)
            figures = kept.figures(asked, measure)
            endings[question.name] += [Ending(**ending) for ending in figures["endings"]]
    lines = [line for name, found in endings.items() if found for line in _lines(name, found)]
    everything = [ending for found in endings.values() for ending in found]
    print_report("forecasts", [*lines, *_lines("all", everything)])


def _measure(
    question: Question, played_on: Callable[[Question], SimulationRun], repetition: int
) -> dict[str, Any]:
    return {
        "endings": [asdict(ending) for ending in _play(question, played_on(question), repetition)]
    }


def _pool(question: Question, folder: Path, images: int) -> Task:
    """A random part of the question's pool, projected on its own leading directions."""
    name = question.pool or question.name
    if name not in fashion.CLASSES:
        return small_pool(folder, name, images, 0)
    raw, labels = clothes(folder)
    places = np.random.default_rng(0).permutation(len(labels))[:images]
    return projected_task(name, raw, np.sort(places), labels == fashion.CLASSES.index(name))


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
