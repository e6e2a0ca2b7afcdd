"""How often a certificate is false on real images: the whole way, hundreds of times a task.

    python -m benchmarks.certificates [--repetitions 300] [--images 7000] [--audits 10]
        [--only NAME...]

Each repetition draws seeds, trains and calibrates heads, freezes the frame, plans, draws,
answers and closes an audit, by the functions of the tool, on one of several pools of a task
that have no image in common. Audits that the tool would advise against are made all the
same. A certificate is false if more of its unseen labels are wrong than it promises; the
share is over all repetitions, certified or not, and may not exceed the risk of 5% by more
than the noise of so many. Beside the first audit of each repetition further ones are drawn
from the same frame: their share is steadier, but repetitions count once. `benchmarks.validity`
does the same on pools that were built to lie just over the limit.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from benchmarks.pools import FOLDER, Task, parts, rehearsal, tasks, with_copies
from benchmarks.report import Line, print_report
from curator.classifiers.devices import use_threads
from curator.settings.sections import AuditSettings, PromotionSettings
from curator.simulation.policies import (
    PolicyOutcome,
    draw_labels,
    nothing_learned,
    play_audit,
    ready_audit,
)
from curator.simulation.replay import SimulationRun

RISK = 0.05
COPIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is played: a task, what is promised, who decides how much, and what goes wrong."""

    name: str
    task: str
    max_error: float
    seeds: int
    audit: int
    flipped: float = 0.0
    balanced: bool = False
    changed: Callable[[Task], Task] = lambda task: task


CONDITIONS = (
    Condition(
        name="footwear, 1%", task="footwear", max_error=0.01, seeds=200, audit=600
    ),
    Condition(
        name="upper-body garments, 3%", task="upper-body garments", max_error=0.03,
        seeds=200, audit=600,
    ),
    Condition(
        name="upper-body garments, 1%", task="upper-body garments", max_error=0.01,
        seeds=300, audit=1_200,
    ),
    Condition(
        name="T-shirt vs. shirt, 5%", task="T-shirt vs. shirt", max_error=0.05,
        seeds=400, audit=600,
    ),
    Condition(name="solar cells, 10%", task="solar cells", max_error=0.1, seeds=300, audit=300),
    Condition(name="3% positives, classes in proportion, 1%", task="3% positives", max_error=0.01,
        seeds=600, audit=800, balanced=True,
    ),
    Condition(
        name="upper-body garments, five near-copies of each, 3%", task="upper-body garments",
        max_error=0.03, seeds=200, audit=600, changed=lambda task: with_copies(task, COPIES, 0),
    ),
    Condition(
        name="upper-body garments, 10% of seeds flipped, 3%", task="upper-body garments",
        max_error=0.03, seeds=200, audit=600, flipped=0.1,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of a condition: the first audit of each repetition, and all of them."""

    first: list[PolicyOutcome]
    all: list[PolicyOutcome]
    seconds: float


def main() -> None:
    """Play, print a table to stderr and JSON to stdout; fail if a promise is broken too often."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--images", type=int, default=7_000, help="in each pool")
    parser.add_argument("--audits", type=int, default=10, help="of each frame")
    parser.add_argument("--only", nargs="*", default=[], help="conditions whose names begin so")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps the features")
    arguments = parser.parse_args()
    use_threads(1)
    lines, details, broken = [], {}, []
    for condition in CONDITIONS:
        if arguments.only and not condition.name.startswith(tuple(arguments.only)):
            continue
        (task,) = tasks(arguments.folder, (condition.task,))
        pools = [condition.changed(part) for part in parts(task, arguments.images, 0)]
        found = play(condition, pools, arguments.repetitions, arguments.audits)
        lines += _lines(condition, found)
        details[condition.name] = _detail(found) | {"pools": [len(one.truth) for one in pools]}
        if sum(one.false for one in found.first) > allowed(len(found.first)):
            broken.append(condition.name)
        print(f"{condition.name}: {details[condition.name]}", file=sys.stderr, flush=True)
    print_report("certificates", lines, details)
    if broken:
        raise SystemExit(f"promises broken too often: {', '.join(broken)}")


def play(condition: Condition, pools: list[Task], repetitions: int, audits: int) -> Found:
    """Every repetition, each on the next pool in turn."""
    start = time.perf_counter()
    rehearsals = [rehearsal(task) for task in pools]
    found = Found(first=[], all=[], seconds=0.0)
    for repetition in range(repetitions):
        played = one_repetition(condition, rehearsals[repetition % len(pools)], repetition, audits)
        found.first.append(played[0])
        found.all.extend(played)
    return Found(first=found.first, all=found.all, seconds=time.perf_counter() - start)


def one_repetition(
    condition: Condition, played_on: SimulationRun, repetition: int, audits: int
) -> list[PolicyOutcome]:
    """Seeds, heads, frame, plan, and so many audits."""
    generator = np.random.default_rng([repetition, 1])
    places, said = draw_labels(played_on.pool.truth, condition.seeds, condition.flipped, generator)
    if not played_on.can_teach(places, said, seed=repetition):
        return [nothing_learned(condition.seeds, len(played_on.pool))] * audits
    (scores,) = played_on.rounds(places, said, rounds=1, seed=repetition)
    ready = ready_audit(
        scores,
        PromotionSettings(max_error=condition.max_error),
        AuditSettings(ranking="balanced" if condition.balanced else "plain"),
        sample=condition.audit,
        seed=repetition,
    )
    return [
        play_audit(ready, slips=0.0, seed=repetition, attempt=attempt) for attempt in range(audits)
    ]


def allowed(repetitions: int) -> int:
    """False certificates that chance alone explains; 1 time in 10,000 there are more."""
    return int(binom.ppf(0.9999, repetitions, RISK))


def _lines(condition: Condition, found: Found) -> list[Line]:
    count = len(found.first)
    false = float(np.mean([one.false for one in found.first]))
    every = float(np.mean([one.false for one in found.all]))
    issued = float(np.mean([one.issued for one in found.first]))
    return [
        Line(
            name=condition.name, median=false, unit="false", n=count, ratio=false / RISK,
            beside="risk 0.05",
        ),
        Line(
            name="  all audits of these frames", median=every, unit="false", n=len(found.all),
            ratio=every / RISK, beside="risk 0.05",
        ),
        Line(name="  certificates", median=issued, unit="issued", n=count),
    ]  # fmt: skip


def _detail(found: Found) -> dict[str, object]:
    coverage = [one.coverage for one in found.first]
    errors = [one.error for one in found.first if one.error is not None]
    return {
        "false": sum(one.false for one in found.first),
        "allowed_with_noise": allowed(len(found.first)),
        "issued": sum(one.issued for one in found.first),
        "mean_coverage": float(np.mean(coverage)),
        "mean_error": float(np.mean(errors)) if errors else None,
        "false_of_all_audits": sum(one.false for one in found.all),
        "audits": len(found.all),
        "seconds_a_repetition": found.seconds / len(found.first),
    }


if __name__ == "__main__":
    main()
